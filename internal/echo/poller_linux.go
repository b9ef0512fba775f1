package echo

import (
	"cmp"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// poller waits for Unix connections to become readable (epoll(7)).
//
// Package net has a poller, but that waits for EPOLLOUT on every socket, and a
// Unix socket has room, and says so, each time its peer has read a message: the
// server would wake up once more for each, which is a third of the time that a
// short message takes. (TCP says so only after a write that found no room.) So
// this one asks for less. It is itself a descriptor that package os waits for.
type poller struct {
	epoll *os.File
	raw   syscall.RawConn
	ended chan struct{} // closed when run is over

	mu    sync.Mutex
	socks map[int]*unixSock // by descriptor
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	_ = syscall.SetNonblock(fd, true) // package os asks: is it one to wait for?
	p := &poller{epoll: os.NewFile(uintptr(fd), "epoll"), ended: make(chan struct{}), socks: make(map[int]*unixSock)}
	if p.raw, err = p.epoll.SyscallConn(); err != nil {
		_ = p.epoll.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

// close ends the poller; nothing waits for it any more. Nil and repeated calls are fine.
func (p *poller) close() {
	if p != nil {
		_ = p.epoll.Close()
		<-p.ended
	}
}

func (p *poller) run() {
	defer close(p.ended)
	events := make([]syscall.EpollEvent, 128)
	_ = p.raw.Read(func(epoll uintptr) bool {
		for {
			n, _ := syscall.EpollWait(int(epoll), events, 0)
			p.mu.Lock()
			for _, e := range events[:max(n, 0)] {
				// An event of a descriptor's former owner does no harm:
				// whoever is woken looks, and waits again.
				if s := p.socks[int(e.Fd)]; s != nil {
					s.poke()
				}
			}
			p.mu.Unlock()
			if n < len(events) {
				return false
			}
		}
	})
}

// control adds a socket, or changes what is waited for beside something to read.
func (p *poller) control(op, fd int, events uint32) error {
	e := syscall.EpollEvent{Fd: int32(fd), Events: events | syscall.EPOLLIN | syscall.EPOLLRDHUP | edgeTriggered}
	var err error
	ctlErr := p.raw.Control(func(epoll uintptr) { err = syscall.EpollCtl(int(epoll), op, fd, &e) })
	return cmp.Or(ctlErr, os.NewSyscallError("epoll_ctl", err))
}

// edgeTriggered is EPOLLET, which package syscall has as a negative number.
const edgeTriggered = 1 << 31

// unixListener is a socket. Package net opened it; its duplicate accepts,
// because package net lets no connection out of its poller.
type unixListener struct {
	*net.UnixListener
	file *socketFile
	dup  *os.File
	raw  syscall.RawConn
	p    *poller
}

func (s *Server) newUnixListener(ln *net.UnixListener) (socket, error) {
	if s.poller == nil {
		p, err := newPoller()
		if err != nil {
			return nil, err
		}
		s.poller = p
	}
	dup, err := ln.File()
	if err != nil {
		return nil, err
	}
	raw, err := dup.SyscallConn()
	if err != nil {
		_ = dup.Close()
		return nil, err
	}
	return &unixListener{ln, own(ln), dup, raw, s.poller}, nil
}

func (l *unixListener) serve(s *Server) {
	defer l.close()
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
		local := l.Addr().(*net.UnixAddr)
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
		sock := &unixSock{p: l.p, local: local, remote: remote, ready: make(chan struct{}, 1), fd: fd}
		if err := l.p.add(sock); err != nil {
			_ = syscall.Close(fd)
			return nil, err
		}
		return &conn{sock: sock, raw: sock, seqpacket: seqpacket}, nil
	})
}

func (l *unixListener) drain() { _ = l.dup.SetReadDeadline(past()) }

func (l *unixListener) close() error {
	return cmp.Or(l.file.remove(), notClosed(l.UnixListener.Close()), notClosed(l.dup.Close()))
}

// unixSock is a Unix connection that a poller watches. It is a syscall.RawConn
// with the deadlines of a net.Conn; one goroutine at a time reads or writes.
type unixSock struct {
	p             *poller
	local, remote net.Addr
	ready         chan struct{} // holds a token when to look again

	mu          sync.Mutex // held while fd is in use
	fd          int        // -1: closed
	read, write deadline
}

// deadline is over, is to come, or is none.
type deadline struct {
	timer *time.Timer
	over  bool
}

func (p *poller) add(s *unixSock) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.control(syscall.EPOLL_CTL_ADD, s.fd, 0); err != nil {
		return err
	}
	p.socks[s.fd] = s
	return nil
}

func (s *unixSock) poke() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// do calls f on the descriptor unless that is closed or d over.
func (s *unixSock) do(d *deadline, f func(fd uintptr) bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fd < 0:
		return false, net.ErrClosed
	case d != nil && d.over:
		return false, os.ErrDeadlineExceeded
	}
	return f(uintptr(s.fd)), nil
}

func (s *unixSock) Control(f func(fd uintptr)) error {
	_, err := s.do(nil, func(fd uintptr) bool { f(fd); return true })
	return err
}

func (s *unixSock) Read(f func(fd uintptr) bool) error {
	for {
		if done, err := s.do(&s.read, f); done || err != nil {
			return err
		}
		<-s.ready
	}
}

func (s *unixSock) Write(f func(fd uintptr) bool) error {
	done, err := s.do(&s.write, f)
	if done || err != nil {
		return err
	}
	// Only now is room of interest. The change of events tells of room that
	// there is already.
	if err := s.watch(syscall.EPOLLOUT); err != nil {
		return err
	}
	for !done && err == nil {
		<-s.ready
		done, err = s.do(&s.write, f)
	}
	if err == nil {
		err = s.watch(0)
	}
	return err
}

func (s *unixSock) watch(events uint32) error {
	var err error
	_, doErr := s.do(nil, func(fd uintptr) bool {
		err = s.p.control(syscall.EPOLL_CTL_MOD, int(fd), events)
		return true
	})
	return errors.Join(doErr, err)
}

func (s *unixSock) SetReadDeadline(t time.Time) error  { return s.set(&s.read, t) }
func (s *unixSock) SetWriteDeadline(t time.Time) error { return s.set(&s.write, t) }

func (s *unixSock) set(d *deadline, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	d.stop()
	d.over = false
	if t.IsZero() {
		return nil
	}
	left := time.Until(t)
	if left <= 0 {
		d.over = true
		s.poke()
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer { // it is still the one that was set last
			d.over = true
			s.poke()
		}
	})
	d.timer = timer
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (s *unixSock) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	s.p.mu.Lock()
	delete(s.p.socks, s.fd) // before the kernel gives the number to the next
	s.p.mu.Unlock()
	s.read.stop()
	s.write.stop()
	err := os.NewSyscallError("close", syscall.Close(s.fd))
	s.fd = -1
	s.poke()
	return err
}

func (s *unixSock) LocalAddr() net.Addr  { return s.local }
func (s *unixSock) RemoteAddr() net.Addr { return s.remote }
