package privnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Setup raises the loopback interface, in the child of Run. It is the first
// privileged act there and so the test whether policy really allows a private
// network: on Ubuntu 24.04 the namespaces are made and then forbid everything.
func Setup() error {
	if !Inside() {
		return errors.New("private network: setup: not inside of one")
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno == unix.EPERM {
		return &Error{explain(errno, outerRoot(), sysctl), os.NewSyscallError("raise lo", errno)}
	}
	if err != nil {
		return fmt.Errorf("private network: raise lo: %w", err)
	}
	return nil
}

// Veth makes a pair of connected Ethernet interfaces and raises both
// (veth(4)). It changes the caller's network: call it inside a private one.
func Veth(a, b string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b}); err != nil {
		return fmt.Errorf("add veth %s: %w", a, err)
	}
	for _, name := range []string{a, b} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("raise %s: %w", name, err)
		}
	}
	return nil
}

// run is Run; the child gets report, unless it is nil, as descriptor 3.
func run(report *os.File) (status int, err error) {
	// The kernel kills the child when the *thread* that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// Before the child exists, so that no signal is lost. One that is ignored
	// (nohup, a shell's background job) stays so, for the child too.
	signals := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)

	child, err := start(report)
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case sig := <-signals:
				if !fromKeyboard(sig) {
					_ = child.Process.Signal(sig)
				}
			case <-ended:
				return
			}
		}
	}()
	err = child.Wait()
	close(ended)
	<-passed
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("private network: %w", err)
	}
	if ws, ok := child.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return child.ProcessState.ExitCode(), nil
}

// start starts this program in new namespaces. Root needs no user namespace,
// and keeps its rights over files and processes without one; but a container's
// root may be allowed one when it may not make a network namespace directly.
func start(report *os.File) (*exec.Cmd, error) {
	root := os.Geteuid() == 0
	var child *exec.Cmd
	err := error(unix.EPERM)
	if root {
		child, err = clone(unix.CLONE_NEWNET, report)
	}
	if errors.Is(err, unix.EPERM) {
		child, err = clone(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, report)
	}
	if err == nil {
		return child, nil
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		if reason := explain(errno, root, sysctl); reason != "" {
			return nil, &Error{reason, os.NewSyscallError("clone", errno)}
		}
	}
	return nil, fmt.Errorf("private network: %w", err)
}

// clone starts this program in the namespaces that flags name.
func clone(flags uintptr, report *os.File) (*exec.Cmd, error) {
	mark := marker + "=" + strconv.Itoa(os.Getpid())
	child := &exec.Cmd{
		Path:   "/proc/self/exe",
		Args:   os.Args,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: flags,
			Pdeathsig:  unix.SIGKILL,
		},
	}
	if report != nil {
		mark += " " + kindReport
		child.ExtraFiles = []*os.File{report}
	}
	child.Env = append(os.Environ(), mark)
	if flags&unix.CLONE_NEWUSER != 0 {
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		// A program with file capabilities (setcap) does not own its /proc
		// entries, so it could not write its child's mappings: prctl(2), PR_SET_DUMPABLE.
		if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && n != 1 {
			if unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) == nil {
				defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }()
			}
		}
	}
	return child, child.Start()
}

// fromKeyboard reports whether sig came from a key: then the terminal has sent
// it to the child as well, and passing it on would make it two. It is taken to
// have while this process is in the terminal's foreground.
func fromKeyboard(sig os.Signal) bool {
	if sig != unix.SIGINT && sig != unix.SIGQUIT {
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetUint32(tty, unix.TIOCGPGRP)
	return err == nil && int(group) == unix.Getpgrp()
}

// explain turns the kernel's refusal into words, "" for an errno that is none.
// read returns a sysctl's value, "" where the kernel does not have it.
func explain(errno syscall.Errno, root bool, read func(name string) string) string {
	advice := "use sudo"
	if root {
		advice = "a container needs --cap-add SYS_ADMIN --cap-add NET_ADMIN"
	}
	why := ""
	switch errno {
	case unix.ENOSPC, unix.EUSERS:
		switch {
		case read("user.max_net_namespaces") == "0":
			return "network namespaces are forbidden here (user.max_net_namespaces is 0): raise it"
		case read("user.max_user_namespaces") == "0":
			why = "user.max_user_namespaces is 0" // root does without one
		default:
			return "there are too many namespaces: raise user.max_user_namespaces and user.max_net_namespaces"
		}
	case unix.ENOSYS, unix.EINVAL:
		return "this kernel has no user or no network namespaces (CONFIG_USER_NS, CONFIG_NET_NS)"
	case unix.EPERM, unix.EACCES:
		switch {
		case read("kernel.unprivileged_userns_clone") == "0":
			why = "kernel.unprivileged_userns_clone is 0"
		case read("kernel.apparmor_restrict_unprivileged_userns") == "1":
			why = "AppArmor: kernel.apparmor_restrict_unprivileged_userns is 1"
		default:
			why = "EPERM: a container's seccomp policy or a security module"
		}
	default:
		return ""
	}
	return fmt.Sprintf("user namespaces are forbidden here (%s): %s", why, advice)
}

// sysctl returns the value of the kernel parameter name, "" where there is none.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// outerRoot reports whether this process, root in its user namespace, is root
// in the one around it too: the second number in /proc/self/uid_map.
func outerRoot() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(b))
	return err == nil && len(fields) >= 2 && fields[1] == "0"
}
