package echo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ServerConfig configures a Server; nil and the zero value are fine.
type ServerConfig struct {
	// CloseDelay is how long a connection stays in CLOSE_WAIT: the time
	// between the peer's end (EOF) and our close. Zero: close at once, so that
	// our FIN rides on the ACK of the peer's.
	CloseDelay time.Duration

	// CloseAfter makes the server the one that closes first: once it has
	// echoed at least so many bytes of a connection it ends its own direction
	// (FIN) and discards what still comes until the peer ends the other one.
	// Zero: the peer closes first.
	CloseAfter int64

	// OnError is told what went wrong with one connection or one datagram, or
	// while accepting; none of these ends the server. It is called from
	// several goroutines. Nil: nobody is told.
	OnError func(error)
}

// Server echoes on any number of sockets.
type Server struct {
	cfg   ServerConfig
	socks []socket
	addrs []net.Addr
	done  chan struct{} // closed by Close
	wg    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	draining bool // Shutdown or Close has begun
	closed   bool
}

// socket is a listener, or a datagram socket.
type socket interface {
	Close() error
	SetDeadline(time.Time) error
}

const (
	// drainTime is how long Shutdown serves what the kernel holds for the
	// sockets: connections to accept, datagrams to answer.
	drainTime = 50 * time.Millisecond

	// After an error of a listening or datagram socket (EMFILE: the condition
	// lasts, and the connection stays in the queue) the next try waits so long.
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// Listen opens a socket for each of eps; Serve serves them. On a port of 0 the
// kernel chooses one, see Addrs. A Unix socket's file that nobody listens on
// any more is replaced. ctx bounds the resolution of names, no more.
func Listen(ctx context.Context, eps []Endpoint, cfg *ServerConfig) (*Server, error) {
	s := &Server{
		done:  make(chan struct{}),
		conns: make(map[net.Conn]struct{}),
	}
	if cfg != nil {
		s.cfg = *cfg
	}
	for _, ep := range eps {
		if err := s.listen(ctx, ep); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context, ep Endpoint) error {
	err := s.bind(ctx, ep)
	if errors.Is(err, syscall.EADDRINUSE) && ep.isUnix() && isStale(ctx, ep) {
		if err := os.Remove(ep.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace stale socket: %w", err)
		}
		err = s.bind(ctx, ep)
	}
	return err
}

// isStale reports whether ep is the file of a socket that no process has open
// (unix(7): connecting to it gives ECONNREFUSED). A live one of another type
// gives EPROTOTYPE.
func isStale(ctx context.Context, ep Endpoint) bool {
	fi, err := os.Lstat(ep.Address)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return false
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, ep.Network, ep.Address)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func (s *Server) bind(ctx context.Context, ep Endpoint) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the wire must show plain TCP
	if !ep.isDatagram() {
		ln, err := lc.Listen(ctx, ep.Network, ep.Address)
		if err != nil {
			return err
		}
		s.socks = append(s.socks, ln.(socket))
		s.addrs = append(s.addrs, ln.Addr())
		return nil
	}
	pc, err := lc.ListenPacket(ctx, ep.Network, ep.Address)
	if err != nil {
		return err
	}
	if udp, ok := pc.(*net.UDPConn); ok && isWildcard(udp) {
		if err := receiveDestination(udp); err != nil {
			_ = pc.Close()
			return err
		}
	}
	s.socks = append(s.socks, pc)
	s.addrs = append(s.addrs, pc.LocalAddr())
	return nil
}

// Addrs returns the bound addresses in the order of Listen's endpoints.
func (s *Server) Addrs() []net.Addr { return s.addrs }

// Serve echoes until Close or Shutdown has ended all that it serves. It is
// called once.
func (s *Server) Serve() {
	s.mu.Lock()
	if !s.draining {
		for _, sock := range s.socks {
			s.wg.Go(func() {
				switch sock := sock.(type) {
				case net.Listener:
					s.accept(sock)
				case *net.UDPConn:
					s.serveUDP(sock)
				case *net.UnixConn:
					s.serveUnixgram(sock)
				}
			})
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Shutdown ends the server gracefully: it stops accepting, echoes what has
// arrived, sends a FIN on each connection and waits for the peer's. What is
// not done when ctx ends is closed as it is, and ctx's error returned. After
// Shutdown no goroutine, descriptor or socket file of the server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		for _, sock := range s.socks {
			_ = sock.SetDeadline(time.Now().Add(drainTime))
		}
		for c := range s.conns {
			wake(c)
		}
	}
	s.mu.Unlock()

	idle := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("shut down echo server: %w", ctx.Err())
	}
	closeErr := s.Close()
	<-idle
	return cmp.Or(err, closeErr)
}

// past returns a deadline that ends what is under way.
func past() time.Time { return time.Unix(1, 0) }

// wake ends a Read under way on c, which then finds out why.
func wake(c net.Conn) { _ = c.SetReadDeadline(past()) }

// Close closes every socket at once; a connection with unread data is reset
// by that. It is idempotent and returns when no goroutine is left.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed, s.draining = true, true
	var err error
	if first {
		close(s.done)
		for i, sock := range s.socks {
			err = cmp.Or(err, closeSocket(sock, s.addrs[i]))
		}
		for c := range s.conns {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// closeSocket closes sock and removes its file; of a listener package net does that.
func closeSocket(sock socket, addr net.Addr) error {
	err := sock.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if a, ok := addr.(*net.UnixAddr); ok && a.Net == "unixgram" && !strings.HasPrefix(a.Name, "@") {
		if rmErr := os.Remove(a.Name); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = cmp.Or(err, rmErr)
		}
	}
	return err
}

func (s *Server) report(err error) {
	if s.cfg.OnError != nil && err != nil {
		s.cfg.OnError(err)
	}
}

// pause waits for d and reports whether the server still runs.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// retry deals with an error of a listening or datagram socket: it reports it,
// waits, doubling *backoff, and says whether to go on.
func (s *Server) retry(err error, backoff *time.Duration) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return false // Close, Shutdown
	}
	s.report(err)
	*backoff = min(max(2**backoff, minBackoff), maxBackoff)
	return s.pause(*backoff)
}
