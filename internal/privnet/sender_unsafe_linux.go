package privnet

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// messages is the array of struct mmsghdr that sendmmsg(2) takes.
type messages struct {
	hdrs [SenderBatch]struct {
		hdr unix.Msghdr
		len uint32
	}
	iovs [SenderBatch]unix.Iovec
}

// send calls sendmmsg(2) for at most SenderBatch frames, and returns how many
// were sent.
func (m *messages) send(fd int, frames [][]byte) (int, unix.Errno) {
	for i, frame := range frames {
		m.iovs[i].Base = &frame[0]
		m.iovs[i].SetLen(len(frame))
		m.hdrs[i].hdr.Iov = &m.iovs[i]
		m.hdrs[i].hdr.SetIovlen(1)
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs)), uintptr(len(frames)), 0, 0, 0)
	runtime.KeepAlive(frames)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
