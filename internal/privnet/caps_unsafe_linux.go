package privnet

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capsetNone empties the capability sets of every thread (capset(2)).
func capsetNone() syscall.Errno {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&none[0])), 0)
	return errno
}
