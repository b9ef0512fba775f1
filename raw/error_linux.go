package raw

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	cureCapNetRaw = "use sudo, or once: sudo setcap cap_net_raw+ep PROGRAM"
	helpCapNetRaw = "needs CAP_NET_RAW: " + cureCapNetRaw
	helpPing      = "a ping socket needs a group within sysctl net.ipv4.ping_group_range; with CAP_NET_RAW, SOCK_RAW does without: " + cureCapNetRaw
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
	case sys.Err == unix.EACCES && s.ping():
		return helpPing
	default:
		return ""
	}
}

// Refused explains why Open could not open s; ok is false where err is nothing
// that the kernel said of it. Cure has PROGRAM where the program's path belongs.
func Refused(s Socket, err error) (r Refusal, ok bool) {
	sys, ok := errors.AsType[*os.SyscallError](err)
	if !ok || sys.Syscall != "socket" {
		return Refusal{}, false
	}
	errno, ok := errors.AsType[unix.Errno](sys.Err)
	if !ok {
		return Refusal{}, false
	}
	r = Refusal{Errno: unix.ErrnoName(errno), Text: errno.Error(), Denied: errors.Is(errno, os.ErrPermission)}
	r.General = general(errno)
	r.Meaning, r.Cure = s.refused(errno)
	return r, true
}

// general returns what errno means of any socket(2).
func general(errno unix.Errno) string {
	switch errno {
	case unix.EPERM:
		return "CAP_NET_RAW is missing"
	case unix.EACCES:
		return "ping sockets: no group in net.ipv4.ping_group_range; else a security policy"
	case unix.EPROTONOSUPPORT:
		return "this type does not speak that protocol, or its module is missing; SOCK_RAW has no default"
	case unix.ESOCKTNOSUPPORT:
		return "the domain has no such type"
	case unix.EAFNOSUPPORT:
		return "the kernel has no such domain"
	case unix.EINVAL:
		return "a number is out of range"
	case unix.EPROTOTYPE:
		return "the protocol exists, but not for this type"
	}
	return errno.Error()
}

// refused returns what errno means for s, and what helps (socket(2)).
func (s Socket) refused(errno unix.Errno) (meaning, cure string) {
	inet := s.Domain == AF_INET || s.Domain == AF_INET6
	switch errno {
	case unix.EPERM:
		return fmt.Sprintf("%v of %v needs CAP_NET_RAW in the network namespace", s.Type, s.Domain), cureCapNetRaw
	case unix.EACCES:
		if s.ping() {
			return "no group of this process may open ping sockets", helpPing
		}
		return "a security policy forbids it", ""
	case unix.EPROTONOSUPPORT:
		return s.noProtocol()
	case unix.ESOCKTNOSUPPORT:
		meaning = fmt.Sprintf("%v has no %v here", s.Domain, s.Type)
		if inet && s.Type == SOCK_SEQPACKET {
			return meaning + ": only SCTP has, and it is not loaded", "sudo modprobe sctp, and protocol sctp"
		}
		return meaning, "another type"
	case unix.EAFNOSUPPORT:
		return "this kernel has no such domain, or it is switched off", "the module of that domain, where there is one"
	case unix.EINVAL:
		switch {
		case s.Protocol < 0 || inet && s.Protocol > IPPROTO_MPTCP || s.Domain == AF_PACKET && s.Protocol > math.MaxUint16:
			return "the protocol's number is out of range", "a protocol that exists"
		case s.Type < SOCK_STREAM || s.Type > 10: // SOCK_PACKET
			return "the type's number is out of range", "stream, dgram, seqpacket or raw"
		}
		return "the kernel does not take these numbers", ""
	case unix.EPROTOTYPE:
		return "the protocol exists, but not for this type", "the protocol's own type, or protocol 0"
	case unix.ENOPROTOOPT:
		return "the protocol is switched off", "its sysctl"
	case unix.EMFILE:
		return "this process has as many descriptors open as it may", "ulimit -n"
	case unix.ENFILE:
		return "the system has as many files open as it may", "sysctl fs.file-max"
	case unix.ENOBUFS, unix.ENOMEM:
		return "the kernel has no memory for it", ""
	}
	return "", ""
}

// noProtocol explains EPROTONOSUPPORT.
func (s Socket) noProtocol() (meaning, cure string) {
	name := s.Domain.ProtocolName(s.Protocol)
	switch {
	case s.Domain == AF_UNIX:
		return "AF_UNIX has no protocols: the number must be 0, or AF_UNIX itself", "protocol 0"
	case s.Type == SOCK_RAW && s.Protocol == 0:
		return "SOCK_RAW has no default: which protocol is to be said explicitly", "a protocol, as in tcp, udp, icmp or a number"
	case s.Protocol == IPPROTO_SCTP || s.Protocol == IPPROTO_DCCP || s.Protocol == IPPROTO_L2TP || s.Protocol == IPPROTO_SMC:
		return fmt.Sprintf("no %v of %v for %s: its module is not loaded, or not built", s.Type, s.Domain, name),
			"modprobe, if the kernel has it; SOCK_RAW needs no module"
	case s.Type == SOCK_STREAM || s.Type == SOCK_DGRAM:
		return fmt.Sprintf("%v of %v does not speak protocol %s", s.Type, s.Domain, name),
			"protocol 0 for the type's default, or SOCK_RAW for any protocol"
	}
	return fmt.Sprintf("%v of %v has no protocol %s", s.Type, s.Domain, name), "another protocol"
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
