package privnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// patience is how long anything may take here before the test gives up.
const patience = 30 * time.Second

func newWire(t *testing.T, rules ...privnet.Rule) *privnet.Wire {
	t.Helper()
	privnet.Require(t)
	w, err := privnet.NewWire(&privnet.WireConfig{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// stats returns the counters; the wire must have kept up.
func stats(t *testing.T, w *privnet.Wire) privnet.WireStats {
	t.Helper()
	s, err := w.Stats()
	if err != nil || s.Lost != 0 {
		t.Errorf("%d frames lost, %v", s.Lost, err)
	}
	return s
}

// connect opens a connection from host A to host B.
func connect(t *testing.T, w *privnet.Wire) (a, b *net.TCPConn) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	err := w.B.Do(func() (err error) {
		l, err = lc.Listen(t.Context(), "tcp4", netip.AddrPortFrom(w.B.Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c net.Conn
	err = w.A.Do(func() (err error) {
		c, err = net.DialTimeout("tcp4", l.Addr().String(), patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b = c.(*net.TCPConn), s.(*net.TCPConn)
	for _, c := range []*net.TCPConn{a, b} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// awaitState waits until the host's only connection is in a state, of
// net/tcp_states.h; 0: until there is none. The kernel has no event for that.
func awaitState(t *testing.T, h *privnet.Host, want uint8) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var socks []*netlink.Socket
		err := h.Do(func() (err error) {
			socks, err = netlink.SocketDiagTCP(unix.AF_INET)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(socks) == 0 && want == 0 || len(socks) == 1 && socks[0].State == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sockets at %v: %+v, want one in state %d", h.Addr, socks, want)
		}
	}
}

const fins = "tcp[tcpflags] & tcp-fin != 0"

func TestWireDropsTheFirstFIN(t *testing.T) {
	w := newWire(t, privnet.Rule{From: privnet.A, Filter: fins, Nth: 1, Drop: true}, privnet.Rule{From: privnet.B, Filter: fins})
	a, b := connect(t, w)
	begun := time.Now()
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(b); err != nil { // until the FIN comes again
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("the FIN came after %v: without a retransmission", took)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	awaitState(t, w.A, unix.BPF_TCP_TIME_WAIT)
	awaitState(t, w.B, 0)
	want := []privnet.RuleStats{{Matched: 2, Dropped: 1}, {Matched: 1}}
	if diff := cmp.Diff(want, stats(t, w).Rules); diff != "" {
		t.Errorf("rules (-want +got)\n%s", diff)
	}
}

// Both ends close before either FIN arrives.
func TestWireDelaysBothFINs(t *testing.T) {
	const delay = 30 * time.Millisecond
	for tries := 1; ; tries++ {
		w := newWire(t, privnet.Rule{Filter: fins, Delay: delay})
		a, b := connect(t, w)
		begun := time.Now()
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took >= delay { // this thread had to wait for a core
			if tries == 10 {
				t.Fatalf("the second close came %v after the first", took)
			}
			w.Close()
			continue
		}
		awaitState(t, w.A, unix.BPF_TCP_TIME_WAIT)
		awaitState(t, w.B, unix.BPF_TCP_TIME_WAIT)
		if took := time.Since(begun); took < delay {
			t.Errorf("closed after %v, want at least %v", took, delay)
		}
		if diff := cmp.Diff([]privnet.RuleStats{{Matched: 2, Delayed: 2}}, stats(t, w).Rules); diff != "" {
			t.Errorf("rules (-want +got)\n%s", diff)
		}
		return
	}
}

// datagrams opens a socket at host B and one at host A that is connected to it.
func datagrams(t *testing.T, w *privnet.Wire) (from, to net.Conn) {
	t.Helper()
	err := w.B.Do(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: w.B.Addr.AsSlice(), Port: 7})
		to = c
		return err
	})
	if err == nil {
		err = w.A.Do(func() error {
			from, err = net.Dial("udp4", to.LocalAddr().String())
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	t.Cleanup(func() { to.Close() })
	return from, to
}

// exchange sends datagrams and returns the first n that arrive.
func exchange(t *testing.T, from, to net.Conn, n int, texts ...string) (got []string) {
	t.Helper()
	for _, text := range texts {
		if _, err := io.WriteString(from, text); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	_ = to.SetReadDeadline(time.Now().Add(patience))
	for range n {
		n, err := to.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(buf[:n]))
	}
	return got
}

// What is delayed as long stays in order, and stops nothing else.
func TestWireKeepsTheOrderOfWhatItDelays(t *testing.T) {
	const delay = 200 * time.Millisecond
	w := newWire(t,
		privnet.Rule{Filter: "udp[8] = 0x64", Delay: delay},     // d…
		privnet.Rule{Filter: "udp[8] = 0x65", Delay: 2 * delay}, // e…
	)
	from, to := datagrams(t, w)
	begun := time.Now()
	got := exchange(t, from, to, 9, "e1", "d1", "1", "d2", "2", "e2", "d3", "e3", "3")
	if took := time.Since(begun); took < 2*delay {
		t.Errorf("it took %v, want at least %v", took, 2*delay)
	}
	if want := []string{"1", "2", "3", "d1", "d2", "d3", "e1", "e2", "e3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWireCountsWhatRulesDo(t *testing.T) {
	w := newWire(t,
		privnet.Rule{}, // matches, and does nothing
		privnet.Rule{From: privnet.B, Drop: true},                                    // B sends nothing
		privnet.Rule{Filter: "udp", Nth: 2, Drop: true},                              // "2"
		privnet.Rule{From: privnet.A, Filter: "udp port 7", Delay: time.Millisecond}, // all but "2"
		privnet.Rule{Filter: "udp", Nth: 3, Delay: time.Millisecond},                 // the third of the others, "4"
		privnet.Rule{Filter: "udp", Nth: 4, Drop: true},                              // the fourth, "5"
		privnet.Rule{Filter: "udp", Skip: 3, Delay: time.Millisecond},                // the fourth of what is left, "6"
	)
	from, to := datagrams(t, w)
	got := exchange(t, from, to, 4, "1", "2", "3", "4", "5", "6")
	if slices.Sort(got); !slices.Equal(got, []string{"1", "3", "4", "6"}) {
		t.Errorf("got %q", got)
	}
	want := privnet.WireStats{Forwarded: 4, Rules: []privnet.RuleStats{
		{Matched: 6},
		{},
		{Matched: 6, Dropped: 1},
		{Matched: 5, Delayed: 5},
		{Matched: 5, Delayed: 1},
		{Matched: 5, Dropped: 1},
		{Matched: 4, Delayed: 1},
	}}
	if diff := cmp.Diff(want, stats(t, w)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, stats(t, w)); diff != "" {
		t.Errorf("after Close (-want +got)\n%s", diff)
	}
}

// openFiles returns what each of this process's descriptors is open on.
func openFiles(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not the directory's, which is closed
			files[e.Name()] = target
		}
	}
	return files
}

func TestWireCloseLeavesNothing(t *testing.T) {
	privnet.Require(t)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // so that the poller is there
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	w := newWire(t, privnet.Rule{Delay: time.Hour})
	from, to := datagrams(t, w)
	if _, err := io.WriteString(from, "held back"); err != nil {
		t.Fatal(err)
	}
	for stats(t, w).Rules[0].Delayed == 0 {
		runtime.Gosched()
	}
	closed := make(chan error)
	for range 2 {
		go func() { closed <- w.Close() }()
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	if err := w.A.Do(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if ifaces, err := net.Interfaces(); err != nil || len(ifaces) != 1 {
		t.Errorf("interfaces %v, %v: want lo alone", ifaces, err)
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() { // this test's own end soon
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
		}
	}
	from.Close()
	to.Close()
	if diff := cmp.Diff(files, openFiles(t)); diff != "" {
		t.Errorf("files (-before +after)\n%s", diff)
	}
}

// namespace names the network namespace of this thread.
func namespace() string {
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err.Error()
	}
	return name
}

func TestHostDo(t *testing.T) {
	w := newWire(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home := namespace()
	where := func(h *privnet.Host) (ns string) {
		if err := h.Do(func() error { ns = namespace(); return nil }); err != nil {
			t.Error(err)
		}
		return ns
	}
	a, b := where(w.A), where(w.B)
	if a == b || a == home || b == home {
		t.Errorf("the private network is %s, the hosts are %s and %s", home, a, b)
	}
	err := w.A.Do(func() error {
		if ns := where(w.B); ns != b {
			t.Errorf("B from A is %s, want %s", ns, b)
		}
		if ns := namespace(); ns != a {
			t.Errorf("A after that is %s, want %s", ns, a)
		}
		return context.Canceled
	})
	if err != context.Canceled {
		t.Errorf("Do returned %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = w.A.Do(func() error { panic("in A") })
	}()
	if ns := namespace(); ns != home {
		t.Errorf("after a panic: %s, want %s", ns, home)
	}
}

func TestWireIsRefused(t *testing.T) {
	w := newWire(t)
	if _, err := privnet.NewWire(nil); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second wire: %v, want EEXIST", err)
	}
	from, to := datagrams(t, w)
	exchange(t, from, to, 1, "the first wire is still there")
	if _, err := privnet.NewWire(&privnet.WireConfig{Rules: []privnet.Rule{{}, {Filter: "tcp prot 7"}}}); err == nil || !strings.Contains(err.Error(), "rule 1: ") {
		t.Errorf("a bad filter: %v", err)
	}
	t.Setenv("FINACK_PRIVNET", "")
	if _, err := privnet.NewWire(nil); err == nil {
		t.Error("outside: no error")
	}
}
