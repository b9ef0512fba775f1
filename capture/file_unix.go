//go:build unix

package capture

import (
	"os"

	"golang.org/x/sys/unix"
)

// newWaiter returns wait, which returns when a read of file would not block,
// and cancel, which ends it. Both are nil for a regular file.
//
// Standard input needs it: Go's poller does not watch it, so that closing it
// does not end a read(2), and it must not be made non-blocking, because other
// processes share its open file description.
func newWaiter(file *os.File) (wait func(), cancel func() error, err error) {
	if st, err := file.Stat(); err != nil || st.Mode().IsRegular() {
		return nil, nil, err
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	rconn, err := r.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	poll := func(fd, cancelled uintptr) {
		fds := []unix.PollFd{
			{Fd: int32(fd), Events: unix.POLLIN},
			{Fd: int32(cancelled), Events: unix.POLLIN},
		}
		for {
			// An error of poll is left to the read that follows.
			if _, err := unix.Poll(fds, -1); err != unix.EINTR {
				return
			}
		}
	}
	wait = func() {
		// Control keeps both descriptors open meanwhile; it fails after a Close.
		_ = conn.Control(func(fd uintptr) {
			_ = rconn.Control(func(cancelled uintptr) { poll(fd, cancelled) })
		})
	}
	cancel = func() error {
		w.Close() // poll sees a hang-up
		return r.Close()
	}
	return wait, cancel, nil
}
