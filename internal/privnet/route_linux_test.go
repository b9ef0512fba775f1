package privnet_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

const (
	spareISS  = 1000
	sparePort = 4000
)

// spareSYN is a SYN from an address that is only routed.
func spareSYN(t *testing.T, from, to netip.AddrPort) []byte {
	t.Helper()
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()),
		Seq: spareISS, SYN: true, Window: 65535,
	}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if from.Addr().Is4() {
		ip = &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
			SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
		}
	} else {
		ip = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP,
			SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
		}
	}
	buf := gopacket.NewSerializeBuffer()
	err := tcp.SetNetworkLayerForChecksum(ip)
	if err == nil {
		err = gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp)
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// sendRaw sends an IP packet with a header of its own (raw(7), ipv6(7)).
func sendRaw(packet []byte, to netip.Addr) error {
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL
	var sa unix.Sockaddr
	if to.Is4() {
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return err
	}
	return unix.Sendto(fd, packet, 0, sa)
}

// listenPackets opens a packet socket that hears what comes in at an interface.
func listenPackets(name string) (*os.File, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8&0xffff | unix.ETH_P_ALL>>8, Ifindex: iface.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// hear returns the next packet that a socket hears and wanted takes.
func hear(t *testing.T, socket *os.File, wanted func(gopacket.Packet) bool) gopacket.Packet {
	t.Helper()
	buf := make([]byte, 2000)
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		first := layers.LayerTypeIPv4
		if buf[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		if p := gopacket.NewPacket(buf[:n], first, gopacket.Default); wanted(p) {
			return p
		}
	}
}

// isSYNACK reports whether a packet answers the spare address's SYN.
func isSYNACK(p gopacket.Packet) bool {
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return ok && tcp.SYN && tcp.ACK && tcp.Ack == spareISS+1 && tcp.DstPort == sparePort
}

// harden makes this thread's namespace a strict one: one that takes a packet
// only where its answer would leave (rp_filter, ip-sysctl).
func harden() error {
	return os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0)
}

// setForwarding makes this thread's namespace a router, as a new one is where
// the first one is.
func setForwarding() error {
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

func TestWireRoutesASpareAddress(t *testing.T) {
	privnet.Require(t)
	w, err := privnet.NewWire(&privnet.WireConfig{
		Routed: netip.MustParsePrefix("10.9.7.0/24"),
		// Everything that A sends, to be counted: the SYN and nothing else.
		Rules: []privnet.Rule{{From: privnet.A}, {From: privnet.B}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	spare := netip.AddrPortFrom(netip.MustParseAddr("10.9.7.7"), sparePort)
	var l net.Listener
	err = w.B.Do(func() (err error) {
		if err := harden(); err != nil {
			return err
		}
		l, err = net.Listen("tcp4", netip.AddrPortFrom(w.B.Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.Addr().(*net.TCPAddr).AddrPort()
	var heard *os.File
	err = w.A.Do(func() (err error) {
		if heard, err = listenPackets("eth0"); err != nil {
			return err
		}
		return sendRaw(spareSYN(t, spare, to), to.Addr())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	// B sends its SYN-ACK again after a second, as long as nobody answers it. Two
	// have come then, and A has had a second to answer the first one.
	for range 2 {
		p := hear(t, heard, isSYNACK)
		if dst := p.NetworkLayer().NetworkFlow().Dst().String(); dst != spare.Addr().String() {
			t.Errorf("the SYN-ACK is for %s, want %v", dst, spare.Addr())
		}
	}
	if s := stats(t, w); s.Rules[0].Matched != 1 || s.Rules[1].Matched != 2 {
		t.Errorf("A sent %d frames and B %d, want the SYN and its answer twice", s.Rules[0].Matched, s.Rules[1].Matched)
	}
}

func TestWireRoutesNoIPv6(t *testing.T) {
	privnet.Require(t)
	_, err := privnet.NewWire(&privnet.WireConfig{Routed: netip.MustParsePrefix("fd00:9:7::/64")})
	if err == nil || !strings.Contains(err.Error(), "fd00:9:7::/64: the hosts have IPv4 only") {
		t.Errorf("error %v", err)
	}
}

func TestRouteLoopback(t *testing.T) {
	privnet.Require(t)
	if err := errors.Join(setForwarding(), harden()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ prefix, spare, listen string }{
		{"10.9.7.0/24", "10.9.7.7:4000", "127.0.0.1:0"},
		{"fd00:9:7::/64", "[fd00:9:7::7]:4000", "[::1]:0"},
	} {
		t.Run(tt.prefix, func(t *testing.T) {
			remove, err := privnet.RouteLoopback(netip.MustParsePrefix(tt.prefix))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := remove(); err != nil {
					t.Errorf("remove: %v", err)
				}
			}()
			l, err := net.Listen("tcp", tt.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			spare, to := netip.MustParseAddrPort(tt.spare), l.Addr().(*net.TCPAddr).AddrPort()
			heard, err := listenPackets("lo")
			if err != nil {
				t.Fatal(err)
			}
			defer heard.Close()
			if err := sendRaw(spareSYN(t, spare, to), to.Addr()); err != nil {
				t.Fatal(err)
			}
			// Until the second SYN-ACK, a second after the first.
			var synAcks, others int
			hear(t, heard, func(p gopacket.Packet) bool {
				tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
				switch {
				case isSYNACK(p):
					synAcks++
				case tcp == nil || !tcp.SYN || tcp.ACK:
					others++
					t.Errorf("beside SYN and SYN-ACK: %v", p)
				}
				return synAcks == 2
			})
		})
	}
}

// Nothing is left of a network that was removed, and the addresses of others work.
func TestRouteLoopbackRemoved(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct{ prefix, spare, own string }{
		{"10.9.7.0/24", "10.9.7.7", "127.0.0.1:0"},
		{"fd00:9:7::/64", "fd00:9:7::7", "[::1]:0"},
		{"fd00:9:7::/64", "fd00:9:7::7", "[::1]:0"}, // again
	} {
		remove, err := privnet.RouteLoopback(netip.MustParsePrefix(tt.prefix))
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := net.DialTimeout("udp", netip.AddrPortFrom(netip.MustParseAddr(tt.spare), 7).String(), patience); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s after it was removed: %v, want ENETUNREACH", tt.spare, err)
		}
		l, err := net.Listen("tcp", tt.own)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			t.Fatalf("%s: %v", tt.own, err)
		}
		c.Close()
		l.Close()
	}
	t.Setenv("FINACK_PRIVNET", "")
	if _, err := privnet.RouteLoopback(netip.MustParsePrefix("10.9.7.0/24")); err == nil {
		t.Error("outside: no error")
	}
}
