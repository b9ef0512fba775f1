package echo

import (
	"cmp"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// unixListener is a socket. Package net opened it; its duplicate accepts,
// because package net lets no connection out of its poller.
type unixListener struct {
	*net.UnixListener
	file *socketFile
	dup  *os.File
	raw  syscall.RawConn
}

func (s *Server) newUnixListener(ln *net.UnixListener) (socket, error) {
	dup, err := ln.File()
	if err != nil {
		return nil, err
	}
	raw, err := dup.SyscallConn()
	if err != nil {
		_ = dup.Close()
		return nil, err
	}
	return &unixListener{ln, own(ln), dup, raw}, nil
}

func (l *unixListener) serve(s *Server) {
	defer l.close()
	local := l.Addr().(*net.UnixAddr)
	s.acceptAll(l.dup.SetReadDeadline, func() (*conn, error) {
		var (
			fd   int
			peer syscall.Sockaddr
			err  error
		)
		waitErr := l.raw.Read(func(ln uintptr) bool {
			err = ignoringEINTR(func() (err error) {
				fd, peer, err = syscall.Accept4(int(ln), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
				return err
			})
			return err != syscall.EAGAIN
		})
		if waitErr != nil {
			return nil, waitErr
		}
		if err != nil {
			return nil, &net.OpError{Op: "accept", Net: local.Net, Addr: local, Err: os.NewSyscallError("accept4", err)}
		}
		remote := &net.UnixAddr{Net: local.Net}
		if peer, ok := peer.(*syscall.SockaddrUnix); ok {
			remote.Name = peer.Name
		}
		seqpacket := local.Net == "unixpacket"
		if seqpacket {
			_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, roomToAnswer)
		}
		sock, err := newUnixSock(fd, local, remote, &s.quick)
		if err != nil {
			return nil, err
		}
		return &conn{sock: sock, raw: sock, seqpacket: seqpacket}, nil
	})
}

func (l *unixListener) drain() { _ = l.dup.SetReadDeadline(past()) }

func (l *unixListener) close() error {
	return cmp.Or(l.file.remove(), notClosed(l.UnixListener.Close()), notClosed(l.dup.Close()))
}

// maxQuick is how many Unix connections may have an epoll descriptor each.
const maxQuick = 256

// unixSock is a Unix connection: a syscall.RawConn with the deadlines of a
// net.Conn. One goroutine reads and writes.
//
// Go's poller waits for EPOLLOUT on every socket, and a Unix socket has room,
// and says so, each time its peer has read a message: the server would wake up
// once more for each, which is half of the time that a short message takes.
// (TCP says so only after a write that found no room.) So the first connections
// have an epoll instance of their own, which asks for EPOLLIN, and Go's poller
// waits for that to become readable (epoll(7): an epoll descriptor can be
// watched too; what it has to say need not be fetched). It costs a second
// descriptor, so it is for a few; and who writes more than there is room for
// is better off with Go's poller.
type unixSock struct {
	local, remote net.Addr
	quick         *atomic.Int32 // how many have an epoll descriptor
	again         func(uintptr) bool
	f             func(fd uintptr) bool // what again calls

	mu              sync.Mutex // held while fd is in use
	fd              int        // −1: closed
	file            *os.File   // of the epoll instance, or of fd itself
	raw             syscall.RawConn
	epoll           bool // file is an epoll instance
	readBy, writeBy time.Time
}

// newUnixSock takes fd over, which is non-blocking.
func newUnixSock(fd int, local, remote net.Addr, quick *atomic.Int32) (*unixSock, error) {
	s := &unixSock{local: local, remote: remote, quick: quick, fd: fd}
	s.again = s.try
	if quick.Add(1) <= maxQuick {
		if epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err == nil {
			event := syscall.EpollEvent{Fd: int32(fd), Events: syscall.EPOLLIN | syscall.EPOLLRDHUP}
			err = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &event)
			_ = syscall.SetNonblock(epoll, true) // by this package os knows one to wait for
			s.file, s.epoll = os.NewFile(uintptr(epoll), "epoll"), err == nil
		}
	}
	if !s.epoll {
		quick.Add(-1)
		if s.file != nil {
			_ = s.file.Close()
		}
		s.file = os.NewFile(uintptr(fd), "socket")
	}
	var err error
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.Close()
	}
	return s, err
}

// slow makes Go's poller wait for the socket itself.
func (s *unixSock) slow() error {
	s.mu.Lock()
	if s.fd < 0 || !s.epoll {
		defer s.mu.Unlock()
		return s.closed()
	}
	epoll := s.file
	s.file, s.epoll = os.NewFile(uintptr(s.fd), "socket"), false
	var err error
	s.raw, err = s.file.SyscallConn()
	err = cmp.Or(err, s.file.SetReadDeadline(s.readBy), s.file.SetWriteDeadline(s.writeBy))
	s.mu.Unlock()
	s.quick.Add(-1)
	return cmp.Or(err, epoll.Close())
}

// closed returns an error if the socket is; s.mu is locked.
func (s *unixSock) closed() error {
	if s.fd < 0 {
		return net.ErrClosed
	}
	return nil
}

// try calls s.f and reports whether to stop waiting.
func (s *unixSock) try(uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fd < 0 || s.f(uintptr(s.fd))
}

// wait calls wait, which waits on a descriptor until f is done, and says so if
// the socket was closed meanwhile.
func (s *unixSock) wait(wait func(func(uintptr) bool) error, f func(fd uintptr) bool) error {
	s.f = f
	err := wait(s.again)
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.closed(), err)
}

// Read calls f whenever there may be something to read, until it returns true.
func (s *unixSock) Read(f func(fd uintptr) bool) error { return s.wait(s.raw.Read, f) }

// Write calls f whenever there may be room, until it returns true.
func (s *unixSock) Write(f func(fd uintptr) bool) error {
	if s.f = f; s.epoll {
		if s.try(0) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closed()
		}
		if err := s.slow(); err != nil {
			return err
		}
	}
	return s.wait(s.raw.Write, f)
}

// Control calls f.
func (s *unixSock) Control(f func(fd uintptr)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		f(uintptr(s.fd))
	}
	return s.closed()
}

func (s *unixSock) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = t
	return cmp.Or(s.closed(), s.file.SetReadDeadline(t))
}

// SetWriteDeadline is for writes that wait.
func (s *unixSock) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBy = t
	if s.epoll {
		return s.closed()
	}
	return cmp.Or(s.closed(), s.file.SetWriteDeadline(t))
}

// Close closes the socket. It is idempotent, as a net.Conn's is.
func (s *unixSock) Close() error {
	s.mu.Lock()
	if s.fd < 0 {
		s.mu.Unlock()
		return net.ErrClosed
	}
	var err error
	if s.epoll {
		err = os.NewSyscallError("close", syscall.Close(s.fd))
		s.quick.Add(-1)
	}
	s.fd = -1
	s.mu.Unlock()
	return cmp.Or(err, s.file.Close()) // waits for try, which takes s.mu
}

func (s *unixSock) LocalAddr() net.Addr  { return s.local }
func (s *unixSock) RemoteAddr() net.Addr { return s.remote }
