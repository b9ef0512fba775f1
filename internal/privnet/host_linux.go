package privnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostInterface is the name of a host's end of the wire.
const hostInterface = "eth0"

// Do calls f in the host's network namespace, and returns its error: the
// sockets that f opens, and the programs that it starts, belong to the host
// for as long as they live (setns(2)). What f leaves to other goroutines does not.
// After the wire's Close it returns os.ErrClosed.
//
// If the thread cannot go back, which is an error, it stays with the calling
// goroutine, which must end then, and ends with it.
func (h *Host) Do(f func() error) error { return elsewhere(h.enter, f) }

// enter takes this thread to the host's namespace.
func (h *Host) enter() error { return setns(h.ns) }

// elsewhere calls f on this thread after enter has taken it to another network
// namespace, and brings it back.
func elsewhere(enter, f func() error) (err error) {
	runtime.LockOSThread()
	home, err := currentNamespace()
	if err == nil {
		defer home.Close()
		err = enter()
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if back := setns(home); back != nil {
			err = errors.Join(err, fmt.Errorf("back from a network namespace: %w", back))
			return // the thread stays locked: no other goroutine may get it
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// currentNamespace opens this thread's network namespace.
func currentNamespace() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// setns takes this thread to a network namespace; os.ErrClosed when ns is closed.
func setns(ns *os.File) error {
	rc, err := ns.SyscallConn()
	if err != nil {
		return err
	}
	if rc.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) }) != nil {
		return os.ErrClosed // the poller's error is not that
	}
	return os.NewSyscallError("setns", err)
}

// newHost makes a host in a namespace of its own, without the wire.
func newHost(addr netip.Addr, tap string) (*Host, error) {
	h := &Host{Addr: addr, Tap: tap}
	unshare := func() error { return os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET)) }
	err := elsewhere(unshare, func() (err error) {
		h.ns, err = currentNamespace()
		return err
	})
	return h, err
}

// hardwareAddr is the link address of the host.
func (h *Host) hardwareAddr() net.HardwareAddr {
	ip := h.Addr.As4()
	return append(net.HardwareAddr{2, 0}, ip[:]...) // 2: locally administered
}

// connect makes the veth pair from the tap to the host, and raises it.
func (h *Host) connect(peer *Host) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = h.Tap
	veth := &netlink.Veth{
		LinkAttrs: attrs,
		PeerName:  hostInterface, PeerHardwareAddr: h.hardwareAddr(), PeerNamespace: netlink.NsFd(h.ns.Fd()),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s: %w", h.Tap, err)
	}
	h.wired = true
	if err := raise(h.Tap); err != nil {
		return fmt.Errorf("raise %s: %w", h.Tap, err)
	}
	if err := h.Do(func() error { return h.configure(peer) }); err != nil {
		return fmt.Errorf("set up the host at %s: %w", h.Tap, err)
	}
	return nil
}

// configure raises the host's interfaces and gives it its address. It is told
// its peer's link address: ARP would mix with what programs send.
func (h *Host) configure(peer *Host) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if err := raise(hostInterface); err != nil {
		return err
	}
	link, err := netlink.LinkByName(hostInterface)
	if err != nil {
		return err
	}
	ipnet := &net.IPNet{IP: h.Addr.AsSlice(), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipnet}); err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: peer.Addr.AsSlice(), HardwareAddr: peer.hardwareAddr(),
	})
}

// raise raises an interface that carries what programs send and nothing else:
// IPv6 would look for neighbours, routers and listeners by itself.
func raise(name string) error {
	sysctl := "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := offloadsOff(name); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// close takes the host from the wire.
func (h *Host) close() error {
	var err error
	if h.wired {
		var link netlink.Link
		if link, err = netlink.LinkByName(h.Tap); err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			err = fmt.Errorf("remove %s: %w", h.Tap, err)
		}
	}
	if h.ns != nil {
		err = errors.Join(err, h.ns.Close())
	}
	return err
}
