package echo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// longest bounds every wait of these tests; none takes nearly so long.
const longest = 20 * time.Second

// nothingLeft fails t at its end when a goroutine or a descriptor is left that
// was not there now. Goroutines and the kernel need a moment to end things.
func nothingLeft(t *testing.T) {
	t.Helper()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		ok := eventually(func() bool {
			return runtime.NumGoroutine() <= goroutines && len(descriptors(t)) <= len(fds)
		})
		if !ok {
			buf := make([]byte, 1<<16)
			t.Errorf("goroutines: %d before, %d after; descriptors: %v before, %v after\n%s",
				goroutines, runtime.NumGoroutine(), fds, descriptors(t), buf[:runtime.Stack(buf, true)])
		}
	})
}

// eventually waits for a condition that gives no event.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(longest); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// descriptors lists what this process has open, the runtime's own (epoll,
// eventfd: opened once, at the first use) left out.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	var fds []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") {
			fds = append(fds, e.Name()+" "+target)
		}
	}
	return fds
}

// errorList collects what OnError is told.
type errorList struct {
	mu   sync.Mutex
	errs []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *errorList) all() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.errs)
}

// has reports whether one of the errors is target.
func (l *errorList) has(target error) bool {
	return slices.ContainsFunc(l.all(), func(err error) bool { return errors.Is(err, target) })
}

// none fails t for each error.
func (l *errorList) none(t *testing.T) {
	t.Helper()
	for _, err := range l.all() {
		t.Errorf("OnError: %v", err)
	}
}

// serve runs a server until t ends and returns the endpoints to send to.
func serve(t *testing.T, cfg *ServerConfig, eps ...Endpoint) (*Server, []Endpoint) {
	t.Helper()
	s, err := Listen(t.Context(), eps, cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		s.Serve()
		close(served)
	}()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		<-served
	})
	bound := make([]Endpoint, len(eps))
	for i, addr := range s.Addrs() {
		bound[i] = Endpoint{eps[i].Network, addr.String()}
	}
	return s, bound
}

// allEndpoints returns an endpoint of each kind, by name.
func allEndpoints(t *testing.T) map[string]Endpoint {
	t.Helper()
	dir := t.TempDir()
	eps := map[string]Endpoint{
		"tcp4":       {"tcp", "127.0.0.1:0"},
		"udp4":       {"udp", "127.0.0.1:0"},
		"unix":       {"unix", filepath.Join(dir, "s")},
		"unixgram":   {"unixgram", filepath.Join(dir, "d")},
		"unixpacket": {"unixpacket", filepath.Join(dir, "p")},
	}
	if hasIPv6() {
		eps["tcp6"] = Endpoint{"tcp6", "[::1]:0"}
		eps["udp6"] = Endpoint{"udp6", "[::1]:0"}
	}
	if runtime.GOOS == "linux" {
		eps["abstract"] = Endpoint{"unix", fmt.Sprintf("@finack-echo-test-%d", os.Getpid())}
	}
	return eps
}

func hasIPv6() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func needIPv6(t *testing.T) {
	t.Helper()
	if !hasIPv6() {
		t.Skip("no IPv6 loopback")
	}
}

// dial connects to ep, with a deadline on everything.
func dial(t *testing.T, ep Endpoint) net.Conn {
	t.Helper()
	c, err := net.Dial(ep.Network, ep.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(longest)); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustSend has a conversation in which nothing may go wrong.
func mustSend(t *testing.T, ep Endpoint, cfg *ClientConfig) Result {
	t.Helper()
	res, err := Send(t.Context(), ep, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Received != res.Sent || res.Sent == 0 || res.Lost+res.Late+res.Duplicates+res.Wrong != 0 {
		t.Fatalf("%v: %+v", ep, res)
	}
	return res
}

func TestEveryTransportEchoes(t *testing.T) {
	for name, ep := range allEndpoints(t) {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			_, eps := serve(t, &ServerConfig{OnError: errs.add}, ep)
			for _, size := range []int{-1, 1, 7, 8, 64, 1500, 65507, 150_000, 3 << 20} {
				switch {
				case size < 0 && !ep.isDatagram(),
					size > 65507 && strings.HasPrefix(ep.Network, "udp"),
					size > 200_000 && (ep.isDatagram() || ep.Network == "unixpacket"):
					continue
				}
				var replies []Reply
				res, err := Send(t.Context(), eps[0], &ClientConfig{Count: 5, Size: size}, func(r Reply) { replies = append(replies, r) })
				if err != nil {
					t.Fatalf("size %d: %v", size, err)
				}
				want := Result{Sent: 5, Received: 5, End: EndEOF}
				if ep.isDatagram() {
					want.End = EndNothing
				}
				if got := (Result{Sent: res.Sent, Received: res.Received, Lost: res.Lost, Late: res.Late, Duplicates: res.Duplicates, Wrong: res.Wrong, End: res.End}); got != want {
					t.Errorf("size %d: %+v, want %+v", size, got, want)
				}
				if res.Local == nil || res.Remote == nil {
					t.Errorf("size %d: addresses %v, %v", size, res.Local, res.Remote)
				}
				if r := res.RTT; r.Min <= 0 || r.Min > r.P50 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max {
					t.Errorf("size %d: times %+v", size, r)
				}
				if len(replies) != 5 {
					t.Fatalf("size %d: %d replies", size, len(replies))
				}
				for i, r := range replies {
					if r.Seq != uint64(i+1) || r.Bytes != max(size, 0) || r.RTT <= 0 || r.Err != nil {
						t.Errorf("size %d: %+v", size, r)
					}
				}
			}
			errs.none(t)
		})
	}
}

func TestDefaults(t *testing.T) {
	_, eps := serve(t, nil, Endpoint{"tcp", "127.0.0.1:0"})
	var replies []Reply
	res, err := Send(t.Context(), eps[0], nil, func(r Reply) { replies = append(replies, r) })
	if err != nil || res.Sent != 1 || len(replies) != 1 || replies[0].Bytes != 64 {
		t.Errorf("%+v, %v, %+v", res, err, replies)
	}
}

func TestManyEndpointsInOneServer(t *testing.T) {
	nothingLeft(t)
	var want []Endpoint
	for _, ep := range allEndpoints(t) {
		want = append(want, ep)
	}
	s, eps := serve(t, nil, want...)
	if len(s.Addrs()) != len(want) {
		t.Fatalf("%d addresses for %d endpoints", len(s.Addrs()), len(want))
	}
	for _, ep := range eps {
		mustSend(t, ep, &ClientConfig{Count: 2})
	}
}

func TestListenFailsAsAWhole(t *testing.T) {
	nothingLeft(t)
	path := filepath.Join(t.TempDir(), "s")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listen(t.Context(), []Endpoint{{"unix", path}, {"tcp", taken.Addr().String()}}, nil)
	var opErr *net.OpError
	if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &opErr) {
		t.Errorf("Listen: %v, want EADDRINUSE in a *net.OpError", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first socket's file is left: %v", err)
	}
}

func TestTwoHundredConnectionsAtOnce(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			ep := Endpoint{network, "127.0.0.1:0"}
			if ep.isUnix() {
				ep.Address = filepath.Join(t.TempDir(), "s")
			}
			s, eps := serve(t, &ServerConfig{OnError: errs.add}, ep)
			const n = 200
			conns := make([]net.Conn, n)
			for i := range conns {
				conns[i] = dial(t, eps[0])
			}
			var wg sync.WaitGroup
			for i, c := range conns {
				wg.Go(func() {
					out, in := make([]byte, 1000), make([]byte, 1000)
					for j := range 20 {
						fill(out, uint64(i*1000+j))
						if _, err := c.Write(out); err != nil {
							t.Error(err)
							return
						}
						if _, err := io.ReadFull(c, in); err != nil || !bytes.Equal(in, out) {
							t.Errorf("connection %d, message %d: another's answer, or %v", i, j, err)
							return
						}
					}
				})
			}
			wg.Wait()
			if got := s.open(); got != n {
				t.Errorf("%d connections are open, want %d", got, n)
			}
			for _, c := range conns {
				c.Close()
			}
			if !eventually(func() bool { return s.open() == 0 }) {
				t.Errorf("%d connections are left after all clients closed", s.open())
			}
			errs.none(t)
		})
	}
}

func (s *Server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// The client's direction ends while megabytes of answers are still to come;
// all of them arrive, then the server's end.
func TestHalfCloseWithDataStillFlowing(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			ep := Endpoint{network, "127.0.0.1:0"}
			if ep.isUnix() {
				ep.Address = filepath.Join(t.TempDir(), "s")
			}
			_, eps := serve(t, nil, ep)
			c := dial(t, eps[0])
			out := make([]byte, 8<<20)
			fill(out, 1)
			closed := make(chan error, 1)
			go func() {
				_, err := c.Write(out)
				closed <- errors.Join(err, c.(stream).CloseWrite())
			}()
			// Not all can be answered when the first answers are read slowly:
			// what we have not read yet fills the buffers on the way.
			in, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(in, out) {
				t.Errorf("%d of %d bytes came back, %v", len(in), len(out), err)
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("by the client", func(t *testing.T) {
		nothingLeft(t)
		_, eps := serve(t, nil, Endpoint{"tcp", "127.0.0.1:0"})
		for _, size := range []int{64, 1 << 20} {
			if res := mustSend(t, eps[0], &ClientConfig{Count: 3, Size: size, HalfClose: true}); res.End != EndEOF {
				t.Errorf("the server's end: %v", res.End)
			}
		}
	})
}

func TestServerWaitsBeforeItsClose(t *testing.T) {
	nothingLeft(t)
	const delay = 80 * time.Millisecond
	_, eps := serve(t, &ServerConfig{CloseDelay: delay}, Endpoint{"tcp", "127.0.0.1:0"})
	c := dial(t, eps[0])
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.(stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	in, err := io.ReadAll(c)
	if took := time.Since(begin); string(in) != "hello" || err != nil || took < delay {
		t.Errorf("%q, %v after %v, want EOF not before %v", in, err, took, delay)
	}

	res := mustSend(t, eps[0], nil)
	if res.End != EndEOF {
		t.Errorf("the server's end: %v", res.End)
	}
}

// Close and Shutdown need not wait for a long close delay for ever.
func TestCloseDoesNotWaitForTheCloseDelay(t *testing.T) {
	nothingLeft(t)
	s, eps := serve(t, &ServerConfig{CloseDelay: time.Hour}, Endpoint{"tcp", "127.0.0.1:0"})
	c := dial(t, eps[0])
	if err := c.(stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("a connection without unread data is closed with a FIN: %v", err)
	}
}

func TestServerClosesFirst(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			ep := Endpoint{network, "127.0.0.1:0"}
			if ep.isUnix() {
				ep.Address = filepath.Join(t.TempDir(), "s")
			}
			s, eps := serve(t, &ServerConfig{CloseAfter: 128, OnError: errs.add}, ep)
			const delay = 80 * time.Millisecond
			begin := time.Now()
			res := mustSend(t, eps[0], &ClientConfig{Count: 2, Size: 64, ServerCloses: true, CloseDelay: delay})
			if took := time.Since(begin); res.End != EndEOF || took < delay {
				t.Errorf("end %v after %v, want EOF, not before %v", res.End, took, delay)
			}
			if !eventually(func() bool { return s.open() == 0 }) {
				t.Error("the server keeps the connection after both ends closed")
			}
			if network == "tcp" {
				// TIME_WAIT stays with the active closer.
				server := eps[0].Address[strings.LastIndex(eps[0].Address, ":")+1:]
				if got := tcpStates(t, server); runtime.GOOS == "linux" && got != "TIME_WAIT" {
					t.Errorf("state of the server's end: %q, want TIME_WAIT", got)
				}
			}

			// A client that wants more answers than it gets is told so.
			res, err := Send(t.Context(), eps[0], &ClientConfig{Count: 3, Size: 64}, nil)
			if err == nil || res.Received != 2 || (res.End != EndEOF && res.End != EndReset) {
				t.Errorf("third message: %+v, %v", res, err)
			}
			errs.none(t)
		})
	}
}

// tcpStates returns the states in /proc/net/tcp (proc(5)) of the connections
// whose local port is port.
func tcpStates(t *testing.T, port string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	var n int
	fmt.Sscan(port, &n)
	var states []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
			switch f[3] {
			case "06":
				states = append(states, "TIME_WAIT")
			case "0A": // LISTEN
			default:
				states = append(states, "state "+f[3])
			}
		}
	}
	return strings.Join(states, " ")
}

// A connection that is still to answer 300 kB when Shutdown begins, one that
// is idle and one that waits to be accepted all end with EOF, nothing lost.
func TestShutdownAnswersWhatHasArrived(t *testing.T) {
	for name, ep := range allEndpoints(t) {
		if ep.isDatagram() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			s, eps := serve(t, &ServerConfig{OnError: errs.add}, ep)
			idle, busy := dial(t, eps[0]), dial(t, eps[0])
			out := make([]byte, 100_000)
			fill(out, 1)
			if !eventually(func() bool { return s.open() == 2 }) {
				t.Fatal("not accepted")
			}
			written := make(chan error, 1)
			go func() {
				_, err := busy.Write(out)
				written <- err
			}()
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				defer busy.Close()
				in := make([]byte, len(out))
				var err error
				if ep.Network == "unixpacket" {
					_, err = busy.Read(in)
				} else {
					_, err = io.ReadFull(busy, in)
				}
				if err != nil || !bytes.Equal(in, out) {
					t.Errorf("busy connection: %v, or another answer", err)
				}
				if n, err := busy.Read(in); n != 0 || err != io.EOF {
					t.Errorf("busy connection's end: %d, %v, want EOF", n, err)
				}
			})
			wg.Go(func() {
				defer idle.Close()
				if n, err := idle.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("idle connection's end: %d, %v, want EOF", n, err)
				}
				close(ended)
			})
			ctx, cancel := context.WithTimeout(t.Context(), longest)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			select {
			case <-ended:
			default:
				t.Error("Shutdown did not wait for the peer's end")
			}
			wg.Wait()
			if c, err := net.Dial(eps[0].Network, eps[0].Address); err == nil {
				c.Close()
				t.Error("still accepting after Shutdown")
			}
			errs.none(t)
		})
	}
}

// Clients that never pause: every message is answered in full, or the
// connection ends between two messages; no reset destroys an answer.
func TestShutdownUnderLoad(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	s, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"tcp", "127.0.0.1:0"})
	var wg sync.WaitGroup
	started := make(chan struct{}, 50)
	for range cap(started) {
		wg.Go(func() {
			c, err := net.Dial("tcp", eps[0].Address)
			if err != nil {
				t.Error(err)
				started <- struct{}{}
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(longest))
			out, in := make([]byte, 64), make([]byte, 64)
			for i := uint64(0); ; i++ {
				fill(out, i)
				if _, err := c.Write(out); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				n, err := io.ReadFull(c, in)
				if i == 10 {
					started <- struct{}{}
				}
				if err == io.EOF && n == 0 {
					return
				}
				if err != nil || !bytes.Equal(in, out) {
					t.Errorf("answer %d: %d bytes, %v", i, n, err)
					return
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	wg.Wait()
	errs.none(t)
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	nothingLeft(t)
	s, eps := serve(t, nil, Endpoint{"tcp", "127.0.0.1:0"})
	stubborn := dial(t, eps[0]) // never closes
	if !eventually(func() bool { return s.open() == 1 }) {
		t.Fatal("not accepted")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if n, err := stubborn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the stubborn client sees %d, %v, want EOF", n, err)
	}
}

// unserved returns a datagram server that is listening, nothing more, and a
// connection to it.
func unserved(t *testing.T, network string) (*Server, net.Conn) {
	t.Helper()
	ep := Endpoint{network, "127.0.0.1:0"}
	if ep.isUnix() {
		ep.Address = filepath.Join(t.TempDir(), "s")
	}
	s, err := Listen(t.Context(), []Endpoint{ep}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ep.Address = s.Addrs()[0].String()
	c := client{ep: ep, cfg: ClientConfig{Timeout: longest}}
	if err := c.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.conn.SetDeadline(time.Now().Add(longest))
	return s, c.conn
}

func TestShutdownAnswersQueuedDatagrams(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			s, conn := unserved(t, network)
			defer conn.Close()
			for i := range 5 {
				if _, err := fmt.Fprintf(conn, "%d", i); err != nil {
					t.Fatal(err)
				}
			}
			// Shutdown begins as soon as the server may look at the queue.
			served := make(chan struct{})
			go func() {
				s.Serve()
				close(served)
			}()
			in := make([]byte, 10)
			if n, err := conn.Read(in); err != nil || string(in[:n]) != "0" {
				t.Fatalf("%q, %v", in[:n], err)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-served
			for i := 1; i < 5; i++ {
				if n, err := conn.Read(in); err != nil || string(in[:n]) != fmt.Sprint(i) {
					t.Fatalf("answer %d: %q, %v", i, in[:n], err)
				}
			}
		})
	}
}

// Shutdown's wake comes to a datagram socket after the server has already seen
// that it drains: the wake must not undo what the socket set for its last look.
func TestShutdownWakesLate(t *testing.T) {
	const queued = 8 // fits net.unix.max_dgram_qlen
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			for range 50 {
				s, conn := unserved(t, network)
				in := make([]byte, 10)
				answer := func(want int) {
					if n, err := conn.Read(in); err != nil || string(in[:n]) != fmt.Sprint(want) {
						t.Errorf("answer %d: %q, %v", want, in[:n], err)
					}
				}
				s.socks = append([]socket{lateSocket(func() {
					for i := range queued {
						if _, err := fmt.Fprintf(conn, "%d", i); err != nil {
							t.Error(err)
						}
					}
				})}, s.socks...)
				served := make(chan struct{})
				go func() {
					s.Serve()
					close(served)
				}()
				if _, err := fmt.Fprint(conn, "0"); err != nil {
					t.Error(err)
				}
				answer(0)
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				<-served
				for i := range queued {
					answer(i)
				}
				conn.Close()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// lateSocket is a socket whose drain is the function.
type lateSocket func()

func (lateSocket) serve(*Server) {}
func (f lateSocket) drain()      { f() }
func (lateSocket) close() error  { return nil }

func TestCloseIsIdempotentAndEndsEverything(t *testing.T) {
	nothingLeft(t)
	var eps []Endpoint
	for _, ep := range allEndpoints(t) {
		eps = append(eps, ep)
	}
	s, bound := serve(t, nil, eps...)
	for _, ep := range bound {
		if ep.isDatagram() {
			continue
		}
		c := dial(t, ep)
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.Serve() // returns
	for _, ep := range bound {
		if ep.isUnix() && ep.Address[0] != '@' {
			if _, err := os.Lstat(ep.Address); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v is left: %v", ep, err)
			}
		}
	}
	if c := runtime.NumGoroutine(); s.open() != 0 {
		t.Errorf("%d connections, %d goroutines", s.open(), c)
	}
}

func TestClosedWithoutServing(t *testing.T) {
	nothingLeft(t)
	var eps []Endpoint
	for _, ep := range allEndpoints(t) {
		eps = append(eps, ep)
	}
	for _, end := range []func(*Server) error{(*Server).Close, func(s *Server) error { return s.Shutdown(t.Context()) }} {
		s, err := Listen(t.Context(), eps, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(s); err != nil {
			t.Error(err)
		}
		s.Serve()
	}
}

func TestAResetEndsItsConnectionOnly(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	s, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"tcp", "127.0.0.1:0"})
	other := dial(t, eps[0])
	defer other.Close()
	c := dial(t, eps[0])
	if !eventually(func() bool { return s.open() == 2 }) {
		t.Fatal("not accepted")
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	if !eventually(func() bool { return errs.has(syscall.ECONNRESET) }) {
		t.Errorf("errors: %v, want ECONNRESET", errs.all())
	}
	if _, err := io.WriteString(other, "x"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	mustSend(t, eps[0], nil)
}

// Descriptors run out (EMFILE): the connection waits in the queue, the server
// says so and serves it when there is room again.
func TestOutOfDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors")
	}
	nothingLeft(t)
	var errs errorList
	_, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"tcp", "127.0.0.1:0"})
	mustSend(t, eps[0], nil) // whatever the runtime opens, it has opened by now

	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	release := func() {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		for _, f := range files {
			f.Close()
		}
		files = nil
	}
	defer release()
	low := syscall.Rlimit{Cur: 200, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	files[len(files)-1].Close() // one is free: the client's

	c := dial(t, eps[0])
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return errs.has(syscall.EMFILE) }) {
		t.Fatalf("errors: %v, want EMFILE", errs.all())
	}
	release()
	in := make([]byte, 5)
	if _, err := io.ReadFull(c, in); err != nil || string(in) != "hello" {
		t.Errorf("%q, %v", in, err)
	}
	if all := errs.all(); len(all) != 1 || !strings.Contains(all[0].Error(), "(ulimit -n): connections wait") {
		t.Errorf("errors %v, want one", all)
	}
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			ep := Endpoint{network, filepath.Join(t.TempDir(), "s")}
			leaveStale(t, ep)
			_, eps := serve(t, nil, ep)
			mustSend(t, eps[0], nil)

			// A live one is not replaced, also not by another type.
			for _, second := range []string{"unix", "unixgram", "unixpacket"} {
				if s, err := Listen(t.Context(), []Endpoint{{second, ep.Address}}, nil); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%s on a live %s: %v, want EADDRINUSE", second, network, err)
					if err == nil {
						s.Close()
					}
				}
			}
			mustSend(t, eps[0], nil)
		})
	}
	t.Run("a file that is no socket stays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(t.Context(), []Endpoint{{"unix", path}}, nil); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v, want EADDRINUSE", err)
		}
		if b, err := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// leaveStale makes the file of a socket whose process is gone.
func leaveStale(t *testing.T, ep Endpoint) {
	t.Helper()
	if ep.isDatagram() {
		c, err := net.ListenPacket(ep.Network, ep.Address)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	} else {
		ln, err := net.Listen(ep.Network, ep.Address)
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		ln.Close()
	}
	if _, err := os.Lstat(ep.Address); err != nil {
		t.Fatal(err)
	}
}

// A connected client takes answers from the address it asked only. On a
// wildcard socket the kernel alone would answer from 127.0.0.1 here.
func TestUDPAnswersFromTheAddressThatWasAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: IP_PKTINFO, and 127.0.0.2")
	}
	for _, test := range []struct {
		listen Endpoint
		ask    []string
	}{
		{Endpoint{"udp4", "0.0.0.0:0"}, []string{"127.0.0.1", "127.0.0.2", "127.9.9.9"}},
		{Endpoint{"udp", ":0"}, []string{"127.0.0.1", "127.0.0.2", "::1"}},
		{Endpoint{"udp6", "[::]:0"}, []string{"::1"}},
	} {
		t.Run(test.listen.String(), func(t *testing.T) {
			if test.listen.Network != "udp4" {
				needIPv6(t)
			}
			nothingLeft(t)
			var errs errorList
			_, eps := serve(t, &ServerConfig{OnError: errs.add}, test.listen)
			_, port, _ := net.SplitHostPort(eps[0].Address)
			for _, host := range test.ask {
				mustSend(t, Endpoint{"udp", net.JoinHostPort(host, port)}, &ClientConfig{Count: 3, Size: 100})
			}
			errs.none(t)
		})
	}
}

// RFC 862 servers must not be set on each other.
func TestDatagramsFromAnEchoPortAreNotAnswered(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: 127.0.0.2")
	}
	nothingLeft(t)
	var errs errorList
	_, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"udp4", "127.0.0.1:0"})
	_, port, _ := net.SplitHostPort(eps[0].Address)
	// The other echo server has the same port.
	_, others := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"udp4", "127.0.0.2:" + port})
	from, _ := net.ResolveUDPAddr("udp", others[0].Address)
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3), Port: from.Port}, from)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(errs.all()) == 1 }) {
		t.Fatalf("errors: %v", errs.all())
	}
	if err := errs.all()[0]; !strings.Contains(err.Error(), "127.0.0.3:"+port+" not answered") {
		t.Error(err)
	}
	mustSend(t, eps[0], nil)
}

// A datagram client without an address, and one that never reads, hold up
// nobody.
func TestUnixDatagramClientsThatCannotBeAnswered(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	dir := t.TempDir()
	_, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{"unixgram", filepath.Join(dir, "s")})
	unbound := dial(t, eps[0])
	defer unbound.Close()
	if _, err := unbound.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(errs.all()) == 1 }) {
		t.Fatalf("errors: %v", errs.all())
	}
	if err := errs.all()[0]; !strings.Contains(err.Error(), "not bound") {
		t.Error(err)
	}

	server := &net.UnixAddr{Name: eps[0].Address, Net: "unixgram"}
	deaf, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "c"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	deaf.SetDeadline(time.Now().Add(longest))
	for !errs.has(os.ErrDeadlineExceeded) { // its queue is full
		if _, err := deaf.WriteToUnix([]byte("x"), server); err != nil {
			t.Fatal(err)
		}
	}
	mustSend(t, eps[0], &ClientConfig{Count: 10})
	before := len(errs.all())

	// A connected one fills the server's send buffer; when it is gone there is room.
	deafer, err := net.DialUnix("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "d"), Net: "unixgram"}, server)
	if err != nil {
		t.Fatal(err)
	}
	deafer.SetDeadline(time.Now().Add(longest))
	for !slices.ContainsFunc(errs.all()[before:], func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }) {
		if _, err := deafer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	deafer.Close()
	mustSend(t, eps[0], &ClientConfig{Count: 10})
}

func TestMessageOfTwoHundredKilobytes(t *testing.T) {
	for _, network := range []string{"unixgram", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			_, eps := serve(t, nil, Endpoint{network, filepath.Join(t.TempDir(), "s")})
			mustSend(t, eps[0], &ClientConfig{Size: 200_000})
			// More than the socket's buffer: this cannot be sent at all.
			begin := time.Now()
			res, err := Send(t.Context(), eps[0], &ClientConfig{Size: 300_000, Timeout: longest}, nil)
			if !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.ENOBUFS) {
				t.Errorf("300 kB: %v, want EMSGSIZE", err)
			}
			if res.Sent != 0 || time.Since(begin) > longest/2 {
				t.Errorf("300 kB: %+v after %v", res, time.Since(begin))
			}
		})
	}
}
