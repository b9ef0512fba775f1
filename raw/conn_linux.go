package raw

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Conn is an open socket. Its methods may be called from any goroutine.
//
// Addresses are *net.TCPAddr, *net.UDPAddr, *net.IPAddr or *net.UnixAddr by
// the socket's type, and *Addr for AF_PACKET; in other domains they are nil.
// Where an address is given, the first three are as good as one another.
//
// Errors are *net.OpError around *os.SyscallError, os.ErrDeadlineExceeded or
// net.ErrClosed; only the end of a stream is io.EOF itself.
type Conn struct {
	socket Socket
	file   polled
	rc     syscall.RawConn // file's
	ipv4   *ipv4.RawConn   // of an IPv4 raw socket, on file
	closed atomic.Bool

	mu            sync.Mutex
	local, remote net.Addr // as last known
}

// polled is a descriptor that the poller owns: an *os.File or a *net.IPConn.
type polled interface {
	syscall.Conn
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Close() error
}

// read calls f, named call, until it has something else to say than EAGAIN.
func (c *Conn) read(op, call string, f func(fd int) error) error {
	var err error
	perr := c.rc.Read(func(fd uintptr) bool {
		err = retry(int(fd), f)
		return err != unix.EAGAIN
	})
	if perr != nil {
		return c.opError(op, c.RemoteAddr(), perr)
	}
	return c.opError(op, c.RemoteAddr(), os.NewSyscallError(call, err))
}

// write is read for calls that wait until the socket can send.
func (c *Conn) write(op string, addr net.Addr, call string, f func(fd int) error) error {
	var err error
	perr := c.rc.Write(func(fd uintptr) bool {
		err = retry(int(fd), f)
		return err != unix.EAGAIN
	})
	if perr != nil {
		return c.opError(op, addr, perr)
	}
	return c.opError(op, addr, os.NewSyscallError(call, err))
}

// retry calls f again as long as a signal interrupts it.
func retry(fd int, f func(fd int) error) error {
	for {
		if err := f(fd); err != unix.EINTR {
			return err
		}
	}
}

// control calls f, which returns an *os.SyscallError and does not wait.
func (c *Conn) control(op string, addr net.Addr, f func(fd int) error) error {
	var err error
	if perr := c.rc.Control(func(fd uintptr) { err = f(int(fd)) }); perr != nil {
		err = perr
	}
	return c.opError(op, addr, err)
}

// Read receives into b: bytes of a stream, or one message, whose rest is lost
// if b is too short. It returns io.EOF where a stream, or a sequence of
// messages, ended; an empty datagram is none, but an empty message on
// SOCK_SEQPACKET cannot be told from the end.
func (c *Conn) Read(b []byte) (int, error) {
	var n int
	err := c.read("read", "read", func(fd int) (err error) {
		n, err = unix.Read(fd, b)
		return err
	})
	return c.received(n, b, err)
}

// ReadFrom is Read that also returns the sender; on a connected stream that is
// the peer.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	var (
		n    int
		from unix.Sockaddr
	)
	err := c.read("read", "recvfrom", func(fd int) (err error) {
		n, from, err = unix.Recvfrom(fd, b, 0)
		return err
	})
	n, err = c.received(n, b, err)
	if err != nil {
		return n, nil, err
	}
	addr := c.socket.addr(from)
	if addr == nil {
		addr = c.RemoteAddr()
	}
	if addr == nil && c.socket.Domain == AF_UNIX {
		addr = c.socket.unixAddr("") // the sender has no name
	}
	return n, addr, nil
}

// received tells the end of a stream from a receipt of nothing.
func (c *Conn) received(n int, b []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if n == 0 && len(b) > 0 && (c.socket.Type == SOCK_STREAM || c.socket.Type == SOCK_SEQPACKET) {
		return 0, io.EOF
	}
	return n, nil
}

// Write sends b to the address that the socket is connected to: all of it, on
// a stream; as one message otherwise.
func (c *Conn) Write(b []byte) (int, error) { return c.send(b, nil, c.RemoteAddr()) }

// WriteTo sends b as one message to addr. IPv4 raw sockets send b as a packet,
// IP header first, to addr, whatever that header says.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := c.socket.sockaddr(addr)
	if err != nil {
		return 0, c.opError("write", addr, err)
	}
	return c.send(b, to, addr)
}

func (c *Conn) send(b []byte, to unix.Sockaddr, addr net.Addr) (n int, err error) {
	err = c.write("write", addr, "sendmsg", func(fd int) error {
		for {
			// A peer that has gone is an error here, not a signal.
			m, err := unix.SendmsgN(fd, b[n:], nil, to, unix.MSG_NOSIGNAL)
			n += m
			if err != nil || n == len(b) || c.socket.Type != SOCK_STREAM {
				return err
			}
		}
	})
	return n, err
}

// Bind binds the socket to a local address: bind(2). A path of AF_UNIX is
// created and stays after Close.
func (c *Conn) Bind(addr net.Addr) error {
	sa, err := c.socket.sockaddr(addr)
	if err != nil {
		return c.opError("bind", addr, err)
	}
	return c.control("bind", addr, func(fd int) error {
		return os.NewSyscallError("bind", unix.Bind(fd, sa))
	})
}

// Connect connects the socket to addr, connect(2), and waits until it is
// connected, at most to the write deadline; after that, the kernel goes on
// trying, and another Connect goes on waiting. Datagram and raw sockets send
// nothing: they only remember addr and hear nobody else.
func (c *Conn) Connect(addr net.Addr) error {
	sa, err := c.socket.sockaddr(addr)
	if err != nil {
		return c.opError("connect", addr, err)
	}
	started := false
	perr := c.rc.Write(func(fd uintptr) (done bool) {
		if !started {
			started = true
			err = unix.Connect(int(fd), sa)
			return err != unix.EINPROGRESS && err != unix.EALREADY && err != unix.EINTR
		}
		done, err = connected(int(fd))
		return done
	})
	if perr != nil {
		return c.opError("connect", addr, perr)
	}
	if err != nil {
		return c.opError("connect", addr, os.NewSyscallError("connect", err))
	}
	return c.control("connect", addr, c.learnAddrs)
}

// connected reports whether a connect under way on fd is done, and how it
// ended. The poller may have woken us for nothing: an error is not there yet
// then, and neither is a peer.
func connected(fd int) (bool, error) {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, err
	}
	if errno != 0 {
		return true, unix.Errno(errno)
	}
	_, err = unix.Getpeername(fd)
	return err == nil, nil
}

// learnAddrs remembers both addresses of the connected socket fd: the kernel
// forgets them when the connection ends.
func (c *Conn) learnAddrs(fd int) error {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	remote, err := unix.Getpeername(fd)
	if err != nil && err != unix.ENOTCONN { // reset already: reading will say so
		return os.NewSyscallError("getpeername", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local = c.socket.addr(local)
	if err == nil {
		c.remote = c.socket.addr(remote)
	}
	return nil
}

// Listen makes the socket accept connections, listen(2); backlog bounds those
// that nobody has accepted yet.
func (c *Conn) Listen(backlog int) error {
	return c.control("listen", nil, func(fd int) error {
		return os.NewSyscallError("listen", unix.Listen(fd, backlog))
	})
}

// Accept waits for a connection, at most to the read deadline, and returns it:
// accept(2).
func (c *Conn) Accept() (*Conn, error) {
	var (
		nfd  int
		peer unix.Sockaddr
	)
	err := c.read("accept", "accept4", func(fd int) (err error) {
		for {
			nfd, peer, err = unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != unix.ECONNABORTED { // gone before it was accepted: the next one
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	nc, err := newConn(nfd, c.socket)
	if err != nil {
		return nil, c.opError("accept", nil, err)
	}
	nc.remote = c.socket.addr(peer)
	if err := nc.control("accept", nil, nc.learnAddrs); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// Shutdown ends one or both directions, shutdown(2), also where the descriptor
// is shared.
func (c *Conn) Shutdown(how How) error {
	return c.control("shutdown", c.RemoteAddr(), func(fd int) error {
		return os.NewSyscallError("shutdown", unix.Shutdown(fd, int(how)))
	})
}

// Close closes the socket and makes calls under way return net.ErrClosed. The
// second and later calls do nothing.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := c.file.Close(); !errors.Is(err, net.ErrClosed) { // which RawConn's Close may have done
		return c.opError("close", nil, err)
	}
	return nil
}

// LocalAddr returns the address that the socket is bound to; after Close, the
// one last known.
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remote == nil { // until it is connected, its address may change: sending binds it, too
		c.rc.Control(func(fd uintptr) {
			if sa, err := unix.Getsockname(int(fd)); err == nil {
				c.local = c.socket.addr(sa)
			}
		})
	}
	return c.local
}

// RemoteAddr returns the address that the socket was last connected to, also
// after the connection's end; nil if there was none.
func (c *Conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.opError("set", nil, c.file.SetDeadline(t))
}

// SetReadDeadline makes receiving and Accept, also when under way, return
// os.ErrDeadlineExceeded from t on; zero: never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", nil, c.file.SetReadDeadline(t))
}

// SetWriteDeadline makes sending and Connect, also when under way, return
// os.ErrDeadlineExceeded from t on; zero: never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", nil, c.file.SetWriteDeadline(t))
}

// SetBPF attaches a filter in place of the one before, or detaches it if
// filter is empty; what has been received already stays. The filter sees, from
// offset 0: the link header on SOCK_RAW of AF_PACKET, the IP header on
// SOCK_DGRAM of AF_PACKET and SOCK_RAW of AF_INET, and what follows the IP
// headers on other sockets of AF_INET and AF_INET6.
func (c *Conn) SetBPF(filter []bpf.RawInstruction) error {
	return c.control("filter", nil, func(fd int) error { return setFilter(fd, filter) })
}

// SyscallConn gives access to the descriptor, under the deadlines and the
// Close of this Conn: its errors are those of Read and Write.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

// rawConn is the poller's RawConn with its errors translated.
type rawConn struct{ c *Conn }

func (r rawConn) Control(f func(fd uintptr)) error {
	return r.c.opError("control", nil, r.c.rc.Control(f))
}

func (r rawConn) Read(f func(fd uintptr) (done bool)) error {
	return r.c.opError("read", nil, r.c.rc.Read(f))
}

func (r rawConn) Write(f func(fd uintptr) (done bool)) error {
	return r.c.opError("write", nil, r.c.rc.Write(f))
}

// IPv4 returns c as a golang.org/x/net/ipv4.RawConn, which sends and receives
// parsed headers and has the options of ip(7). It shares c's descriptor,
// deadlines and Close. Only SOCK_RAW of AF_INET has it.
func (c *Conn) IPv4() (*ipv4.RawConn, error) {
	if c.ipv4 == nil {
		return nil, c.opError("ipv4", nil, errors.New("only SOCK_RAW of AF_INET has whole IPv4 packets"))
	}
	return c.ipv4, nil
}
