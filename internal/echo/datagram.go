package echo

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	maxUDP = 65535 // more than a UDP datagram carries: 65,507 bytes over IPv4, 65,527 over IPv6

	echoPort = 7 // RFC 862

	// patience is how long an answer on a Unix socket may wait for room, so
	// that a client that does not read does not stop the server. Room is a
	// place in the receiver's queue (net.unix.max_dgram_qlen), or, where the
	// receiver is connected to us, in our own send buffer: the kernel charges
	// what is unread to its sender, so a connected client that never reads
	// can, until it closes, leave no room for the answers to others.
	patience = 100 * time.Millisecond
)

// Datagram sockets block (block): the goroutine, with a thread of its own,
// then makes two system calls a message. Package net's poller would make five,
// and wake up once more for each answer that its receiver has read, because it
// asks for that (EPOLLOUT) on every socket. What ends a blocked read is
// shutdown(2) (interrupt).

// udpSocket is a socket.
type udpSocket struct {
	c        *net.UDPConn
	wildcard bool // bound to every address
}

func newUDP(c *net.UDPConn) (*udpSocket, error) {
	u := &udpSocket{c, c.LocalAddr().(*net.UDPAddr).IP.IsUnspecified()}
	if u.wildcard {
		if err := receiveDestination(c); err != nil {
			return nil, err
		}
	}
	return u, block(c, 0)
}

// serve answers each datagram, an empty one too, from the address that it was
// sent to: on a socket bound to every address the kernel would choose one by
// the route, and a connected client would not recognise the answer.
func (u *udpSocket) serve(s *Server) {
	defer u.c.Close()
	own := u.c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	var (
		buf     = make([]byte, maxUDP)
		oob     []byte
		trouble trouble
		drain   drainer
	)
	if u.wildcard {
		oob = make([]byte, controlSize)
	}
	for drain.more(s, u.c.SetReadDeadline) {
		n, oobn, _, from, err := u.c.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case drain.done(err):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // Shutdown begins
			continue
		case err != nil:
			if !s.retry(err, &trouble) {
				return
			}
			continue
		}
		trouble.over()
		switch p := from.Port(); p {
		case 0:
			// interrupt, unless somebody forged a datagram that nobody can answer.
			if !s.draining.Load() {
				s.report(fmt.Errorf("datagram from %v not answered: it names no port", from))
			}
		case echoPort, own:
			// Two echo servers would answer each other for ever; one forged
			// datagram is enough to start them.
			s.report(fmt.Errorf("datagram from %v not answered: its port is an echo server's", from))
		default:
			if _, _, err := u.c.WriteMsgUDPAddrPort(buf[:n], answerFrom(oob[:oobn]), from); err != nil {
				s.report(err)
			}
		}
	}
}

func (u *udpSocket) drain() {
	interrupt(u.c, true)
	_ = u.c.SetReadDeadline(past())
}

func (u *udpSocket) close() error {
	interrupt(u.c, true)
	return notClosed(u.c.Close())
}

// unixgramSocket is a socket.
type unixgramSocket struct {
	c    *net.UnixConn
	file *socketFile
}

func newUnixgram(c *net.UnixConn) (*unixgramSocket, error) {
	if err := c.SetWriteBuffer(roomToAnswer); err != nil {
		return nil, err
	}
	return &unixgramSocket{c, fileOf(c.LocalAddr())}, block(c, patience)
}

// serve answers each datagram whose sender has an address.
func (u *unixgramSocket) serve(s *Server) {
	defer u.close()
	rc, err := u.c.SyscallConn()
	if err != nil {
		s.report(err)
		return
	}
	var (
		buf      = make([]byte, maxMessage)
		n        int
		flags    int
		dontwait int
		from     syscall.Sockaddr
		trouble  trouble
	)
	recv := func(fd uintptr) bool {
		err = ignoringEINTR(func() (err error) {
			n, _, flags, from, err = syscall.Recvmsg(int(fd), buf, nil, dontwait)
			return err
		})
		return err != syscall.EAGAIN || dontwait != 0
	}
	send := func(fd uintptr) bool {
		err = ignoringEINTR(func() error { return syscall.Sendto(int(fd), buf[:n], 0, from) })
		return true
	}
	for {
		if s.draining.Load() && dontwait == 0 {
			s.awaitDrain()
			// Nothing is added to the queue after interrupt.
			dontwait = syscall.MSG_DONTWAIT
			_ = u.c.SetReadDeadline(time.Time{})
		}
		waitErr := rc.Read(recv)
		switch {
		case errors.Is(waitErr, os.ErrDeadlineExceeded):
			continue // Shutdown begins
		case waitErr != nil:
			return
		case err == syscall.EAGAIN:
			return // drained
		case err != nil:
			if !s.retry(u.opError("read", "recvmsg", nil, err), &trouble) {
				return
			}
			continue
		}
		trouble.over()
		sender, ok := from.(*syscall.SockaddrUnix)
		switch {
		case !ok || sender.Name == "":
			// Or interrupt.
			if !s.draining.Load() {
				s.report(fmt.Errorf("datagram on %v not answered: its sender is not bound to an address", u.c.LocalAddr()))
			}
		case flags&syscall.MSG_TRUNC != 0:
			s.report(fmt.Errorf("datagram from %v: %w", sender.Name, errTruncated))
		default:
			if waitErr := rc.Write(send); waitErr != nil {
				return
			}
			switch err {
			case nil:
			case syscall.EAGAIN:
				s.report(u.opError("write", "sendto", from, fmt.Errorf("%w: the receiver's queue is full", os.ErrDeadlineExceeded)))
			default:
				s.report(u.opError("write", "sendto", from, err))
			}
		}
	}
}

func (u *unixgramSocket) drain() {
	interrupt(u.c, false)
	_ = u.c.SetReadDeadline(past())
}

func (u *unixgramSocket) close() error {
	interrupt(u.c, true)
	return cmp.Or(u.file.remove(), notClosed(u.c.Close()))
}

func (u *unixgramSocket) opError(op, call string, to syscall.Sockaddr, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(call, errno)
	}
	e := &net.OpError{Op: op, Net: "unixgram", Source: u.c.LocalAddr(), Err: err}
	if to, ok := to.(*syscall.SockaddrUnix); ok {
		e.Addr = &net.UnixAddr{Name: to.Name, Net: "unixgram"}
	}
	return e
}
