package privnet

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func routesTo(t *testing.T, addr string) (n int) {
	t.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == addr+"/32" {
			n++
		}
	}
	return n
}

func TestAnAddressIsRoutedForAWhile(t *testing.T) {
	Require(t)
	addr := netip.MustParseAddr("10.9.7.7")
	remove, err := RouteAddress(addr)
	if err != nil {
		t.Fatal(err)
	}
	second, err := RouteAddress(addr) // another program's
	if err != nil {
		t.Fatal(err)
	}
	if err := second(); err != nil || routesTo(t, "10.9.7.7") != 1 {
		t.Errorf("%d routes, %v; want the first one's", routesTo(t, "10.9.7.7"), err)
	}
	if err := remove(); err != nil || routesTo(t, "10.9.7.7") != 0 {
		t.Errorf("%d routes are left, %v", routesTo(t, "10.9.7.7"), err)
	}
	if err := remove(); err == nil || !strings.Contains(err.Error(), "10.9.7.7") {
		t.Errorf("taken back twice: %v", err)
	}
}

func TestAnAddressThatIsSomebodysIsRefused(t *testing.T) {
	Require(t)
	if err := Veth("own-a", "own-b"); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("own-a")
	if err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(link)
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 8, 0, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
	for addr, why := range map[string]string{
		"127.0.0.1": "this host's own", "10.8.0.1": "this host's own", "10.8.0.9": "routed already, to 10.8.0.0/24", "::1": "only IPv4",
	} {
		remove, err := RouteAddress(netip.MustParseAddr(addr))
		if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v, want %q", addr, err, why)
		}
		if err == nil {
			_ = remove()
		}
	}
}
