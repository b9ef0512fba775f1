package raw

import (
	"errors"
	"math"
	"net"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Open opens s; cfg may be nil. The socket is closed on exec and does not
// block a thread.
//
// SOCK_RAW of AF_INET sends and receives whole packets, IP header first
// (IP_HDRINCL is set, raw(7)); of AF_INET6 it sends and receives what follows
// the IP headers (RFC 3542), but with IPPROTO_RAW it sends whole packets too
// (IPV6_HDRINCL is set then), as they are, extension headers and all, and hears
// nothing that others send. AF_PACKET receives nothing before the filter is attached
// and the address is bound (packet(7)).
//
// An error is a *net.OpError around an *os.SyscallError and prints the call:
// "socket(AF_INET, SOCK_RAW, 0): EPROTONOSUPPORT: protocol not supported".
func Open(s Socket, cfg *Config) (*Conn, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	fd, err := socket(s)
	if err != nil {
		return nil, openError(s, err)
	}
	c, err := newConn(fd, s)
	if err != nil {
		return nil, openError(s, err)
	}
	if err := c.configure(cfg); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// socket calls socket(2).
func socket(s Socket) (int, error) {
	proto := int(s.Protocol)
	if s.Domain == AF_PACKET {
		if proto < 0 || proto > math.MaxUint16 {
			return -1, os.NewSyscallError("socket", unix.EINVAL) // the kernel would cut it in silence
		}
		// With a protocol it would receive from every interface at once,
		// before a filter is there: bind gives it its protocol.
		proto = 0
	}
	fd, err := unix.Socket(int(s.Domain), int(s.Type)|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	return fd, os.NewSyscallError("socket", err)
}

// configure does to c what must be done before it is used.
func (c *Conn) configure(cfg *Config) error {
	if len(cfg.Filter) > 0 {
		if err := c.filterFirst(cfg.Filter); err != nil {
			return err
		}
	}
	if cfg.ReceiveBuffer != 0 {
		if err := c.control("set receive buffer", nil, func(fd int) error {
			return setReceiveBuffer(fd, cfg.ReceiveBuffer)
		}); err != nil {
			return err
		}
	}
	switch {
	case cfg.Bind != nil:
		return c.Bind(cfg.Bind)
	case c.socket.Domain == AF_PACKET && c.socket.Protocol != 0:
		return c.Bind(&Addr{}) // which gives it the protocol
	default:
		return nil
	}
}

// filterFirst attaches filter so that nothing it refuses has been received.
func (c *Conn) filterFirst(filter []bpf.RawInstruction) error {
	if c.socket.Type == SOCK_RAW && (c.socket.Domain == AF_INET || c.socket.Domain == AF_INET6) {
		// It has been receiving since socket(2): refuse everything, let
		// other cores finish with what passed before that, then empty the
		// queue.
		if err := c.SetBPF([]bpf.RawInstruction{{Op: unix.BPF_RET}}); err != nil {
			return err
		}
		gracePeriod()
		if err := c.control("read", nil, drain); err != nil {
			return err
		}
	}
	return c.SetBPF(filter)
}

// gracePeriod waits, about 10 ms, until every core has left the kernel's
// receive path (membarrier(2): synchronize_rcu). A kernel that refuses, as with
// nohz_full, leaves a window of well under a microsecond.
func gracePeriod() {
	const membarrierCmdGlobal = 1
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierCmdGlobal, 0, 0)
}

// drain empties fd's receive queue.
func drain(fd int) error {
	for {
		_, _, err := unix.Recvfrom(fd, nil, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
	}
}

func setReceiveBuffer(fd, n int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
	if errors.Is(err, unix.EPERM) { // no CAP_NET_ADMIN, or only that of a user namespace
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
	return os.NewSyscallError("setsockopt", err)
}

// setFilter attaches filter to fd, or detaches what is attached if it is empty.
func setFilter(fd int, filter []bpf.RawInstruction) error {
	if len(filter) == 0 {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	}
	if len(filter) > unix.BPF_MAXINSNS {
		return os.NewSyscallError("setsockopt", unix.EINVAL) // the kernel's answer; its length has 16 bits
	}
	prog := make([]unix.SockFilter, len(filter))
	for i, ins := range filter {
		prog[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	return os.NewSyscallError("setsockopt", err)
}

// newConn hands fd to the poller; it is closed when that fails.
func newConn(fd int, s Socket) (*Conn, error) {
	c := &Conn{socket: s}
	file := os.NewFile(uintptr(fd), s.String())
	c.file = file
	if s.Domain == AF_INET && s.Type == SOCK_RAW {
		// RawConn works on a *net.IPConn only. Letting that own the descriptor
		// gives both one poller: one Close, one deadline.
		pc, err := net.FilePacketConn(file)
		file.Close()
		if err != nil {
			return nil, err
		}
		c.file = pc.(*net.IPConn)
		if c.ipv4, err = ipv4.NewRawConn(pc); err != nil {
			pc.Close()
			return nil, err
		}
	}
	var err error
	if c.rc, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, err
	}
	return c, nil
}
