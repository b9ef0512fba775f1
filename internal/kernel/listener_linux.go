package kernel

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenerOf asks for a listening socket: TCP_INFO's unacked and sacked count
// its queue there, and SO_MEMINFO its drops.
func ListenerOf(c syscall.RawConn) (Listener, error) {
	var (
		info *unix.TCPInfo
		mem  memInfo
		err  error
	)
	cerr := c.Control(func(fd uintptr) {
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			err = os.NewSyscallError("getsockopt(TCP_INFO)", err)
			return
		}
		if mem, err = getMemInfo(int(fd)); err != nil {
			err = os.NewSyscallError("getsockopt(SO_MEMINFO)", err)
		}
	})
	if cerr != nil || err != nil {
		if cerr != nil {
			err = cerr
		}
		return Listener{}, err
	}
	if info.State != unix.BPF_TCP_LISTEN {
		return Listener{}, os.NewSyscallError("getsockopt(TCP_INFO): not in LISTEN", unix.EINVAL)
	}
	return Listener{int(info.Unacked), int(info.Sacked), mem[memDrops]}, nil
}
