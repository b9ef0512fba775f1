package kernel_test

import (
	"net"
	"os"
	"testing"
	"time"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/raw"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }

func listener(t *testing.T, c *raw.Conn) kernel.Listener {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	l, err := kernel.ListenerOf(rc)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func open(t *testing.T) *raw.Conn {
	t.Helper()
	c, err := raw.Open(raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_STREAM}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The queue, the listener's own drops and the namespace's counters tell the same.
func TestListenerOverflows(t *testing.T) {
	privnet.Require(t)
	const patience = 30 * time.Second
	l := open(t)
	if err := l.Bind(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(1); err != nil {
		t.Fatal(err)
	}
	before, err := kernel.ReadCounters()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // backlog+1
		if err := open(t).Connect(l.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if got, want := listener(t, l), (kernel.Listener{Queue: i + 1, Limit: 1}); got != want {
			t.Errorf("after %d connections %+v, want %+v", i+1, got, want)
		}
	}
	third := open(t)
	done := make(chan error)
	go func() { done <- third.Connect(l.LocalAddr()) }()
	for deadline := time.Now().Add(patience); listener(t, l).Drops == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the third SYN was not dropped")
		}
	}
	if err := third.Close(); err != nil { // it sends no SYN any more
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the third connection was made")
	}
	after, err := kernel.ReadCounters()
	if err != nil {
		t.Fatal(err)
	}
	got := listener(t, l)
	for _, name := range []string{"TcpExtListenOverflows", "TcpExtListenDrops"} {
		if n := after[name] - before[name]; n != int64(got.Drops) {
			t.Errorf("%s counts %d, the listener %d", name, n, got.Drops)
		}
	}
	if opens := after["TcpPassiveOpens"] - before["TcpPassiveOpens"]; opens != 2 {
		t.Errorf("TcpPassiveOpens counts %d, want 2", opens)
	}
}

func TestListenerOfAnotherSocket(t *testing.T) {
	rc, err := open(t).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := kernel.ListenerOf(rc); err == nil {
		t.Errorf("a socket that does not listen: %+v", l)
	}
}
