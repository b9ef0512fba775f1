package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// getsockopt is getsockopt(2) for options that are no int; it returns how many
// bytes of b, which must not be empty, the kernel has written.
func getsockopt(fd, level, opt int, b []byte) (int, error) {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(min(n, uint32(len(b)))), nil
}
