package privnet

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user that root becomes when it is not known who called sudo.
const nobody = 65534

// ErrCgo says that capabilities cannot be given up on every thread, because
// the binary was built with cgo (syscall.AllThreadsSyscall).
var ErrCgo = errors.New("this binary was built with cgo: build it with CGO_ENABLED=0")

// DropPrivileges gives up, on every thread and for good, what this process may
// do more than an ordinary user: root becomes the user who called sudo
// (SUDO_UID), else nobody; all capabilities go, and no_new_privs is set
// (capabilities(7), prctl(2)). Open descriptors stay usable.
func DropPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 && errno != unix.ENOTSUP {
		return os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", errno)
	}
	if os.Geteuid() == 0 {
		uid, gid := fromEnv("SUDO_UID"), fromEnv("SUDO_GID")
		if mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid) {
			if err := become(uid, gid); err != nil {
				return err
			}
		}
	}
	return dropCapabilities()
}

// fromEnv returns the id in an environment variable, nobody's when there is
// none or it is root's.
func fromEnv(name string) int {
	id, err := strconv.Atoi(os.Getenv(name))
	if err != nil || id <= 0 {
		return nobody
	}
	return id
}

// mapped reports whether an id exists in this user namespace
// (user_namespaces(7): lines of first inside, first outside, length).
func mapped(path string, id int) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, length int
		if n, _ := fmt.Sscan(line, &inside, &outside, &length); n == 3 && id >= inside && id-inside < length {
			return true
		}
	}
	return false
}

// become changes user and groups on every thread, which also takes the
// capabilities of root away.
func become(uid, gid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	return os.NewSyscallError("setresuid", syscall.Setresuid(uid, uid, uid))
}

// dropCapabilities empties the capability sets of every thread.
func dropCapabilities() error {
	switch errno := capsetNone(); {
	case errno == unix.ENOTSUP && hasCapabilities():
		return ErrCgo
	case errno != 0 && errno != unix.ENOTSUP:
		return os.NewSyscallError("capset", errno)
	}
	if hasCapabilities() {
		return errors.New("capabilities are left after capset")
	}
	return nil
}

// hasCapabilities reports whether this thread may do anything special.
func hasCapabilities() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return true
	}
	return data[0].Effective|data[1].Effective|data[0].Permitted|data[1].Permitted != 0
}

// WithoutCapabilities calls f on a thread of its own that has none, and so tells
// what an ordinary user would see. The goroutines that f starts have all that
// this process has.
func WithoutCapabilities(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := os.NewSyscallError("capset", unix.Capset(&hdr, &none[0]))
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}
