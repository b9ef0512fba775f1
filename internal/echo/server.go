package echo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

	// Backlog is what listen(2) is told: that many connections, and one more,
	// wait for accept (0 means one); negative or above net.core.somaxconn:
	// that limit. Nil: that limit too.
	Backlog *int

	// IdleTimeout closes a connection whose peer has sent nothing, or has taken
	// nothing of its answers, for so long. The server is then the active
	// closer: the first FIN and the TIME_WAIT are its own. Zero: never.
	IdleTimeout time.Duration

	// Linger is SO_LINGER of TCP connections, in whole seconds: close(2) waits
	// so long until the peer has acknowledged everything. Zero: close throws
	// away what is not sent yet and sends a RST instead of a FIN (only an end
	// that both sides have reached already stays one). Nil: close does not
	// wait, and the kernel goes on sending. A close that waits already cannot
	// be interrupted: Server.Close waits for it too.
	Linger *time.Duration

	// MaxConns is how many connections are served at a time. When there are so
	// many, the server accepts none: who comes then waits in the kernel's
	// queue (Backlog), connected and unanswered, until another leaves.
	// Shutdown lifts it, to answer those too. Zero: no limit.
	MaxConns int

	// OnError is told what went wrong with one connection or one datagram, or
	// while accepting; none of these ends the server. It is called from
	// several goroutines. Nil: nobody is told.
	OnError func(error)
}

// Server echoes on any number of sockets.
type Server struct {
	cfg     ServerConfig
	socks   []socket
	addrs   []net.Addr
	done    chan struct{} // closed by Close
	closing chan struct{} // holds a token for each close that lingers
	quick   atomic.Int32  // Unix connections with an epoll descriptor
	wg      sync.WaitGroup

	// Buffers belong to a connection only while there is something in them.
	buffers  sync.Pool // of *[maxBuffer]byte
	messages sync.Pool // of *[maxMessage]byte

	draining atomic.Bool // Shutdown or Close has begun; set under mu

	mu     sync.Mutex
	conns  map[*conn]struct{}
	room   *sync.Cond // conns has shrunk, or draining is set
	closed bool
}

// socket is a listener, or a datagram socket. Each of its methods is called
// from another goroutine.
type socket interface {
	serve(s *Server) // returns after drain or close, with the socket closed
	drain()          // makes serve answer what the kernel holds, and return
	close() error    // ends serve at once
}

const (
	// drainTime is how long Shutdown waits for one more connection to accept
	// or datagram to answer, maxDrain how long it does so while they keep
	// coming.
	drainTime = 50 * time.Millisecond
	maxDrain  = time.Second

	// After an error of a listening or datagram socket (EMFILE: the condition
	// lasts, and the connection stays in the queue) the next try waits so long.
	minBackoff = 5 * time.Millisecond
	maxBackoff = 100 * time.Millisecond

	// episode is the time without an error after which the same error is news.
	episode = 5 * time.Second

	// lingerers is how many closes may wait at a time (ServerConfig.Linger):
	// each blocks a thread.
	lingerers = 64
)

// Listen opens a socket for each of eps; Serve serves them. On a port of 0 the
// kernel chooses one, see Addrs. A Unix socket's file that nobody listens on
// any more is replaced. ctx bounds the resolution of names, no more.
func Listen(ctx context.Context, eps []Endpoint, cfg *ServerConfig) (*Server, error) {
	s := &Server{
		done:     make(chan struct{}),
		closing:  make(chan struct{}, lingerers),
		conns:    make(map[*conn]struct{}),
		buffers:  sync.Pool{New: func() any { return new([maxBuffer]byte) }},
		messages: sync.Pool{New: func() any { return new([maxMessage]byte) }},
	}
	s.room = sync.NewCond(&s.mu)
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
	if err == nil || !ep.isUnix() {
		return err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		if whyNot := inTheWay(ctx, ep); whyNot != "" {
			return fmt.Errorf("%w: %s", err, whyNot)
		}
		if err := os.Remove(ep.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace stale socket: %w", err)
		}
		err = s.bind(ctx, ep)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		err = fmt.Errorf("%w: %s must be a directory", err, filepath.Dir(ep.Address))
	}
	return err
}

// inTheWay says why what is at ep's address must stay, "" when it is a stale
// socket: the file of one that no process has open (unix(7): connecting to it
// gives ECONNREFUSED). A live one of another type gives EPROTOTYPE, one with a
// full queue EAGAIN.
func inTheWay(ctx context.Context, ep Endpoint) string {
	const live = "a running program has this socket open"
	if strings.HasPrefix(ep.Address, "@") { // without a file, and gone with its program
		return live
	}
	fi, err := os.Lstat(ep.Address)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ""
	case err != nil:
		return err.Error()
	case fi.Mode().Type() != os.ModeSocket:
		return "the file is no socket, it stays"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, ep.Network, ep.Address)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return live
	}
	return ""
}

func (s *Server) bind(ctx context.Context, ep Endpoint) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the wire must show plain TCP
	if ep.isDatagram() {
		pc, err := lc.ListenPacket(ctx, ep.Network, ep.Address)
		if err != nil {
			return err
		}
		return s.add(pc.LocalAddr(), pc, func() (socket, error) {
			if c, ok := pc.(*net.UDPConn); ok {
				return newUDP(c)
			}
			return newUnixgram(pc.(*net.UnixConn))
		})
	}
	ln, err := lc.Listen(ctx, ep.Network, ep.Address)
	if err != nil {
		return err
	}
	return s.add(ln.Addr(), ln, func() (socket, error) {
		if err := s.setBacklog(ln.(syscall.Conn)); err != nil {
			return nil, err
		}
		if ln, ok := ln.(*net.UnixListener); ok {
			return s.newUnixListener(ln)
		}
		return tcpListener{ln.(*net.TCPListener)}, nil
	})
}

// add adds what open makes of a socket, or closes it.
func (s *Server) add(addr net.Addr, c interface{ Close() error }, open func() (socket, error)) error {
	sock, err := open()
	if err != nil {
		_ = c.Close()
		return err
	}
	s.socks = append(s.socks, sock)
	s.addrs = append(s.addrs, addr)
	return nil
}

// setBacklog calls listen(2) once more, with our own backlog: package net has
// none to set, and the second call changes the first's.
func (s *Server) setBacklog(ln syscall.Conn) error {
	if s.cfg.Backlog == nil {
		return nil
	}
	return control(ln, func(fd int) error {
		return os.NewSyscallError("listen", syscall.Listen(fd, *s.cfg.Backlog))
	})
}

// control calls f with the descriptor of c, which is not closed meanwhile.
func control(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if closed := rc.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

// Addrs returns the bound addresses in the order of Listen's endpoints.
func (s *Server) Addrs() []net.Addr { return s.addrs }

// Serve echoes until Close or Shutdown has ended all that it serves. It is
// called once.
func (s *Server) Serve() {
	s.mu.Lock()
	if !s.draining.Load() {
		for _, sock := range s.socks {
			s.wg.Go(func() { sock.serve(s) })
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Shutdown ends the server gracefully: it accepts who waits to be accepted and
// then nobody any more, echoes what has arrived, sends a FIN on each connection
// and waits for the peer's. What is not done when ctx ends is closed as it is,
// and ctx's error returned. After Shutdown no goroutine, descriptor or socket
// file of the server is left.
//
// A connection that is established after the last look at the queue and before
// the listening socket is closed is reset: Linux has no way to prevent it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining.Load() {
		s.draining.Store(true)
		s.room.Broadcast()
		for _, sock := range s.socks {
			sock.drain()
		}
		for c := range s.conns {
			c.wake()
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
		s.mu.Lock()
		err = fmt.Errorf("shut down echo server: %w: the peers of %d connections had not closed", ctx.Err(), len(s.conns))
		s.mu.Unlock()
	}
	closeErr := s.Close()
	<-idle
	return cmp.Or(err, closeErr)
}

// past returns a deadline that ends what is under way.
func past() time.Time { return time.Unix(1, 0) }

// Close closes every socket at once; a connection with unread data is reset
// by that. It is idempotent and returns when no goroutine is left.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.draining.Store(true)
	s.room.Broadcast()
	var err error
	if first {
		close(s.done)
		for _, sock := range s.socks {
			err = cmp.Or(err, sock.close())
		}
		for c := range s.conns {
			c.abandon()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// socketFile is the file that bind(2) made for a Unix socket. Nothing removes
// it with the socket.
type socketFile struct {
	path string
	info os.FileInfo // nil: there is none
	once sync.Once
}

// own takes over from package net the removal of a listener's file.
func own(ln *net.UnixListener) *socketFile {
	ln.SetUnlinkOnClose(false)
	return fileOf(ln.Addr())
}

func fileOf(addr net.Addr) *socketFile {
	path := addr.(*net.UnixAddr).Name
	if strings.HasPrefix(path, "@") {
		return &socketFile{}
	}
	info, err := os.Lstat(path)
	if err != nil {
		return &socketFile{}
	}
	return &socketFile{path: path, info: info}
}

// remove removes the file, unless it is gone already or, meanwhile, another's:
// of a server that found ours stale. It does so once and before the socket is
// closed: while that is open no other file has the same number.
func (f *socketFile) remove() (err error) {
	f.once.Do(func() {
		if f.info == nil {
			return
		}
		if info, statErr := os.Lstat(f.path); statErr != nil || !os.SameFile(info, f.info) {
			return
		}
		if rmErr := os.Remove(f.path); !errors.Is(rmErr, os.ErrNotExist) {
			err = rmErr
		}
	})
	return err
}

// notClosed returns err unless it says that a socket is closed already.
func notClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) { // of packages net, os
		return nil
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

// trouble is what a listening or datagram socket has had lately.
type trouble struct {
	errno   syscall.Errno
	at      time.Time
	backoff time.Duration
}

// retry deals with an error of a listening or datagram socket: it reports it,
// once an episode, waits, doubling the time, and says whether to go on.
func (s *Server) retry(err error, t *trouble) bool {
	select {
	case <-s.done: // what closing a socket gives is no error
		return false
	default:
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	now := time.Now()
	if errno != t.errno || now.Sub(t.at) > episode {
		switch errno {
		case syscall.EMFILE:
			err = fmt.Errorf("%w (ulimit -n): connections wait until one is closed", err)
		case syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			err = fmt.Errorf("%w: connections wait until the system has room", err)
		}
		s.report(err)
	}
	t.errno, t.at = errno, now
	t.backoff = min(max(2*t.backoff, minBackoff), maxBackoff)
	return s.pause(t.backoff)
}

// over ends the trouble; the same error soon after is not told again.
func (t *trouble) over() { t.backoff = 0 }

// drainer tells a socket's loop what to do once Shutdown has begun: go on as
// long as there is something to do.
type drainer struct{ end time.Time }

// more reports whether to look once more. While draining it sets the deadline
// of that look anew each time, so that what waits already is found however
// late this goroutine runs.
func (d *drainer) more(s *Server, setReadDeadline func(time.Time) error) bool {
	if !s.draining.Load() {
		return true
	}
	now := time.Now()
	if d.end.IsZero() {
		s.awaitDrain()
		d.end = now.Add(maxDrain)
	}
	return now.Before(d.end) && setReadDeadline(now.Add(drainTime)) == nil
}

// awaitDrain returns when Shutdown, having set draining, has also woken every
// socket: a deadline that is set before that would be overwritten by it.
func (s *Server) awaitDrain() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// done reports whether err is the end of a look that began while draining.
func (d *drainer) done(err error) bool {
	return !d.end.IsZero() && errors.Is(err, os.ErrDeadlineExceeded)
}
