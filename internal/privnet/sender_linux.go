package privnet

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// SenderBatch is how many frames a Sender hands to the kernel at once, at most.
const SenderBatch = 64

// Sender sends whole frames on an interface as fast as one core can: many in a
// system call, and past the queueing discipline (packet(7), PACKET_QDISC_BYPASS).
// It is for one goroutine.
type Sender struct {
	fd   int
	msgs messages
}

// NewSender opens a Sender. It needs CAP_NET_RAW.
func NewSender(name string) (*Sender, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("send on %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
	if err != nil {
		return nil, fmt.Errorf("send on %s: %w", name, os.NewSyscallError("socket", err))
	}
	err = os.NewSyscallError("setsockopt(PACKET_QDISC_BYPASS)", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: iface.Index}))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("send on %s: %w", name, err)
	}
	return &Sender{fd: fd}, nil
}

// Send sends frames, none of them empty, and returns after all were sent or one failed.
func (s *Sender) Send(frames [][]byte) (sent int, err error) {
	for sent < len(frames) {
		n, errno := s.msgs.send(s.fd, frames[sent:min(len(frames), sent+SenderBatch)])
		sent += n
		switch errno {
		case 0, unix.EINTR, unix.ENOBUFS: // ENOBUFS: the interface is busy
		default:
			return sent, os.NewSyscallError("sendmmsg", errno)
		}
	}
	return sent, nil
}

// Close closes the socket.
func (s *Sender) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }
