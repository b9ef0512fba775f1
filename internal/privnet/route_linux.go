package privnet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteLoopback routes a network, as 10.9.7.0/24, to the loopback interface,
// where no address of it is assigned. So the kernel answers nothing that comes
// for such an address, neither with RST nor with ICMP, and a program can be a
// host of its own there: it sends from the address with IP_HDRINCL (raw(7)), and
// its raw sockets, like packet sockets on lo, hear what the kernel's sockets
// answer. An IPv6 network, as fd00:9:7::/64, needs IPV6_HDRINCL (ipv6(7)) and
// not a packet socket for sending: see routeLoopback6.
//
// It must be called in a private network, whose kernel forwards nothing from
// then on. remove takes the route back.
func RouteLoopback(prefix netip.Prefix) (remove func() error, err error) {
	if !Inside() {
		return nil, errors.New("private network: route to lo: not inside of one")
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = forwardNothing()
	}
	if err == nil {
		if prefix.Addr().Is4() {
			remove, err = routeLoopback4(lo, prefix)
		} else {
			remove, err = routeLoopback6(lo, prefix)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("private network: route %v to lo: %w", prefix, err)
	}
	return remove, nil
}

// routeLoopback4 makes a plain route: what comes in by it is for nobody here.
func routeLoopback4(lo netlink.Link, prefix netip.Prefix) (remove func() error, err error) {
	route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(prefix), Scope: netlink.SCOPE_LINK}
	return func() error { return netlink.RouteDel(route) }, netlink.RouteAdd(route)
}

// The order of the IPv6 rules (ip-rule(8)); the kernel's own first one is 0.
const (
	blackholePriority = 1
	localPriority     = 2
)

// routeLoopback6 makes the network local, for in IPv6 a plain route to lo means
// unreachable. As the kernel would answer in its name then, what the kernel
// itself sends from there goes into a black hole; what programs send with
// IPV6_HDRINCL is routed without regard to its source. But the black hole also
// takes what comes in from a packet socket.
func routeLoopback6(lo netlink.Link, prefix netip.Prefix) (remove func() error, err error) {
	// The look-up of local addresses comes first, and must come after it.
	local := netlink.NewRule()
	local.Family, local.Table, local.Priority = unix.AF_INET6, unix.RT_TABLE_LOCAL, localPriority
	if err := netlink.RuleAdd(local); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	local.Priority = 0
	if err := netlink.RuleDel(local); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	hole := netlink.NewRule()
	hole.Family, hole.Src, hole.Type, hole.Priority = unix.AF_INET6, ipNet(prefix), unix.FR_ACT_BLACKHOLE, blackholePriority
	if err := netlink.RuleAdd(hole); err != nil {
		return nil, err
	}
	route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(prefix), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL}
	if err := netlink.RouteAdd(route); err != nil {
		return nil, errors.Join(err, netlink.RuleDel(hole))
	}
	return func() error { return errors.Join(netlink.RouteDel(route), netlink.RuleDel(hole)) }, nil
}

// route has host B send what is for a network to host A, which does not know it.
func (w *Wire) route(prefix netip.Prefix) error {
	if !prefix.Addr().Is4() {
		return fmt.Errorf("route %v: the hosts have IPv4 only", prefix)
	}
	err := w.A.Do(forwardNothing)
	if err == nil {
		err = w.B.Do(func() error {
			return netlink.RouteAdd(&netlink.Route{Dst: ipNet(prefix), Gw: w.A.Addr.AsSlice()})
		})
	}
	if err != nil {
		return fmt.Errorf("route %v: %w", prefix, err)
	}
	return nil
}

// forwardNothing makes the network namespace of this thread no router, which it
// may be from the beginning: a new one takes IPv4's setting from the first.
func forwardNothing() error {
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		value, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err == nil && !bytes.Equal(bytes.TrimSpace(value), []byte("0")) {
			err = os.WriteFile(name, []byte("0"), 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ipNet is a prefix as package net has it.
func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
