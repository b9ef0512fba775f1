package lab

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// Without what makes it this case, a scenario does not go as it says.
func TestProductionSeesAnotherCause(t *testing.T) {
	reusing := func(sc *Scenario) {
		run := sc.run
		sc.run = func(s *stage) error { return errors.Join(s.allowReuse("1"), run(s)) }
	}
	for _, tt := range []struct {
		name   string
		sc     *Scenario
		change func(*Scenario)
		want   string
	}{
		{"ports in TIME_WAIT are used again", portExhaustion(), reusing, "want EADDRNOTAVAIL"},
		{"the client's port is used again", timeWaitReuse(), reusing, "want EADDRNOTAVAIL"},
		{"no probe is answered", keepAlive(), func(sc *Scenario) {
			sc.wire = append(sc.wire, privnet.Rule{From: privnet.B, Nth: 2, Drop: true})
		}, "want 3 and 1"},
		{"a segment is lost, too", zeroWindow(), func(sc *Scenario) {
			sc.wire = []privnet.Rule{{From: privnet.A, Flags: decode.PSH, Nth: 1, Drop: true}}
		}, "retransmissions [1 0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			privnet.Require(t)
			tt.change(tt.sc)
			var out bytes.Buffer
			err := Run(t.Context(), &out, []*Scenario{tt.sc}, nil)
			text := strings.Join(strings.Fields(out.String()), " ") // however it is wrapped
			if failure := (*CheckError)(nil); !errors.As(err, &failure) || !strings.Contains(text, tt.want) {
				t.Errorf("%v, want a failed check that says %q\n%s", err, tt.want, &out)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	got := countsOf([]kernel.Socket{
		{State: trace.TimeWait}, {State: trace.Listen}, {State: trace.Established}, {State: trace.TimeWait},
	})
	if want := (counts{trace.Established: 1, trace.TimeWait: 2}); !cmp.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
	if text := got.String(); text != "1 ESTABLISHED, 2 TIME_WAIT" {
		t.Errorf("got %q", text)
	}
	if text := countsOf(nil).String(); text != "none" {
		t.Errorf("of none: %q", text)
	}
	if diff := cmp.Diff(map[string]int{"ESTABLISHED": 1, "TIME_WAIT": 2}, got.byName()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAges(t *testing.T) {
	oldest, median := ages([]kernel.Socket{{SinceACK: 3 * time.Second}, {SinceACK: time.Second}, {SinceACK: 2 * time.Second}})
	if oldest != 3*time.Second || median != 2*time.Second {
		t.Errorf("oldest %v, median %v; want 3 s and 2 s", oldest, median)
	}
}

// A closed descriptor is not counted, and a socket without a program has none.
func TestOpenDescriptors(t *testing.T) {
	privnet.Require(t)
	c, s, err := connectedPair(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := kernel.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(k kernel.Socket) bool { return k.State == trace.Listen })
	check := func(want int) {
		t.Helper()
		if got, err := openDescriptors(list); got != want || err != nil {
			t.Errorf("%d descriptors, %v; want %d", got, err, want)
		}
	}
	check(2)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	check(1)
	list = []kernel.Socket{{State: trace.TimeWait}}
	check(0)
}

// Nothing is there, then data, then the end, again and again.
func TestRecvNow(t *testing.T) {
	privnet.Require(t)
	c, s, err := connectedPair(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := s.(*net.TCPConn)
	if got, err := recvNow(server); err != nil || got != "EAGAIN" {
		t.Errorf("nothing there: %s, %v; want EAGAIN", got, err)
	}
	if _, err := c.Write([]byte("five\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5", "0", "0"} { // on loopback a write has arrived when it returns
		if got, err := recvNow(server); err != nil || got != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
}
