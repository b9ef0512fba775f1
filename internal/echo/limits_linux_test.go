package echo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// knock makes a connection on a non-blocking socket and returns what connect(2) says.
func knock(t *testing.T, addr net.Addr) error {
	t.Helper()
	domain, sa := syscall.AF_UNIX, syscall.Sockaddr(nil)
	kind := syscall.SOCK_STREAM
	switch addr := addr.(type) {
	case *net.TCPAddr:
		domain, sa = syscall.AF_INET, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	case *net.UnixAddr:
		sa = &syscall.SockaddrUnix{Name: addr.Name}
		if addr.Net == "unixpacket" {
			kind = syscall.SOCK_SEQPACKET
		}
	}
	fd, err := syscall.Socket(domain, kind|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	return syscall.Connect(fd, sa)
}

// clientStates counts the clients of a server's port by state in /proc/net/tcp.
func clientStates(t *testing.T, port int) map[string]int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
			states[f[3]]++
		}
	}
	return states
}

// Nobody accepts: of the clients min(backlog, somaxconn)+1 get a connection,
// others stay in SYN_SENT, or are told EAGAIN on a Unix socket.
func TestBacklogIsAsListenTakesIt(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	var somaxconn int
	fmt.Sscan(string(b), &somaxconn)
	const established, synSent = "01", "02"
	for _, test := range []struct{ backlog, want int }{
		{0, 1}, {1, 2}, {5, 6}, {128, 129}, {-1, somaxconn + 1}, {somaxconn + 1000, somaxconn + 1},
	} {
		for _, network := range []string{"tcp4", "unix", "unixpacket"} {
			t.Run(fmt.Sprint(network, " ", test.backlog), func(t *testing.T) {
				if test.want > 10_000 {
					t.Skipf("net.core.somaxconn is %d: not so many descriptors", somaxconn)
				}
				ep := Endpoint{network, "127.0.0.1:0"}
				if ep.isUnix() {
					ep.Address = filepath.Join(t.TempDir(), "s")
				}
				s, err := Listen(t.Context(), []Endpoint{ep}, &ServerConfig{Backlog: &test.backlog})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				const more = 4
				got, refused := 0, 0
				for range test.want + more {
					switch err := knock(t, s.Addrs()[0]); err {
					case nil:
						got++
					case syscall.EAGAIN:
						refused++
					case syscall.EINPROGRESS:
					default:
						t.Fatal(err)
					}
				}
				if network == "tcp4" {
					port := s.Addrs()[0].(*net.TCPAddr).Port
					eventually(func() bool {
						states := clientStates(t, port)
						got, refused = states[established], states[synSent]
						return got+refused == test.want+more
					})
				}
				if got != test.want || refused != more {
					t.Errorf("%d connections, %d without, want %d and %d", got, refused, test.want, more)
				}
			})
		}
	}
}

// streams runs a test on each kind of stream.
func streams(t *testing.T, cfg ServerConfig, test func(t *testing.T, s *Server, ep Endpoint, errs *errorList)) {
	for _, network := range []string{"tcp4", "unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			ep := Endpoint{network, "127.0.0.1:0"}
			if ep.isUnix() {
				ep.Address = filepath.Join(t.TempDir(), "s")
			}
			var errs errorList
			cfg := cfg
			cfg.OnError = errs.add
			s, eps := serve(t, &cfg, ep)
			test(t, s, eps[0], &errs)
		})
	}
}

// exchange sends a message and awaits its echo.
func exchange(t *testing.T, c net.Conn, message string) {
	t.Helper()
	in := make([]byte, len(message))
	if _, err := io.WriteString(c, message); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, in); err != nil || string(in) != message {
		t.Fatalf("%q came back for %q, %v", in, message, err)
	}
}

// ends awaits the server's FIN.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v, want EOF", n, err)
	}
}

// A peer is idle that sends nothing: the server ends first, and TIME_WAIT is
// its own. One that sends now and then stays.
func TestIdlePeersAreClosed(t *testing.T) {
	const timeout = 600 * time.Millisecond
	streams(t, ServerConfig{IdleTimeout: timeout}, func(t *testing.T, s *Server, ep Endpoint, errs *errorList) {
		begin := time.Now()
		silent, talker := dial(t, ep), dial(t, ep)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			ends(t, silent)
		}()
		var last time.Time
		for time.Since(begin) < 3*timeout/2 {
			last = time.Now()
			exchange(t, talker, "still here")
			time.Sleep(timeout / 20) // what the peer does: it is not always silent
		}
		ends(t, talker)
		if took := time.Since(last); took < timeout {
			t.Errorf("closed %v after a message, before %v", took, timeout)
		}
		<-ended
		silent.Close()
		talker.Close()
		if !eventually(func() bool { return s.open() == 0 }) {
			t.Error("the server keeps the connections")
		}
		if ep.Network == "tcp4" {
			_, port, _ := net.SplitHostPort(ep.Address)
			if !eventually(func() bool { return tcpStates(t, port) == "TIME_WAIT TIME_WAIT" }) {
				t.Errorf("states of the server's ends: %q, want TIME_WAIT twice", tcpStates(t, port))
			}
		}
		errs.none(t)
	})
}

// A peer that sends and takes none of its answers is idle too.
func TestDeafPeersAreClosed(t *testing.T) {
	streams(t, ServerConfig{IdleTimeout: 100 * time.Millisecond}, func(t *testing.T, s *Server, ep Endpoint, errs *errorList) {
		c := dial(t, ep)
		var err error
		for err == nil {
			_, err = c.Write(make([]byte, 10_000))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server holds on")
		}
		if !eventually(func() bool { return len(errs.all()) == 1 }) || !strings.Contains(errs.all()[0].Error(), "the peer has taken none of its answers for 100ms") {
			t.Errorf("errors: %v", errs.all())
		}
	})
}

// An idle timeout does not keep Shutdown from ending connections, nor from
// waiting for their peers.
func TestShutdownWithAnIdleTimeout(t *testing.T) {
	streams(t, ServerConfig{IdleTimeout: time.Hour}, func(t *testing.T, s *Server, ep Endpoint, errs *errorList) {
		c := dial(t, ep)
		exchange(t, c, "x")
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		ends(t, c)
		select {
		case err := <-done:
			t.Errorf("Shutdown did not wait for the peer: %v", err)
		default:
		}
		c.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		errs.none(t)
	})
}

func TestLinger(t *testing.T) {
	for _, test := range []struct {
		linger time.Duration
		want   error
	}{{0, syscall.ECONNRESET}, {time.Second, io.EOF}} {
		t.Run(fmt.Sprint(test.linger), func(t *testing.T) {
			nothingLeft(t)
			_, eps := serve(t, &ServerConfig{Linger: &test.linger}, Endpoint{"tcp4", "127.0.0.1:0"})
			c := dial(t, eps[0])
			exchange(t, c, "hello")
			if err := c.(stream).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, test.want) {
				t.Errorf("%d, %v, want %v", n, err, test.want)
			}
		})
	}
}

// More closes than may at a time want to linger, of peers that have no room for
// the rest of their answers. (When the peers are gone, so are they.)
func TestLingeringClosesAreFew(t *testing.T) {
	nothingLeft(t)
	linger := time.Hour
	s, eps := serve(t, &ServerConfig{Linger: &linger, IdleTimeout: 50 * time.Millisecond}, Endpoint{"tcp4", "127.0.0.1:0"})
	for range 2 * lingerers {
		c := dial(t, eps[0])
		// The answers fill our receive buffer; the rest of them, and the FIN,
		// wait for room in it.
		c.SetWriteDeadline(time.Now().Add(longest))
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 60_000)); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { return len(s.closing) == lingerers }) {
		t.Errorf("%d closes linger, want %d", len(s.closing), lingerers)
	}
}

// Beyond MaxConns clients wait, connected and unanswered; who leaves makes
// room for the next. Shutdown answers those who still wait.
func TestMaxConns(t *testing.T) {
	streams(t, ServerConfig{MaxConns: 2}, func(t *testing.T, s *Server, ep Endpoint, errs *errorList) {
		var conns []net.Conn
		for i := range 4 {
			c := dial(t, ep)
			conns = append(conns, c)
			if _, err := fmt.Fprint(c, i); err != nil {
				t.Fatal(err)
			}
		}
		answered := func(i int) {
			t.Helper()
			in := make([]byte, 1)
			if _, err := conns[i].Read(in); err != nil || string(in) != fmt.Sprint(i) {
				t.Fatalf("client %d: %q, %v", i, in, err)
			}
		}
		answered(0)
		answered(1)
		if n := s.open(); n != 2 {
			t.Errorf("%d connections are served", n)
		}
		conns[0].Close()
		answered(2)
		if n := s.open(); n != 2 {
			t.Errorf("%d connections are served", n)
		}
		conns[3].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := conns[3].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the one too many: %d, %v", n, err)
		}
		conns[3].SetReadDeadline(time.Now().Add(longest))
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		answered(3)
		for _, c := range conns[1:] {
			ends(t, c)
			c.Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		errs.none(t)
	})
}

func TestMaxConnsOfSeveralListeners(t *testing.T) {
	nothingLeft(t)
	s, eps := serve(t, &ServerConfig{MaxConns: 1}, Endpoint{"tcp4", "127.0.0.1:0"}, Endpoint{"unix", filepath.Join(t.TempDir(), "s")})
	for range 20 {
		var wg sync.WaitGroup
		for _, ep := range eps { // both listeners may see the one place free
			c := dial(t, ep)
			wg.Go(func() {
				defer c.Close()
				in := make([]byte, 1)
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
				if _, err := c.Read(in); err != nil || in[0] != 'x' {
					t.Errorf("%v: %q, %v", ep, in, err)
				}
				if n := s.open(); n != 1 {
					t.Errorf("%d connections are served", n)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// Another server found our file stale and has put its own there: that one stays.
func TestAnotherServersFileStays(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			path := filepath.Join(t.TempDir(), "s")
			s, _ := serve(t, nil, Endpoint{network, path})
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			_, others := serve(t, nil, Endpoint{network, path})
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			mustSend(t, others[0], nil)
		})
	}
}

func TestWhyAUnixSocketCannotBeBound(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	abstract := fmt.Sprintf("@finack-echo-taken-%d", os.Getpid())
	serve(t, nil, Endpoint{"unix", abstract})
	for _, test := range []struct {
		path, says string
		is         error
	}{
		{filepath.Join(dir, "no", "s"), "/no must be a directory", os.ErrNotExist},
		{filepath.Join(file, "s"), "/file must be a directory", syscall.ENOTDIR},
		{file, "the file is no socket, it stays", syscall.EADDRINUSE},
		{link, "the file is no socket, it stays", syscall.EADDRINUSE},
		{abstract, "a running program has this socket open", syscall.EADDRINUSE},
	} {
		for _, network := range []string{"unix", "unixgram"} {
			if network == "unixgram" && test.path == abstract {
				continue // another type has its own names
			}
			s, err := Listen(t.Context(), []Endpoint{{network, test.path}}, nil)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s %s: %v, want …%s…", network, test.path, err, test.says)
			}
			if err == nil {
				s.Close()
			}
		}
	}
}

// A message of 256 KiB is answered; a longer one is told, not answered in part.
func TestTheLongestUnixMessage(t *testing.T) {
	for _, network := range []string{"unixgram", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			_, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{network, filepath.Join(t.TempDir(), "s")})
			c := client{ep: eps[0], cfg: ClientConfig{Timeout: longest}}
			if err := c.dial(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer c.conn.Close()
			c.conn.SetDeadline(time.Now().Add(longest))
			if err := c.conn.(*net.UnixConn).SetWriteBuffer(roomToAnswer); err != nil {
				t.Fatal(err)
			}
			out, in := make([]byte, maxMessage), make([]byte, maxMessage+1)
			fill(out, 1)
			if _, err := c.conn.Write(out); err != nil {
				t.Fatal(err)
			}
			if n, err := c.conn.Read(in); err != nil || !bytes.Equal(in[:n], out) {
				t.Errorf("%d of %d bytes came back, %v", n, len(out), err)
			}
			errs.none(t)
			if _, err := c.conn.Write(make([]byte, maxMessage+1)); err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool { return errs.has(errTruncated) }) {
				t.Errorf("errors: %v", errs.all())
			}
			mustSend(t, eps[0], nil)
		})
	}
}

// More Unix connections than may have an epoll descriptor, some of which write
// more than there is room for: all are served alike, and nothing is left.
func TestQuickAndSlowUnixConnections(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			nothingLeft(t)
			var errs errorList
			s, eps := serve(t, &ServerConfig{OnError: errs.add}, Endpoint{network, filepath.Join(t.TempDir(), "s")})
			conns := make([]net.Conn, maxQuick+50)
			for i := range conns {
				conns[i] = dial(t, eps[0])
				exchange(t, conns[i], "first")
			}
			if n := s.quick.Load(); n != maxQuick {
				t.Errorf("%d epoll descriptors, want %d", n, maxQuick)
			}
			// Nobody reads until the server has to wait with its answers.
			const slowed, messages, size = 10, 100, 10_000
			var wg sync.WaitGroup
			for _, c := range conns[:slowed] {
				wg.Go(func() {
					for range messages {
						if _, err := c.Write(make([]byte, size)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			if !eventually(func() bool { return s.quick.Load() == maxQuick-slowed }) {
				t.Errorf("%d epoll descriptors, want %d", s.quick.Load(), maxQuick-slowed)
			}
			for i, c := range conns[:slowed] {
				in := make([]byte, size)
				for range messages {
					if _, err := io.ReadFull(c, in); err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
				}
			}
			wg.Wait()
			for _, c := range conns {
				exchange(t, c, "last")
				c.Close()
			}
			if !eventually(func() bool { return s.quick.Load() == 0 && s.open() == 0 }) {
				t.Errorf("%d epoll descriptors, %d connections are left", s.quick.Load(), s.open())
			}
			errs.none(t)
		})
	}
}
