package privnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteAddress routes one IPv4 address to the loopback interface of the current
// network, private or not, as RouteLoopback does a network: for a program that
// is a host of its own towards this host. It refuses an address that is the
// kernel's, or that is routed already by more than a default route, for then it
// may be somebody's. It needs CAP_NET_ADMIN. remove takes the route back.
func RouteAddress(addr netip.Addr) (remove func() error, err error) {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = unused(addr, lo.Attrs().Index)
	}
	route := &netlink.Route{Dst: ipNet(netip.PrefixFrom(addr, addr.BitLen())), Scope: netlink.SCOPE_LINK}
	if err == nil {
		route.LinkIndex = lo.Attrs().Index
		err = netlink.RouteAdd(route)
	}
	if errors.Is(err, unix.EEXIST) { // somebody else's, who also takes it back
		return func() error { return nil }, nil
	}
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w (needs CAP_NET_ADMIN: use sudo)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("route %v to lo: %w", addr, err)
	}
	return func() error {
		if err := netlink.RouteDel(route); err != nil {
			return fmt.Errorf("take back the route of %v to lo: %w", addr, err)
		}
		return nil
	}, nil
}

// unused says why an address cannot be taken for a host of its own, but for
// routes to the interface lo.
func unused(addr netip.Addr, lo int) error {
	if !addr.Is4() {
		return fmt.Errorf("%w: only IPv4 addresses can be routed so", ErrAddress)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	ip := net.IP(addr.AsSlice())
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return fmt.Errorf("%w: it is this host's own, and its kernel would answer for it", ErrAddress)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == nil || r.LinkIndex == lo || !r.Dst.Contains(ip) {
			continue
		}
		if ones, _ := r.Dst.Mask.Size(); ones > 0 { // not the default route
			return fmt.Errorf("%w: it is routed already, to %v, and may be somebody's", ErrAddress, r.Dst)
		}
	}
	return nil
}
