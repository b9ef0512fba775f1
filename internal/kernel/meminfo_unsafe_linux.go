package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// memInfo is what SO_MEMINFO returns, the SK_MEMINFO_… values of linux/sock_diag.h.
type memInfo [9]uint32

const memDrops = 8 // SK_MEMINFO_DROPS

// getMemInfo asks for a socket's memory and drops, getsockopt(2).
func getMemInfo(fd int) (m memInfo, err error) {
	size := uint32(unsafe.Sizeof(m))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return m, errno
	}
	return m, nil
}
