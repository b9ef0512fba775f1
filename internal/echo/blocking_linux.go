package echo

import (
	"os"
	"syscall"
	"time"
)

// block makes a socket's descriptor blocking: a read or write waits in the
// kernel. A write waits for patience at most (SO_SNDTIMEO) and then gives
// EAGAIN; zero: without end.
func block(c syscall.Conn, patience time.Duration) error {
	return control(c, func(fd int) error {
		if patience > 0 {
			tv := syscall.NsecToTimeval(int64(patience))
			if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return os.NewSyscallError("fcntl", syscall.SetNonblock(fd, false))
	})
}

// interrupt ends a blocked read of a datagram socket, which then gives 0 and no
// address. What the queue holds is still read first. A UDP socket without a
// peer says ENOTCONN to shutdown(2) and wakes up all the same; it goes on
// receiving, while senders to a Unix socket get EPIPE from now on. With
// unblock the next read gives EAGAIN where it would wait.
func interrupt(c syscall.Conn, unblock bool) {
	_ = control(c, func(fd int) error {
		if unblock {
			_ = syscall.SetNonblock(fd, true)
		}
		return syscall.Shutdown(fd, syscall.SHUT_RD)
	})
}
