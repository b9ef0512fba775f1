package tracetest

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// lossy is a test that records its errors and is cleaned up when told.
type lossy struct {
	testing.TB
	said    []string
	cleanup func()
}

func (l *lossy) Helper()          {}
func (l *lossy) Failed() bool     { return false }
func (l *lossy) Cleanup(f func()) { l.cleanup = f }
func (l *lossy) Errorf(format string, args ...any) {
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// A trace that has lost frames says so, and the test fails.
func TestLostFramesFailTheTest(t *testing.T) {
	l := &lossy{TB: t}
	tr := StartOn(l, &Config{Snaplen: 1 << 16, Filter: "udp"})
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tr.mu.Lock() // the reader stands still
	for range 4 * ringSize / 50_000 {
		if _, err := c.WriteTo(make([]byte, 50_000), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	tr.mu.Unlock()
	l.cleanup()
	if len(l.said) != 1 || !strings.Contains(l.said[0], " frames lost: give Config a Filter, or a smaller Snaplen") {
		t.Errorf("it says %q", l.said)
	}
}
