package raw

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	helpCapNetRaw = "needs CAP_NET_RAW: use sudo, or once: sudo setcap cap_net_raw+ep PROGRAM"
	helpPing      = "a ping socket needs a group within sysctl net.ipv4.ping_group_range; with CAP_NET_RAW, SOCK_RAW does without: use sudo, or once: sudo setcap cap_net_raw+ep PROGRAM"
)

// callError prints a failed system call by its errno's name, which people
// search for, and says what helps where something does. The call itself is
// said by the net.OpError around it.
type callError struct {
	sys  *os.SyscallError
	help string
}

func (e *callError) Error() string {
	s := e.sys.Err.Error()
	if errno, ok := errors.AsType[unix.Errno](e.sys.Err); ok {
		s = unix.ErrnoName(errno) + ": " + s
	}
	if e.help != "" {
		s += " (" + e.help + ")"
	}
	return s
}

func (e *callError) Unwrap() error { return e.sys }

// Timeout serves net.Error: net.OpError asks its Err.
func (e *callError) Timeout() bool { return e.sys.Timeout() }

// openError returns the error of a socket that could not be opened: the call
// is the operation, so that it is what the text begins with.
func openError(s Socket, err error) error {
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		err = &callError{sys: sys, help: openHelp(s, sys)}
	}
	return &net.OpError{Op: s.String(), Err: err}
}

// openHelp returns what helps against sys, or "".
func openHelp(s Socket, sys *os.SyscallError) string {
	switch {
	case sys.Syscall != "socket":
		return ""
	case sys.Err == unix.EPERM:
		return helpCapNetRaw
	case sys.Err == unix.EACCES && s.Type == SOCK_DGRAM && (s.Protocol == IPPROTO_ICMP || s.Protocol == IPPROTO_ICMPV6):
		return helpPing
	default:
		return ""
	}
}

// opError returns err, of a system call or of the poller, as the failure of op
// on c; nil stays nil.
func (c *Conn) opError(op string, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		err = &callError{sys: sys}
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		err = os.ErrDeadlineExceeded
	} else if c.closed.Load() || errors.Is(err, net.ErrClosed) {
		// os.File's poller has an unexported error of its own for this.
		err = net.ErrClosed
	}
	e := &net.OpError{Op: op, Net: c.socket.String(), Addr: addr, Err: err}
	if c.RemoteAddr() != nil {
		e.Source = c.LocalAddr()
	} else if addr == nil {
		e.Addr = c.LocalAddr()
	}
	return e
}
