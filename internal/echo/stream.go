package echo

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxBuffer is what one read takes of a stream.
	maxBuffer = 64 << 10

	// maxMessage is the longest message echoed on Unix datagram and seqpacket
	// sockets: above the usual net.core.wmem_default of 212,992 bytes.
	maxMessage = 256 << 10

	// roomToAnswer is the send buffer that the longest message needs; what
	// net.core.wmem_max allows of it is enough by default.
	roomToAnswer = 2 * maxMessage
)

// stream is what *net.TCPConn and *net.UnixConn have in common.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// tcpListener is a socket.
type tcpListener struct{ *net.TCPListener }

func (l tcpListener) serve(s *Server) {
	defer l.Close()
	s.acceptAll(l.SetDeadline, func() (*conn, error) {
		// ECONNABORTED (the peer gave up while it waited) package net skips.
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if s.cfg.Linger != nil {
			_ = c.SetLinger(int(*s.cfg.Linger / time.Second))
		}
		rc, err := c.SyscallConn()
		return &conn{sock: c, raw: rc}, err
	})
}

func (l tcpListener) drain()       { _ = l.SetDeadline(past()) }
func (l tcpListener) close() error { return notClosed(l.Close()) }

// acceptAll accepts until the listener is closed or drained.
func (s *Server) acceptAll(setDeadline func(time.Time) error, accept func() (*conn, error)) {
	var (
		trouble trouble
		drain   drainer
	)
	for {
		s.mu.Lock()
		s.awaitRoom()
		s.mu.Unlock()
		if !drain.more(s, setDeadline) {
			return
		}
		c, err := accept()
		switch {
		case err == nil:
			trouble.over()
			s.start(c)
		case drain.done(err):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // Shutdown begins
		case !s.retry(err, &trouble):
			return
		}
	}
}

// awaitRoom waits, with s.mu locked, for a place among MaxConns.
func (s *Server) awaitRoom() {
	for s.cfg.MaxConns > 0 && len(s.conns) >= s.cfg.MaxConns && !s.draining.Load() {
		s.room.Wait()
	}
}

// start serves an accepted connection. With several listeners two may have
// seen the last place free: one of their connections waits here.
func (s *Server) start(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitRoom()
	if s.closed {
		_ = c.sock.Close()
		return
	}
	c.server = s
	s.conns[c] = struct{}{}
	if s.draining.Load() {
		c.wake()
	}
	s.wg.Go(func() {
		err := c.echo()
		err = cmp.Or(err, c.close())
		s.mu.Lock()
		delete(s.conns, c)
		s.room.Broadcast() // who waits to accept, and who has accepted and waits
		s.mu.Unlock()
		if !errors.Is(err, net.ErrClosed) {
			s.report(err)
		}
	})
}

// close closes c. With SO_LINGER that blocks a thread, also of a non-blocking
// socket: a few at a time.
func (c *conn) close() error {
	if s := c.server; s.lingers() {
		select {
		case s.closing <- struct{}{}:
			defer func() { <-s.closing }()
		case <-s.done:
		}
	}
	return c.sock.Close()
}

func (s *Server) lingers() bool { return s.cfg.Linger != nil && *s.cfg.Linger > 0 }

// abandon closes c at once.
func (c *conn) abandon() {
	if tcp, ok := c.sock.(*net.TCPConn); ok && c.server.lingers() {
		_ = tcp.SetLinger(-1)
	}
	_ = c.sock.Close()
}

// conn is one connection. A single goroutine reads and writes.
type conn struct {
	sock interface { // *net.TCPConn, *net.UnixConn or *unixSock
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
		SetReadDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
		Close() error
	}
	raw       syscall.RawConn
	seqpacket bool

	server   *Server
	data     []byte // received and not yet answered, in buf
	buf      any    // of pool; nil while it holds nothing
	pool     *sync.Pool
	err      error     // of the last recv or send
	active   time.Time // the last that something came or went; set with IdleTimeout only
	draining bool      // Shutdown's wake has been heard: a read does not wait
	ending   bool      // our FIN is sent: a read waits for the peer's
}

// wake ends a read under way on c, which then finds out why.
func (c *conn) wake() { _ = c.sock.SetReadDeadline(past()) }

var (
	errDrained   = errors.New("everything that has arrived is read")
	errIdle      = errors.New("idle")
	errTruncated = errors.New("message is longer than 256 KiB, not answered")
)

// echo serves the connection to its end. An end (recv gives 0) is that of the
// peer's direction only: everything that was read before has been answered
// before we close.
func (c *conn) echo() error {
	s := c.server
	c.pool = &s.buffers
	if c.seqpacket {
		c.pool = &s.messages
	}
	defer c.release()
	if s.cfg.IdleTimeout > 0 {
		c.active = time.Now()
		if err := cmp.Or(c.rearmRead(), c.rearm(c.sock.SetWriteDeadline)); err != nil {
			return err
		}
	}
	recv, send := c.recv, c.send
	var echoed int64
	for {
		switch err := c.read(recv); err {
		case nil:
		case io.EOF:
			if s.cfg.CloseDelay > 0 {
				s.pause(s.cfg.CloseDelay)
			}
			return nil
		case errIdle: // nothing is unread: the close sends a FIN, the first
			return nil
		case errDrained:
			return c.finish(recv)
		default:
			return err
		}
		echoed += int64(len(c.data))
		// The write ends when all is written. While it waits we do not read,
		// so a peer that does not read its answers is held up by its own
		// window and nothing but this one buffer piles up here.
		if err := c.write(send); err != nil {
			return err
		}
		if s.cfg.CloseAfter > 0 && echoed >= s.cfg.CloseAfter {
			return c.finish(recv)
		}
	}
}

// finish closes first: it sends our FIN and discards what the peer sends until
// its own. A plain close could answer late data with a reset, which may
// destroy answers that the peer has not read yet (RFC 1122 section 4.2.2.13).
func (c *conn) finish(recv func(uintptr) bool) error {
	var err error
	waitErr := c.raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	if waitErr != nil || err != nil {
		return cmp.Or(waitErr, c.opError("close", "shutdown", err))
	}
	c.ending = true
	for {
		switch err := c.read(recv); err {
		case nil:
		case io.EOF, errIdle:
			return nil
		default:
			return err
		}
	}
}

// read waits for something to arrive and leaves it in c.data.
func (c *conn) read(recv func(uintptr) bool) error {
	s := c.server
	for {
		err := c.raw.Read(recv)
		switch {
		case err == nil:
			return c.err
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case s.draining.Load() && !c.draining:
			c.draining = true
			if s.cfg.IdleTimeout <= 0 {
				err = c.sock.SetReadDeadline(time.Time{})
				break
			}
			c.active = time.Now()
			err = c.rearm(c.sock.SetReadDeadline)
		case c.expired():
			return errIdle
		default:
			err = c.rearmRead()
		}
		if err != nil {
			return err
		}
	}
}

// recv is called when there may be something to read. It reports whether to
// stop waiting.
//
// The rule for a non-blocking socket is: recv gives 0, the peer has finished:
// close; EAGAIN or EINTR, nothing is there yet: go on; any other error: close.
// An empty message of a seqpacket socket gives 0 as well, and is taken for the
// end.
func (c *conn) recv(fd uintptr) bool {
	// Only what is in it takes a buffer: an idle connection has none.
	if c.buf == nil {
		c.buf = c.pool.Get()
	}
	var n int
	c.data, n, c.err = receive(int(fd), c.buf)
	switch {
	case c.err == syscall.EAGAIN:
		c.release()
		if !c.draining || c.ending {
			return false
		}
		c.err = errDrained
	case c.err == errTruncated:
	case c.err != nil:
		call := "read"
		if c.seqpacket {
			call = "recvmsg"
		}
		c.err = c.opError("read", call, c.err)
	case n == 0:
		c.err = io.EOF
	case !c.active.IsZero():
		c.active = time.Now()
	}
	return true
}

// receive reads into buf, *[maxBuffer]byte for a stream, *[maxMessage]byte for
// messages, as much as there is without waiting.
func receive(fd int, buf any) (data []byte, n int, err error) {
	if b, ok := buf.(*[maxMessage]byte); ok {
		var flags int
		err := ignoringEINTR(func() (err error) {
			n, _, flags, _, err = syscall.Recvmsg(fd, b[:], nil, 0)
			return err
		})
		if err == nil && flags&syscall.MSG_TRUNC != 0 {
			err = errTruncated
		}
		return b[:max(n, 0)], n, err
	}
	b := buf.(*[maxBuffer]byte)
	n, err = readNow(fd, b[:])
	return b[:max(n, 0)], n, err
}

// ignoringEINTR calls f until a signal does not interrupt it.
func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}

func (c *conn) release() {
	if c.buf != nil {
		c.pool.Put(c.buf)
		c.buf, c.data = nil, nil
	}
}

// write writes c.data.
func (c *conn) write(send func(uintptr) bool) error {
	for {
		err := c.raw.Write(send)
		switch {
		case err == nil:
			return c.err
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case c.expired():
			return c.opError("write", "write", fmt.Errorf("the peer has taken none of its answers for %v", c.server.cfg.IdleTimeout))
		}
		if err := c.rearm(c.sock.SetWriteDeadline); err != nil {
			return err
		}
	}
}

// send is called when there may be room. It reports whether to stop waiting:
// EAGAIN is no error, it says that the peer's window or our buffer is full.
func (c *conn) send(fd uintptr) bool {
	for len(c.data) > 0 {
		n, err := writeNow(int(fd), c.data)
		switch {
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			c.err = c.opError("write", "write", err)
			return true
		case !c.active.IsZero():
			c.active = time.Now()
		}
		c.data = c.data[n:]
	}
	return true
}

// expired reports whether the connection has been idle for IdleTimeout.
func (c *conn) expired() bool {
	return time.Since(c.active) >= c.server.cfg.IdleTimeout
}

// rearm sets a deadline to when IdleTimeout would be over. To set it for each
// message would cost more than to look, when it is reached, at what has come
// meanwhile.
func (c *conn) rearm(setDeadline func(time.Time) error) error {
	return setDeadline(c.active.Add(c.server.cfg.IdleTimeout))
}

// rearmRead is rearm for reads, unless Shutdown has begun: its wake may have
// come before, and is repeated.
func (c *conn) rearmRead() error {
	err := c.rearm(c.sock.SetReadDeadline)
	if c.server.draining.Load() && !c.draining {
		c.wake()
	}
	return err
}

func (c *conn) opError(op, call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(call, errno)
	}
	local := c.sock.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.sock.RemoteAddr(), Err: err}
}
