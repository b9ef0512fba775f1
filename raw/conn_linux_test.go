package raw_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"finack/internal/privnet"
	"finack/raw"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var (
	lo4 = net.IPv4(127, 0, 0, 1).To4()
	lo6 = net.IPv6loopback
)

// soon keeps a test whose event never comes from hanging.
func soon(t *testing.T, conns ...*raw.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

func mustWriteTo(t *testing.T, c *raw.Conn, text string, addr net.Addr) {
	t.Helper()
	if n, err := c.WriteTo([]byte(text), addr); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q to %v: %v", n, text, addr, err)
	}
}

// wantRead expects Read to return text.
func wantRead(t *testing.T, r io.Reader, text string) {
	t.Helper()
	b := make([]byte, 2048)
	n, err := r.Read(b)
	if err != nil || string(b[:n]) != text {
		t.Fatalf("read %q, %v; want %q", b[:n], err, text)
	}
}

// wantReadFrom expects ReadFrom to return text and addr.
func wantReadFrom(t *testing.T, c *raw.Conn, text string, addr net.Addr) {
	t.Helper()
	b := make([]byte, 2048)
	n, from, err := c.ReadFrom(b)
	if err != nil || string(b[:n]) != text {
		t.Fatalf("read %q, %v; want %q", b[:n], err, text)
	}
	wantAddr(t, from, addr)
}

func wantAddr(t *testing.T, got, want net.Addr) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("address (-want +got):\n%s", diff)
	}
}

func wantEOF(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want io.EOF", n, err)
	}
}

// connected returns both ends of a connection of s over addr; the one that
// connected is first.
func connected(t *testing.T, s raw.Socket, addr net.Addr) (client, server *raw.Conn) {
	t.Helper()
	listener := open(t, s, &raw.Config{Bind: addr})
	client = open(t, s, nil)
	soon(t, listener, client)
	if err := listener.Listen(1); err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(listener.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	soon(t, server)
	wantAddr(t, client.RemoteAddr(), listener.LocalAddr())
	wantAddr(t, server.LocalAddr(), listener.LocalAddr())
	wantAddr(t, server.RemoteAddr(), client.LocalAddr())
	return client, server
}

func TestConnectionCarriesBytesBothWaysUntilEOF(t *testing.T) {
	privnet.Require(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		socket raw.Socket
		addr   net.Addr
		same   net.Addr // as whose type the addresses come
	}{
		{raw.Socket{raw.AF_INET, raw.SOCK_STREAM, 0}, &net.TCPAddr{IP: lo4}, &net.TCPAddr{}},
		{raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}, &net.IPAddr{IP: lo4}, &net.TCPAddr{}},
		{raw.Socket{raw.AF_INET6, raw.SOCK_STREAM, raw.IPPROTO_TCP}, &net.TCPAddr{IP: lo6}, &net.TCPAddr{}},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_STREAM, 0}, &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}, &net.UnixAddr{}},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_STREAM, 0}, &net.UnixAddr{Name: "@stream", Net: "unix"}, &net.UnixAddr{}},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_SEQPACKET, 0}, &net.UnixAddr{Name: filepath.Join(dir, "p"), Net: "unixpacket"}, &net.UnixAddr{}},
	} {
		t.Run(tt.socket.String()+" "+tt.addr.String(), func(t *testing.T) {
			client, server := connected(t, tt.socket, tt.addr)
			mustWrite(t, client, "ping")
			wantReadFrom(t, server, "ping", client.LocalAddr())
			mustWrite(t, server, "pong")
			wantRead(t, client, "pong")

			if tt.socket.Type == raw.SOCK_SEQPACKET { // message boundaries
				mustWrite(t, client, "one")
				mustWrite(t, client, "two")
				wantRead(t, server, "one")
				wantRead(t, server, "two")
			}

			// Half-close: the other direction stays.
			if err := client.Shutdown(raw.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			wantEOF(t, server)
			if n, _, err := server.ReadFrom(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("ReadFrom read %d bytes, %v; want io.EOF", n, err)
			}
			if n, err := server.Read(nil); n != 0 || err != nil {
				t.Errorf("a read of nothing read %d bytes, %v", n, err)
			}
			mustWrite(t, server, "still here")
			wantRead(t, client, "still here")
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			wantEOF(t, client)
			if _, err := client.Write([]byte("x")); errno(t, err) != unix.EPIPE {
				t.Errorf("a write after shutdown: %v, want EPIPE", err)
			}

			// Addresses are remembered.
			local, remote := client.LocalAddr(), client.RemoteAddr()
			client.Close()
			wantAddr(t, client.LocalAddr(), local)
			wantAddr(t, client.RemoteAddr(), remote)
		})
	}
}

func TestLongWriteIsSentWhole(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		domain raw.Domain
		addr   net.Addr
	}{
		{raw.AF_INET, &net.TCPAddr{IP: lo4}},
		{raw.AF_UNIX, &net.UnixAddr{Name: "@long", Net: "unix"}},
	} {
		client, server := connected(t, raw.Socket{tt.domain, raw.SOCK_STREAM, 0}, tt.addr)
		sent := make([]byte, 16<<20) // more than any socket buffer
		rand.Read(sent)
		done := make(chan error)
		go func() {
			_, err := client.Write(sent)
			client.Close()
			done <- err
		}()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%v: received %d bytes of %d, equal %v, %v", tt.domain, len(got), len(sent), bytes.Equal(got, sent), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestDatagramsKeepTheirBoundariesAndEmptyOnesAreNoEnd(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		socket raw.Socket
		a, b   net.Addr
	}{
		{raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}, &net.UDPAddr{IP: lo4}, &net.UDPAddr{IP: lo4}},
		{raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, raw.IPPROTO_UDPLITE}, &net.UDPAddr{IP: lo4}, &net.UDPAddr{IP: lo4}},
		{raw.Socket{raw.AF_INET6, raw.SOCK_DGRAM, raw.IPPROTO_UDP}, &net.UDPAddr{IP: lo6}, &net.UDPAddr{IP: lo6}},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_DGRAM, 0}, &net.UnixAddr{Name: "@a", Net: "unixgram"}, &net.UnixAddr{Name: "@b", Net: "unixgram"}},
	} {
		t.Run(tt.socket.String(), func(t *testing.T) {
			if tt.socket.Protocol == raw.IPPROTO_UDPLITE && direct(tt.socket) != nil {
				t.Skip("this kernel has no UDP-Lite")
			}
			a := open(t, tt.socket, &raw.Config{Bind: tt.a})
			b := open(t, tt.socket, &raw.Config{Bind: tt.b})
			soon(t, a, b)

			mustWriteTo(t, a, "one", b.LocalAddr())
			mustWriteTo(t, a, "", b.LocalAddr())
			mustWriteTo(t, a, "three", b.LocalAddr())
			wantReadFrom(t, b, "one", a.LocalAddr())
			wantReadFrom(t, b, "", a.LocalAddr())
			wantReadFrom(t, b, "three", a.LocalAddr())

			if a.RemoteAddr() != nil {
				t.Errorf("unconnected, but to %v", a.RemoteAddr())
			}
			if err := a.Connect(b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			wantAddr(t, a.RemoteAddr(), b.LocalAddr())
			mustWrite(t, a, "")
			mustWrite(t, a, "long")
			wantRead(t, b, "")
			short := make([]byte, 2) // what does not fit is lost
			if n, err := b.Read(short); err != nil || string(short[:n]) != "lo" {
				t.Errorf("read %q, %v", short[:n], err)
			}
			mustWriteTo(t, b, "back", a.LocalAddr())
			wantRead(t, a, "back")
		})
	}
}

func TestDatagramFromAnUnnamedSocketHasAnEmptyAddress(t *testing.T) {
	privnet.Require(t)
	s := raw.Socket{raw.AF_UNIX, raw.SOCK_DGRAM, 0}
	a := open(t, s, nil)
	b := open(t, s, &raw.Config{Bind: &net.UnixAddr{Name: "@named"}})
	soon(t, a, b)
	mustWriteTo(t, a, "who?", b.LocalAddr())
	wantReadFrom(t, b, "who?", &net.UnixAddr{Net: "unixgram"})
}

func TestLocalAddrFollowsTheKernel(t *testing.T) {
	privnet.Require(t)
	s := raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}
	a := open(t, s, nil)
	b := open(t, s, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
	soon(t, a, b)
	wantAddr(t, a.LocalAddr(), &net.UDPAddr{IP: net.IPv4zero.To4()})
	mustWriteTo(t, a, "x", b.LocalAddr()) // binds a to a port
	port := a.LocalAddr().(*net.UDPAddr).Port
	if port == 0 {
		t.Error("no port after sending")
	}
	wantReadFrom(t, b, "x", &net.UDPAddr{IP: lo4, Port: port})
}

func TestErrorsOfAConnectionNameBothEnds(t *testing.T) {
	privnet.Require(t)
	s := raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}
	client, server := connected(t, s, &net.TCPAddr{IP: lo4})
	rc, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(fd uintptr) {
		if err := unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	server.Close() // RST
	want := "read socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) " +
		client.LocalAddr().String() + "->" + client.RemoteAddr().String() + ": ECONNRESET: connection reset by peer"
	if _, err := client.Read(make([]byte, 1)); errno(t, err) != unix.ECONNRESET || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	// Nobody listens: a bound socket keeps others from the port.
	closed := open(t, s, &raw.Config{Bind: &net.TCPAddr{IP: lo4}}).LocalAddr()
	want = "connect socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) " + closed.String() + ": ECONNREFUSED: connection refused"
	if err := open(t, s, nil).Connect(closed); errno(t, err) != unix.ECONNREFUSED || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	// UDP learns of it by the next call on a connected socket.
	s = raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}
	udp := open(t, s, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
	gone := udp.LocalAddr()
	udp.Close()
	udp = open(t, s, nil)
	soon(t, udp)
	if err := udp.Connect(gone); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, udp, "anybody?")
	want = "read socket(AF_INET, SOCK_DGRAM, 0) " + udp.LocalAddr().String() + "->" + gone.String() + ": ECONNREFUSED: connection refused"
	if _, err := udp.Read(make([]byte, 1)); errno(t, err) != unix.ECONNREFUSED || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFullUnixBacklogIsAnErrorAtOnce(t *testing.T) {
	privnet.Require(t)
	s := raw.Socket{raw.AF_UNIX, raw.SOCK_STREAM, 0}
	listener := open(t, s, &raw.Config{Bind: &net.UnixAddr{Name: "@full"}})
	if err := listener.Listen(0); err != nil {
		t.Fatal(err)
	}
	if err := open(t, s, nil).Connect(listener.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	// connect(2) cannot be waited for here: poll says that it would succeed.
	if err := open(t, s, nil).Connect(listener.LocalAddr()); errno(t, err) != unix.EAGAIN {
		t.Errorf("%v, want EAGAIN", err)
	}
}

func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("%s: %v, want a net.Error that is os.ErrDeadlineExceeded", what, err)
	}
	if _, ok := err.(*net.OpError); !ok {
		t.Errorf("%s: %T, want *net.OpError", what, err)
	}
}

func TestConnectHonoursItsDeadlineAndCanBeContinued(t *testing.T) {
	privnet.Require(t)
	s := raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}
	listener := open(t, s, &raw.Config{Bind: &net.TCPAddr{IP: lo4}})
	soon(t, listener)
	if err := listener.Listen(0); err != nil { // one connection fits
		t.Fatal(err)
	}
	first, second := open(t, s, nil), open(t, s, nil)
	if err := first.Connect(listener.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := second.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	wantTimeout(t, "connect", second.Connect(listener.LocalAddr()))
	if second.RemoteAddr() != nil {
		t.Errorf("connected to %v", second.RemoteAddr())
	}
	accepted, err := listener.Accept() // makes room for the SYN's next retransmission
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	soon(t, second)
	if err := second.Connect(listener.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	wantAddr(t, second.RemoteAddr(), listener.LocalAddr())
}

// receivers returns one socket of each kind that waits to receive, and what it waits in.
func receivers(t *testing.T) map[string]struct {
	conn *raw.Conn
	wait func() error
} {
	t.Helper()
	all := map[string]struct {
		conn *raw.Conn
		wait func() error
	}{}
	add := func(name string, c *raw.Conn, wait func() error) {
		all[name] = struct {
			conn *raw.Conn
			wait func() error
		}{c, wait}
	}
	reader := func(c *raw.Conn) func() error {
		return func() error {
			_, err := c.Read(make([]byte, 10))
			return err
		}
	}
	for _, s := range []raw.Socket{
		{raw.AF_INET, raw.SOCK_DGRAM, 0},
		{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_EGP},
		{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_EGP},
		{raw.AF_UNIX, raw.SOCK_DGRAM, 0},
		{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_AARP},
	} {
		c := open(t, s, nil)
		add("Read "+s.String(), c, reader(c))
	}
	c := open(t, raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_EGP}, nil)
	add("ReadFrom", c, func() error {
		_, _, err := c.ReadFrom(make([]byte, 10))
		return err
	})
	c2 := open(t, raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_EGP}, nil)
	add("RawConn.ReadFrom", c2, func() error {
		rc, err := c2.IPv4()
		if err != nil {
			return err
		}
		_, _, _, err = rc.ReadFrom(make([]byte, 100))
		return err
	})
	c3 := open(t, raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, 0}, nil)
	add("SyscallConn.Read", c3, func() error {
		rc, err := c3.SyscallConn()
		if err != nil {
			return err
		}
		return rc.Read(func(uintptr) bool { return false })
	})
	for _, tt := range []struct {
		domain raw.Domain
		addr   net.Addr
	}{
		{raw.AF_INET, &net.TCPAddr{IP: lo4}},
		{raw.AF_UNIX, &net.UnixAddr{Name: "@receivers"}},
	} {
		s := raw.Socket{tt.domain, raw.SOCK_STREAM, 0}
		client, _ := connected(t, s, tt.addr)
		add("Read connected "+s.String(), client, reader(client))
		listener := open(t, s, nil)
		if tt.domain == raw.AF_UNIX {
			if err := listener.Bind(&net.UnixAddr{}); err != nil { // any name
				t.Fatal(err)
			}
		}
		if err := listener.Listen(1); err != nil {
			t.Fatal(err)
		}
		add("Accept "+s.String(), listener, func() error {
			_, err := listener.Accept()
			return err
		})
	}
	for _, r := range all {
		if err := r.conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// blocked waits until n goroutines of this package wait for the poller.
func blocked(n int) {
	buf := make([]byte, 1<<20)
	for {
		waiting := 0
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if state, _, _ := strings.Cut(stack, "\n"); strings.Contains(state, "[IO wait") && strings.Contains(stack, "finack/raw") {
				waiting++
			}
		}
		if waiting >= n {
			return
		}
		runtime.Gosched()
	}
}

func TestDeadlineEndsAReadThatHasPassedItOrIsUnderWay(t *testing.T) {
	privnet.Require(t)
	for name, r := range receivers(t) {
		if err := r.conn.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		wantTimeout(t, name, r.wait())

		if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- r.wait() }()
		blocked(1)
		if err := r.conn.SetDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		wantTimeout(t, name, <-done)
	}
}

func TestSocketIsReadAgainAfterADeadline(t *testing.T) {
	privnet.Require(t)
	c := open(t, raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	wantTimeout(t, "read", err)
	soon(t, c)
	mustWriteTo(t, c, "to myself", c.LocalAddr())
	wantRead(t, c, "to myself")
}

func TestWriteDeadlineEndsAWriteAndTellsWhatWasSent(t *testing.T) {
	privnet.Require(t)
	client, _ := connected(t, raw.Socket{raw.AF_INET, raw.SOCK_STREAM, 0}, &net.TCPAddr{IP: lo4})
	done := make(chan error)
	var n int
	go func() {
		var err error
		n, err = client.Write(make([]byte, 64<<20)) // nobody reads
		done <- err
	}()
	blocked(1)
	if err := client.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	wantTimeout(t, "write", <-done)
	if n <= 0 || n >= 64<<20 {
		t.Errorf("wrote %d bytes", n)
	}
}

func TestCloseFromAnywhereEndsEveryReadAndLeavesNothing(t *testing.T) {
	privnet.Require(t)
	_ = open(t, raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}, nil).Close() // the poller's own descriptors are there now
	before, goroutines := descriptors(t), runtime.NumGoroutine()
	t.Run("close", func(t *testing.T) {
		all := receivers(t)
		done := make(chan error)
		for name, r := range all {
			go func() {
				err := r.wait()
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: %v, want net.ErrClosed", name, err)
				}
				if _, ok := err.(*net.OpError); !ok {
					t.Errorf("%s: %T, want *net.OpError", name, err)
				}
				done <- err
			}()
		}
		blocked(len(all))
		for name, r := range all {
			var closers sync.WaitGroup
			for range 4 {
				closers.Go(func() {
					if err := r.conn.Close(); err != nil {
						t.Errorf("%s: close: %v", name, err)
					}
				})
			}
			closers.Wait()
		}
		for range all {
			<-done
		}
	})
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
	}
	for runtime.NumGoroutine() > goroutines { // the last ones may be just ending
		runtime.Gosched()
	}
}

func TestClosedSocketSaysSo(t *testing.T) {
	privnet.Require(t)
	for _, s := range []raw.Socket{
		{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_UDP},
		{raw.AF_INET, raw.SOCK_DGRAM, raw.IPPROTO_UDP},
	} {
		c := open(t, s, nil)
		c.Close()
		rc, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		addr := &net.UDPAddr{IP: lo4, Port: 9}
		_, readErr := c.Read(make([]byte, 1))
		_, _, readFromErr := c.ReadFrom(make([]byte, 1))
		_, writeErr := c.Write(nil)
		_, writeToErr := c.WriteTo(nil, addr)
		_, acceptErr := c.Accept()
		for name, err := range map[string]error{
			"read":                readErr,
			"readfrom":            readFromErr,
			"write":               writeErr,
			"writeto":             writeToErr,
			"accept":              acceptErr,
			"bind":                c.Bind(addr),
			"connect":             c.Connect(addr),
			"listen":              c.Listen(1),
			"shutdown":            c.Shutdown(raw.SHUT_RDWR),
			"setbpf":              c.SetBPF(nil),
			"setdeadline":         c.SetDeadline(time.Time{}),
			"setreaddeadline":     c.SetReadDeadline(time.Time{}),
			"setwritedeadline":    c.SetWriteDeadline(time.Time{}),
			"syscallconn.control": rc.Control(func(uintptr) {}),
			"syscallconn.read":    rc.Read(func(uintptr) bool { return true }),
			"syscallconn.write":   rc.Write(func(uintptr) bool { return true }),
		} {
			var op *net.OpError
			if !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) || op.Net != s.String() {
				t.Errorf("%v: %s: %v, want net.ErrClosed", s, name, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("%v: second close: %v", s, err)
		}
	}
}
