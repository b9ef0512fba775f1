package echo

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A stream's buffer grows while reads fill it: idle connections stay small,
// bulk transfers cost few system calls.
const (
	minBuffer = 4 << 10
	maxBuffer = 64 << 10

	// maxMessage is the longest message echoed on Unix datagram and seqpacket
	// sockets: above the usual net.core.wmem_default of 212,992 bytes.
	maxMessage = 256 << 10
)

// stream is what *net.TCPConn and *net.UnixConn have in common.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// accept accepts until the listener is closed or drained. ECONNABORTED (the
// peer gave up while it waited in the queue) package net skips by itself.
func (s *Server) accept(ln net.Listener) {
	defer ln.Close()
	var backoff time.Duration
	for {
		c, err := ln.Accept()
		if err != nil {
			if !s.retry(err, &backoff) {
				return
			}
			continue
		}
		backoff = 0
		s.start(c.(stream))
	}
}

func (s *Server) start(c stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return
	}
	s.conns[c] = struct{}{}
	if s.draining {
		wake(c)
	}
	s.wg.Go(func() {
		err := s.echo(c)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		err = cmp.Or(err, c.Close())
		if !errors.Is(err, net.ErrClosed) {
			s.report(err)
		}
	})
}

// echo serves one connection to its end.
//
// The rule for a non-blocking socket is: recv gives 0, the peer has finished:
// close; EAGAIN or EINTR, nothing is there yet: go on; any other error: close.
// The runtime does the middle part, it parks the goroutine until the socket is
// readable (or writable); io.EOF is the 0. An EOF ends the peer's direction
// only: everything read before it has been answered before we close.
func (s *Server) echo(c stream) error {
	recv, buf := c.Read, make([]byte, minBuffer)
	if isSeqpacket(c) {
		recv, buf = recvMessage(c.(*net.UnixConn)), make([]byte, maxMessage)
	}
	var echoed int64
	for {
		n, err := recv(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			recv, err = drain(c)
			if err != nil {
				return err
			}
			continue
		}
		if n > 0 {
			// Write returns when all is written; while it waits we do not
			// read, so a peer that does not read its answers is held up by
			// its own window and nothing piles up here.
			if _, err := c.Write(buf[:n]); err != nil {
				return err
			}
			echoed += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			if s.cfg.CloseDelay > 0 {
				s.pause(s.cfg.CloseDelay)
			}
			return nil
		case errors.Is(err, syscall.EAGAIN): // drained
			return finish(c)
		case err != nil:
			return err
		}
		if s.cfg.CloseAfter > 0 && echoed >= s.cfg.CloseAfter {
			return finish(c)
		}
		if n == len(buf) && n < maxBuffer {
			buf = make([]byte, 4*n)
		}
	}
}

// finish closes first: it sends our FIN and discards what the peer sends until
// its own. A plain close could answer late data with a reset, which may
// destroy answers that the peer has not read yet (RFC 1122 section 4.2.2.13).
func finish(c stream) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	for {
		_, err := io.Copy(io.Discard, c)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// Shutdown has begun; it waits for the peer too.
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// drain returns a recv for a connection that Shutdown has woken. It does not
// wait: EAGAIN says that everything that has arrived has been read. (Read
// cannot tell, once its deadline has passed it does not look.)
func drain(c stream) (recv func([]byte) (int, error), err error) {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	seqpacket := isSeqpacket(c)
	return func(b []byte) (n int, err error) {
		var flags int
		waitErr := rc.Read(func(fd uintptr) bool {
			for {
				n, _, flags, _, err = syscall.Recvmsg(int(fd), b, nil, 0)
				if err != syscall.EINTR {
					return true
				}
			}
		})
		switch {
		case waitErr != nil:
			return 0, waitErr
		case err != nil:
			return 0, &net.OpError{
				Op: "read", Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(),
				Err: os.NewSyscallError("recvmsg", err),
			}
		case n == 0:
			return 0, io.EOF
		case seqpacket && flags&syscall.MSG_TRUNC != 0:
			return 0, errTruncated
		}
		return n, nil
	}, nil
}

var errTruncated = errors.New("message is longer than 256 KiB, not answered")

func isSeqpacket(c net.Conn) bool { return c.LocalAddr().Network() == "unixpacket" }

// recvMessage returns a recv that notices a message longer than the buffer. An
// empty message looks like the peer's end (recv gives 0 for both) and is taken
// as that.
func recvMessage(c *net.UnixConn) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		n, _, flags, _, err := c.ReadMsgUnix(b, nil)
		if err == nil && flags&syscall.MSG_TRUNC != 0 {
			return 0, errTruncated
		}
		return n, err
	}
}
