package capture

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is what recvmsg(2) tells beside the bytes. x/sys makes a new address
// for each message; this one is filled again and again.
type message struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	name    [unix.SizeofSockaddrAny]byte
	control [512]byte
}

// receive receives one message without waiting. It returns the length that the
// message has, which is more than len(b) where the rest of it is lost; b must
// not be empty. The address and the control messages are m's until the next call.
func (m *message) receive(fd int, b []byte) (n int, err error) {
	m.iov.Base = &b[0]
	m.iov.SetLen(len(b))
	m.hdr = unix.Msghdr{Name: &m.name[0], Namelen: uint32(len(m.name)), Iov: &m.iov, Control: &m.control[0]}
	m.hdr.SetIovlen(1)
	m.hdr.SetControllen(len(m.control))
	for {
		r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// controlMessages returns the control messages of what was received last.
func (m *message) controlMessages() []byte {
	return m.control[:min(int(m.hdr.Controllen), len(m.control))]
}
