package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Whatever carries it, the innermost IP packet is what the frame says.
func TestEncapsulations(t *testing.T) {
	const ip4, ip6 = 0x0800, 0x86dd
	type wrap struct {
		name string
		link LinkType
		wrap func(inner []byte, etherType uint16) []byte
	}
	version := func(etherType uint16, v4, v6 byte) byte {
		if etherType == ip4 {
			return v4
		}
		return v6
	}
	family := func(order binary.AppendByteOrder, af6 uint32) func([]byte, uint16) []byte {
		return func(inner []byte, et uint16) []byte {
			if et == ip4 {
				return cat(order.AppendUint32(nil, 2), inner)
			}
			return cat(order.AppendUint32(nil, af6), inner)
		}
	}
	raw := func(inner []byte, _ uint16) []byte { return inner }
	le, be := binary.LittleEndian, binary.BigEndian
	sll := func(hardware, proto uint16) []byte {
		return cat(u16(4), u16(hardware), u16(6), mac, []byte{0, 0}, u16(proto))
	}
	gre := func(flags, et uint16, options int, inner []byte) []byte {
		return cat(u16(flags), u16(et), make([]byte, options), inner)
	}
	geneve := func(et uint16, options []byte, inner []byte) []byte {
		return cat([]byte{byte(len(options) / 4), 0}, u16(et), u32(7<<8), options, inner)
	}
	vxlan := func(flags byte, inner []byte) []byte {
		return cat([]byte{flags, 0, 0, 0}, u32(7<<8), inner)
	}
	wraps := []wrap{
		{"Ethernet", LinkEthernet, func(b []byte, et uint16) []byte { return ether(et, b) }},
		{"Ethernet with padding", LinkEthernet, func(b []byte, et uint16) []byte { return ether(et, b, make([]byte, 18)) }},
		{"802.3 SNAP", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(uint16(8+len(b)), []byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(et), b, make([]byte, 3))
		}},
		{"802.3 SNAP, bridged", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(uint16(8+len(b)), []byte{0xaa, 0xaa, 3, 0, 0, 0xf8}, u16(et), b)
		}},
		{"VLAN", LinkEthernet, func(b []byte, et uint16) []byte { return ether(0x8100, u16(5), u16(et), b) }},
		{"VLANs stacked", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(0x88a8, u16(5), u16(0x9100), u16(6), u16(0x8100), u16(7), u16(et), b)
		}},
		{"VLAN, 802.3 SNAP", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(0x8100, u16(5), u16(uint16(8+len(b))), []byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(et), b)
		}},
		{"MPLS", LinkEthernet, func(b []byte, _ uint16) []byte {
			return ether(0x8847, u32(16<<12|64), u32(17<<12|64), u32(18<<12|1<<8|64), b)
		}},
		{"MPLS multicast", LinkEthernet, func(b []byte, _ uint16) []byte { return ether(0x8848, u32(18<<12|1<<8|64), b) }},
		{"PPPoE", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(0x8864, []byte{0x11, 0}, u16(9), u16(uint16(2+len(b))), []byte{0, version(et, 0x21, 0x57)}, b, make([]byte, 9))
		}},
		{"raw", LinkRaw, raw},
		{"raw 12", LinkRaw12, raw},
		{"raw 14", LinkRaw14, raw},
		{"NULL, little-endian FreeBSD", LinkNull, family(le, 28)},
		{"NULL, big-endian NetBSD", LinkNull, family(be, 24)},
		{"NULL, little-endian macOS", LinkNull, family(le, 30)},
		{"NULL, Linux", LinkNull, family(le, 10)},
		{"LOOP", LinkLoop, family(be, 24)},
		{"SLL", LinkSLL, func(b []byte, et uint16) []byte { return cat(sll(1, et), b) }},
		{"SLL, VLAN", LinkSLL, func(b []byte, et uint16) []byte { return cat(sll(1, 0x8100), u16(5), u16(et), b) }},
		{"SLL, 802.2", LinkSLL, func(b []byte, et uint16) []byte {
			return cat(sll(1, 4), []byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(et), b)
		}},
		{"SLL2", LinkSLL2, func(b []byte, et uint16) []byte {
			return cat(u16(et), u16(0), u32(3), u16(1), []byte{4, 6}, mac, []byte{0, 0}, b)
		}},
		{"PPP", LinkPPP, func(b []byte, et uint16) []byte { return cat([]byte{0, version(et, 0x21, 0x57)}, b) }},
		{"PPP in HDLC", LinkPPP, func(b []byte, et uint16) []byte { return cat([]byte{0xff, 3, 0, version(et, 0x21, 0x57)}, b) }},
		{"PPP, protocol compressed", LinkPPP, func(b []byte, et uint16) []byte { return cat([]byte{version(et, 0x21, 0x57)}, b) }},
		{"PPP, MPLS", LinkPPP, func(b []byte, _ uint16) []byte { return cat([]byte{0x02, 0x81}, u32(18<<12|1<<8|64), b) }},
		{"ARCNET, RFC 1201", LinkARCNET, func(b []byte, et uint16) []byte {
			return cat([]byte{1, 2, 0, 0, version(et, 0xd4, 0xc4), 0, 0, 9}, b)
		}},
		{"ARCNET, RFC 1201, exception", LinkARCNET, func(b []byte, et uint16) []byte {
			return cat([]byte{1, 2, 0, 0, version(et, 0xd4, 0xc4), 0xff, 0, 0, 0xff, 0, 0, 9}, b)
		}},
		{"IPoIB", LinkIPoIB, func(b []byte, et uint16) []byte { return cat(make([]byte, 40), u16(et), u16(0), b) }},
		{"IP in IPv4", LinkRaw, func(b []byte, et uint16) []byte { return in4(t, version(et, 4, 41), b) }},
		{"IP in IPv6", LinkRaw, func(b []byte, et uint16) []byte { return in6(t, version(et, 4, 41), b) }},
		{"GRE", LinkRaw, func(b []byte, et uint16) []byte { return in4(t, 47, gre(0, et, 0, b)) }},
		{"GRE with key", LinkRaw, func(b []byte, et uint16) []byte { return in6(t, 47, gre(0x2000, et, 4, b)) }},
		{"GRE with everything", LinkRaw, func(b []byte, et uint16) []byte { return in4(t, 47, gre(0xb000, et, 12, b)) }},
		{"GRE, Ethernet", LinkRaw, func(b []byte, et uint16) []byte { return in4(t, 47, gre(0, 0x6558, 0, ether(et, b))) }},
		{"PPTP", LinkRaw, func(b []byte, et uint16) []byte {
			return in4(t, 47, gre(0x2001, 0x880b, 4, cat([]byte{0xff, 3, 0, version(et, 0x21, 0x57)}, b)))
		}},
		{"PPTP with sequence and acknowledgment", LinkRaw, func(b []byte, et uint16) []byte {
			return in4(t, 47, gre(0x3081, 0x880b, 12, cat([]byte{version(et, 0x21, 0x57)}, b)))
		}},
		{"VXLAN", LinkRaw, func(b []byte, et uint16) []byte { return udp4(t, 4789, vxlan(0x08, ether(et, b))) }},
		{"VXLAN over IPv6, Linux's port, group policy", LinkRaw, func(b []byte, et uint16) []byte {
			return udp6(t, 8472, vxlan(0x88, ether(0x8100, u16(5), u16(et), b)))
		}},
		{"Geneve", LinkRaw, func(b []byte, et uint16) []byte { return udp4(t, 6081, geneve(0x6558, nil, ether(et, b))) }},
		{"Geneve with options, IP inside", LinkRaw, func(b []byte, et uint16) []byte {
			return udp6(t, 6081, geneve(et, make([]byte, 12), b))
		}},
		{"VXLAN in VLAN in GRE", LinkEthernet, func(b []byte, et uint16) []byte {
			return ether(0x8100, u16(5), u16(ip4), in4(t, 47, gre(0, ip4, 0, udp4(t, 4789, vxlan(0x08, ether(et, b))))))
		}},
	}
	for _, w := range wraps {
		for _, v := range []struct {
			inner []byte
			et    uint16
			want  Packet
		}{{tcp4(t), ip4, wantTCP4()}, {tcp6(t), ip6, wantTCP6()}} {
			t.Run(fmt.Sprintf("%s/%#x", w.name, v.et), func(t *testing.T) {
				f := frame(w.link, w.wrap(v.inner, v.et))
				f.Time, f.Iface, f.Dir = 99, 3, DirOutbound
				v.want.Time, v.want.Iface, v.want.Dir = 99, 3, DirOutbound
				got, err := decode(t, f)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(v.want, got); diff != "" {
					t.Error("(-want +got)\n" + diff)
				}
				// The checksum of what a tunnel carries is not the capture's to
				// know; any other is verified.
				f.Data[bytes.LastIndex(f.Data, []byte(hello))] ^= 1
				got, err = decode(t, f)
				tunnel := bytes.Count(f.Data, addr4[0].To4())+bytes.Count(f.Data, addr6[0]) > 1
				if err != nil || got.BadSum == tunnel {
					t.Errorf("with a bit flipped: BadSum %v, error %v; tunnel: %v", got.BadSum, err, tunnel)
				}
			})
		}
	}
}

// RFC 1051's ARCNET has no number for IPv6, LINKTYPE_IPV4 and _IPV6 one version each.
func TestLinksOfOneVersion(t *testing.T) {
	for _, tt := range []struct {
		link LinkType
		data []byte
		want Packet
	}{
		{LinkARCNET, cat([]byte{1, 2, 0, 0, 0xf0}, tcp4(t)), wantTCP4()},
		{LinkEthernet, ether(uint16(3+len(tcp4(t))), []byte{6, 6, 3}, tcp4(t)), wantTCP4()},
		{LinkIPv4, tcp4(t), wantTCP4()},
		{LinkIPv6, tcp6(t), wantTCP6()},
	} {
		got, err := decode(t, frame(tt.link, tt.data))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%v: error %v (-want +got)\n%s", tt.link, err, diff)
		}
	}
}

func TestNotIP(t *testing.T) {
	arp := make([]byte, 28)
	for _, tt := range []struct {
		name      string
		link      LinkType
		data      []byte
		etherType uint16
	}{
		{"ARP", LinkEthernet, ether(0x0806, arp), 0x0806},
		{"LLDP", LinkEthernet, ether(0x88cc, arp), 0x88cc},
		{"ARP in a VLAN", LinkEthernet, ether(0x8100, u16(5), u16(0x0806), arp), 0x0806},
		{"STP", LinkEthernet, ether(38, []byte{0x42, 0x42, 3}, make([]byte, 43)), 0},
		{"802.3 with an organization's own protocol", LinkEthernet, ether(46, []byte{0xaa, 0xaa, 3, 0, 0, 0xc}, u16(0x2000), arp, arp), 0},
		{"802.3, empty", LinkEthernet, ether(0, arp), 0},
		{"PPPoE discovery", LinkEthernet, ether(0x8863, arp), 0x8863},
		{"PPPoE with LCP", LinkEthernet, ether(0x8864, []byte{0x11, 0, 0, 9, 0, 6, 0xc0, 0x21, 9, 0, 0, 4}), 0x8864},
		{"MPLS pseudowire", LinkEthernet, ether(0x8847, u32(16<<12|1<<8), make([]byte, 60)), 0x8847},
		{"MPLS pseudowire that begins like IPv4", LinkEthernet, ether(0x8847, u32(16<<12|1<<8), []byte{0x40}, make([]byte, 60)), 0x8847},
		{"MPLS without a bottom", LinkEthernet, ether(0x8847, make([]byte, 1000)), 0x8847},
		{"ARP, SLL", LinkSLL, cat([]byte{0, 0, 0, 1, 0, 6}, make([]byte, 8), u16(0x0806), arp), 0x0806},
		{"netlink with a family like IPv4's EtherType", LinkSLL, cat([]byte{0, 4, 3, 56, 0, 0}, make([]byte, 8), u16(0x0800), arp), 0},
		{"CAN", LinkSLL, cat([]byte{0, 1, 1, 24, 0, 0}, make([]byte, 8), u16(0x000c), arp), 0},
		{"NULL with AppleTalk", LinkNull, cat([]byte{16, 0, 0, 0}, arp), 0},
		{"LOOP does not guess the byte order", LinkLoop, cat([]byte{2, 0, 0, 0}, tcp4(t)), 0},
		{"PPP with LCP", LinkPPP, []byte{0xff, 3, 0xc0, 0x21, 1, 1, 0, 4}, 0},
		{"ARCNET ARP, RFC 1051", LinkARCNET, cat([]byte{1, 2, 0, 0, 0xf1}, arp), 0x0806},
		{"ARCNET ARP, RFC 1201", LinkARCNET, cat([]byte{1, 2, 0, 0, 0xd5, 0, 0, 1}, arp), 0x0806},
		{"ARCNET, a later part of a split packet", LinkARCNET, cat([]byte{1, 2, 0, 0, 0xd4, 2, 0, 1}, tcp4(t)), 0},
		{"ARCNET, Novell", LinkARCNET, cat([]byte{1, 2, 0, 0, 0xfa, 0, 0, 1}, arp), 0},
		{"ARP, IPoIB", LinkIPoIB, cat(make([]byte, 40), u16(0x0806), u16(0), arp), 0x0806},
	} {
		f := frame(tt.link, tt.data)
		f.Dir = DirOther
		got, err := decode(t, f)
		if diff := cmp.Diff(Packet{Dir: DirOther, EtherType: tt.etherType}, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
}

// A cooked header knows the direction, and version 2 the interface.
func TestCookedHeaders(t *testing.T) {
	for packetType, want := range []Direction{DirInbound, DirInbound, DirInbound, DirOther, DirOutbound, DirUnknown} {
		sll := cat([]byte{0, byte(packetType), 0, 1, 0, 6}, make([]byte, 8), u16(0x0800), tcp4(t))
		if got, err := decode(t, frame(LinkSLL, sll)); got.Dir != want || err != nil {
			t.Errorf("SLL, packet type %d: direction %v, error %v", packetType, got.Dir, err)
		}
		sll2 := cat(u16(0x0800), u16(0), u32(17), u16(1), []byte{byte(packetType), 6}, make([]byte, 8), tcp4(t))
		if got, err := decode(t, frame(LinkSLL2, sll2)); got.Dir != want || got.Iface != 17 || err != nil {
			t.Errorf("SLL2, packet type %d: direction %v, interface %d, error %v", packetType, got.Dir, got.Iface, err)
		}
		f := frame(LinkSLL2, sll2)
		f.Dir = DirOther
		if got, err := decode(t, f); got.Dir != DirOther || err != nil {
			t.Errorf("the frame's own direction was lost: %v, error %v", got.Dir, err)
		}
	}
}

func TestErrors(t *testing.T) {
	edit := func(b []byte, at int, v ...byte) []byte {
		b = slices.Clone(b)
		copy(b[at:], v)
		return b
	}
	udp, icmp := udp4(t, 53, []byte("x")), in4(t, 1, make([]byte, 8))
	for _, tt := range []struct {
		name    string
		link    LinkType
		data    []byte
		more    int // bytes on the wire that were not captured
		want    error
		version uint8
	}{
		{"unknown link type", 147, tcp4(t), 0, ErrLinkType, 0},
		{"SLL2's number in eight bits", 276 & 0xff, tcp4(t), 0, ErrLinkType, 0},
		{"empty", LinkEthernet, nil, 0, ErrMalformed, 0},
		{"empty raw", LinkRaw, nil, 0, ErrMalformed, 0},
		{"nothing captured", LinkEthernet, nil, 60, ErrTruncated, 0},
		{"short Ethernet", LinkEthernet, make([]byte, 13), 0, ErrMalformed, 0},
		{"cut Ethernet", LinkEthernet, make([]byte, 13), 1, ErrTruncated, 0},
		{"short VLAN", LinkEthernet, ether(0x8100, []byte{0, 1, 8}), 0, ErrMalformed, 0},
		{"cut VLAN", LinkEthernet, ether(0x8100, []byte{0, 1, 8}), 40, ErrTruncated, 0},
		{"cut LLC", LinkEthernet, ether(40, []byte{0xaa}), 40, ErrTruncated, 0},
		{"cut SNAP", LinkEthernet, ether(40, []byte{0xaa, 0xaa, 3, 0, 0}), 40, ErrTruncated, 0},
		{"cut PPPoE", LinkEthernet, ether(0x8864, []byte{0x11}), 40, ErrTruncated, 0},
		{"PPPoE of another version", LinkEthernet, ether(0x8864, make([]byte, 50)), 0, ErrMalformed, 0},
		{"cut MPLS", LinkEthernet, ether(0x8847, []byte{1, 2, 1}), 40, ErrTruncated, 0},
		{"short SLL", LinkSLL, make([]byte, 15), 0, ErrMalformed, 0},
		{"short SLL2", LinkSLL2, make([]byte, 19), 0, ErrMalformed, 0},
		{"short NULL", LinkNull, make([]byte, 3), 0, ErrMalformed, 0},
		{"short PPP", LinkPPP, []byte{0xff, 3}, 0, ErrMalformed, 0},
		{"short ARCNET", LinkARCNET, []byte{1, 2, 0, 0}, 0, ErrMalformed, 0},
		{"short ARCNET, RFC 1201", LinkARCNET, []byte{1, 2, 0, 0, 0xd4, 0, 0}, 0, ErrMalformed, 0},
		{"short IPoIB", LinkIPoIB, make([]byte, 43), 0, ErrMalformed, 0},
		{"raw of version 5", LinkRaw, edit(tcp4(t), 0, 0x55), 0, ErrMalformed, 0},
		{"IPv6 where IPv4 was said", LinkIPv4, tcp6(t), 0, ErrMalformed, 0},
		{"IPv4 where IPv6 was said", LinkIPv6, tcp4(t), 0, ErrMalformed, 0},
		{"IPv4, header length 16", LinkRaw, edit(tcp4(t), 0, 0x44), 0, ErrMalformed, 0},
		{"IPv4, total length below the header", LinkRaw, edit(tcp4(t), 2, 0, 19), 0, ErrMalformed, 0},
		{"IPv4, header beyond the wire", LinkRaw, edit(tcp4(t), 0, 0x4f)[:30], 0, ErrMalformed, 0},
		{"IPv4 cut", LinkRaw, tcp4(t)[:19], 40, ErrTruncated, 0},
		{"IPv4 options cut", LinkRaw, edit(tcp4(t), 0, 0x46)[:20], 44, ErrTruncated, 4},
		{"IPv6 short", LinkRaw, tcp6(t)[:39], 0, ErrMalformed, 0},
		{"IPv6 cut", LinkRaw, tcp6(t)[:39], 40, ErrTruncated, 0},
		{"IPv6 extension header beyond the payload", LinkRaw, in6(t, 60, []byte{6, 1}, make([]byte, 10)), 0, ErrMalformed, 6},
		{"IPv6 extension header cut", LinkRaw, in6(t, 60, []byte{6, 1}, make([]byte, 14))[:50], 6, ErrTruncated, 6},
		{"TCP short", LinkRaw, in4(t, 6, make([]byte, 19)), 0, ErrMalformed, 4},
		{"TCP very short", LinkRaw, in4(t, 6, make([]byte, 9)), 0, ErrMalformed, 4},
		{"TCP, no ports", LinkRaw, in4(t, 6), 0, ErrMalformed, 4},
		{"TCP, data offset 4", LinkRaw, edit(tcp4(t), 32, 0x40), 0, ErrMalformed, 4},
		{"TCP, data offset beyond the segment", LinkRaw, edit(tcp4(t), 32, 0xf0), 0, ErrMalformed, 4},
		{"TCP cut before the flags", LinkRaw, tcp4(t)[:33], 31, ErrTruncated, 4},
		{"UDP, length 7", LinkRaw, edit(udp, 24, 0, 7), 0, ErrMalformed, 4},
		{"UDP, length beyond the packet", LinkRaw, edit(udp, 24, 0, 10), 0, ErrMalformed, 4},
		{"UDP short", LinkRaw, in4(t, 17, make([]byte, 7)), 0, ErrMalformed, 4},
		{"UDP cut", LinkRaw, udp[:27], 2, ErrTruncated, 4},
		{"ICMP short", LinkRaw, in4(t, 1, make([]byte, 7)), 0, ErrMalformed, 4},
		{"ICMP cut", LinkRaw, icmp[:27], 1, ErrTruncated, 4},
		{"inner TCP short", LinkRaw, in6(t, 4, in4(t, 6, make([]byte, 19))), 0, ErrMalformed, 4},
		{"inner IP cut", LinkRaw, in6(t, 4, tcp4(t))[:50], 54, ErrTruncated, 6},
		{"GRE cut", LinkRaw, in4(t, 47, make([]byte, 30))[:22], 28, ErrTruncated, 4},
	} {
		f := frame(tt.link, tt.data)
		f.Wire += tt.more
		got, err := decode(t, f)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
			continue
		}
		want := Packet{Version: tt.version, TTL: got.TTL, IPID: got.IPID, EtherType: got.EtherType}
		switch tt.version {
		case 4:
			want.Src, want.Dst = wantTCP4().Src, wantTCP4().Dst
		case 6:
			want.Src, want.Dst = wantTCP6().Src, wantTCP6().Dst
		}
		want.Src.Port, want.Dst.Port = 0, 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
	}
}

// A snaplen takes payload and options away, and at last the header, but it
// changes nothing that is still told.
func TestSnaplenChangesNothingElse(t *testing.T) {
	for _, tt := range []struct {
		data   []byte
		header int // up to the byte with the flags
		opts   int // up to the end of the options
	}{
		{tcp4(t), 20 + 14, 20 + 32},
		{tcp6(t), 40 + 14, 40 + 32},
		{in6(t, 60, []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp6(t)[40:]), 48 + 14, 48 + 32},
	} {
		whole, err := decode(t, frame(LinkRaw, tt.data))
		if err != nil {
			t.Fatal(err)
		}
		for n := range tt.data {
			f := frame(LinkRaw, tt.data[:n:n])
			f.Wire = len(tt.data)
			got, err := decode(t, f)
			if n < tt.header {
				if err != ErrTruncated || got.Proto != ProtoNone || got.Src.Port != 0 {
					t.Errorf("%d bytes: %v, %v, error %v", n, got.Proto, got.Src, err)
				}
				continue
			}
			want := whole
			want.Payload = nil
			if n >= tt.opts {
				want.Payload = whole.Payload[:n-tt.opts]
			} else {
				s := &want.Segment
				s.Opts, s.TSVal, s.TSEcr = 0, 0, 0
				if n < tt.header+6 {
					s.Urgent = 0
				}
				if n < tt.header+2 {
					s.Window = 0
				}
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%d bytes: error %v (-want +got)\n%s", n, err, diff)
			}
		}
	}
}

func TestLengths(t *testing.T) {
	tcp := func(length uint16) []byte {
		b := tcp4(t)
		binary.BigEndian.PutUint16(b[2:], length)
		return b
	}
	tcpV6 := func(length uint16) []byte {
		b := tcp6(t)
		binary.BigEndian.PutUint16(b[4:], length)
		return b
	}
	// RFC 2675: a hop-by-hop header with the option, the payload length zero.
	jumbo := func(length uint32, data int) []byte {
		b := in6(t, 0, []byte{6, 0, 0xc2, 4}, u32(length), tcp6(t)[40:72], make([]byte, data))
		binary.BigEndian.PutUint16(b[4:], 0)
		return b
	}
	// The same with other options, or none.
	hopByHop := func(options ...byte) []byte {
		b := in6(t, 0, []byte{6, byte((len(options)+2)/8 - 1)}, options, tcp6(t)[40:])
		binary.BigEndian.PutUint16(b[4:], 0)
		return b
	}
	udp := func(length uint16) []byte {
		b := udp4(t, 53, []byte(hello))
		binary.BigEndian.PutUint16(b[24:], length)
		return b
	}
	for _, tt := range []struct {
		name  string
		data  []byte
		wire  int // if not len(data)
		len   int
		bytes int // of the payload that are there
		err   error
	}{
		{"by the IP length", tcp(64), 0, 12, 12, nil},
		{"the rest is padding", tcp(54), 0, 2, 2, nil},
		{"no payload, padding", tcp(52), 0, 0, 0, nil},
		{"the rest was not captured", tcp(1500), 1500, 1448, 12, nil},
		{"TSO: IP length zero", tcp(0), 0, 12, 12, nil},
		{"TSO: IP length zero, cut", tcp(0), 9052, 9000, 12, nil},
		{"the wire had less than the IP length says", tcp(1500), 0, 12, 12, nil},
		{"captured more than was on the wire", tcp(64), 40, 12, 12, nil},
		{"IPv6", tcpV6(44), 0, 12, 12, nil},
		{"IPv6, padding", tcpV6(33), 0, 1, 1, nil},
		{"IPv6, cut", tcpV6(1440), 1480, 1408, 12, nil},
		{"IPv6, the wire had less", tcpV6(1440), 0, 12, 12, nil},
		{"BIG TCP without an option", tcpV6(0), 200040, 200000 - 32, 12, nil},
		{"jumbogram", jumbo(100000, 99960), 0, 99960, 99960, nil},
		{"jumbogram, cut", jumbo(100000, 10), 100040, 99960, 10, nil},
		{"jumbogram, the wire had less", jumbo(100000, 99), 0, 99, 99, nil},
		{"a jumbogram must be larger than 65,535 bytes", jumbo(65535, 99), 0, 0, 0, ErrMalformed},
		{"a jumbogram of 4 GiB", jumbo(1<<32-1, 99), 0, 0, 0, ErrMalformed},
		{"a jumbogram's option after others", hopByHop(0, 5, 2, 0, 0, 0, 0xc2, 4, 0, 1, 0x86, 0xa0, 0, 0), 100040, 100000 - 16 - 32, 12, nil},
		{"a jumbogram's option of another length", hopByHop(0xc2, 3, 0, 1, 0, 0), 0, 0, 0, ErrMalformed},
		{"a hop-by-hop option beyond the header", hopByHop(5, 9, 0, 0, 0, 0), 0, 0, 0, ErrMalformed},
		{"a hop-by-hop header without the option", hopByHop(1, 4, 0, 0, 0, 0), 0, 12, 12, nil},
		{"a jumbogram, its option not captured", hopByHop(0, 0, 0, 0, 0, 0)[:44], 100040, 0, 0, ErrTruncated},
		{"a jumbogram, half its header captured", hopByHop(make([]byte, 14)...)[:50], 100040, 0, 0, ErrTruncated},
		{"UDP", udp(20), 0, 12, 12, nil},
		{"UDP, shorter than IP says", udp(10), 0, 2, 2, nil},
		{"UDP, length zero", udp(0), 0, 12, 12, nil},
		{"ICMP", in4(t, 1, make([]byte, 20)), 0, 12, 12, nil},
		{"another protocol", in4(t, 89, make([]byte, 12)), 0, 12, 12, nil},
		{"IPv6 without a next header", in6(t, 59, make([]byte, 12)), 0, 12, 12, nil},
		{"nothing after IPv6", cat(in6(t, 59), make([]byte, 6)), 0, 0, 0, nil},
	} {
		f := frame(LinkRaw, tt.data)
		if tt.wire != 0 {
			f.Wire = tt.wire
		}
		got, err := decode(t, f)
		if got.Len != tt.len || len(got.Payload) != tt.bytes || err != tt.err {
			t.Errorf("%s: Len %d, %d bytes of payload, error %v; want %d, %d, %v",
				tt.name, got.Len, len(got.Payload), err, tt.len, tt.bytes, tt.err)
		}
	}
}

func TestFragments(t *testing.T) {
	fragment4 := func(offset uint16, payload []byte) []byte {
		b := in4(t, 6, payload)
		binary.BigEndian.PutUint16(b[6:], offset)
		return b
	}
	fragment6 := func(offset uint16, next byte, payload []byte) []byte {
		return in6(t, 44, []byte{next, 0}, u16(offset), u32(0xabcdef), payload)
	}
	segment, segment6 := tcp4(t)[20:], tcp6(t)[40:]
	const more4, more6 = 0x2000, 1
	for _, tt := range []struct {
		name     string
		data     []byte
		fragment bool
		proto    Proto
		port     uint16
		len      int
		id       uint32
		err      error
	}{
		{"IPv4, whole", fragment4(0, segment), false, ProtoTCP, 80, 12, 4711, nil},
		{"IPv4, don't fragment", fragment4(0x4000, segment), false, ProtoTCP, 80, 12, 4711, nil},
		{"IPv4, first", fragment4(more4, segment[:40]), true, ProtoTCP, 80, 8, 4711, nil},
		{"IPv4, middle", fragment4(more4|5, segment[:40]), true, ProtoNone, 0, 40, 4711, nil},
		{"IPv4, last", fragment4(5, segment[:4]), true, ProtoNone, 0, 4, 4711, nil},
		{"IPv4, first, too short for the header", fragment4(more4, segment[:24]), true, ProtoNone, 0, 0, 4711, ErrTruncated},
		{"IPv4, first, too short for the flags", fragment4(more4, segment[:8]), true, ProtoNone, 0, 0, 4711, ErrTruncated},
		{"IPv6, first", fragment6(more6, 6, segment[:40]), true, ProtoTCP, 80, 8, 0xabcdef, nil},
		{"IPv6, later", fragment6(40|more6, 6, segment[:40]), true, ProtoNone, 0, 40, 0xabcdef, nil},
		{"IPv6, last", fragment6(40, 6, segment[:4]), true, ProtoNone, 0, 4, 0xabcdef, nil},
		{"IPv6, atomic", fragment6(0, 6, segment6), false, ProtoTCP, 80, 12, 0xabcdef, nil},
		{"IPv6, first, headers after it", fragment6(more6, 60, cat([]byte{6, 0, 1, 4, 0, 0, 0, 0}, segment[:40])), true, ProtoTCP, 80, 8, 0xabcdef, nil},
		{"IPv6, first, header chain goes on in the next", fragment6(more6, 60, []byte{6, 1, 1, 4, 0, 0, 0, 0}), true, ProtoNone, 0, 0, 0xabcdef, ErrTruncated},
		{"IPv4 in a fragmented IPv6", fragment6(more6, 4, tcp4(t)[:56]), true, ProtoTCP, 80, 4, 4711, nil},
	} {
		got, err := decode(t, frame(LinkRaw, tt.data))
		if got.Fragment != tt.fragment || got.Proto != tt.proto || got.Dst.Port != tt.port ||
			got.Len != tt.len || got.IPID != tt.id || err != tt.err || got.BadSum || got.Version == 0 || got.Dst.Addr == [16]byte{} {
			t.Errorf("%s: %+v, error %v", tt.name, got, err)
		}
	}
	// A first fragment of UDP has a length that only the whole has.
	b := udp4(t, 53, make([]byte, 100))
	binary.BigEndian.PutUint16(b[2:], 20+8+16)
	binary.BigEndian.PutUint16(b[6:], more4)
	if got, err := decode(t, frame(LinkRaw, b)); err != nil || got.Proto != ProtoUDP || got.Len != 16 || !got.Fragment {
		t.Errorf("UDP, first: %+v, error %v", got, err)
	}
}

func TestExtensionHeaders(t *testing.T) {
	segment := tcp6(t)[40:]
	final := [16]byte{0x20, 1, 0xd, 0xb8, 15: 9}
	options := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	routing := func(kind, left byte, addrs ...[16]byte) []byte {
		b := []byte{6, byte(2 * len(addrs)), kind, left, 0, 0, 0, 0}
		for _, a := range addrs {
			b = append(b, a[:]...)
		}
		return b
	}
	other := [16]byte{15: 1}
	for _, tt := range []struct {
		name  string
		first byte
		chain []byte
		dst   [16]byte
	}{
		{"hop-by-hop", 0, options(6), [16]byte(addr6[1])},
		{"hop-by-hop, destination options, authentication", 0, cat(options(60), options(51), []byte{6, 4}, make([]byte, 22)), [16]byte(addr6[1])},
		{"routing, arrived", 43, routing(0, 0, other, final), [16]byte(addr6[1])},
		{"routing, type 0", 43, routing(0, 2, other, final), final},
		{"routing, type 2", 43, routing(2, 1, final), final},
		{"routing, segments", 43, routing(4, 1, final, other), final},
		{"routing, unknown type", 43, routing(9, 1, other), [16]byte(addr6[1])},
		{"routing, too short for an address", 43, []byte{6, 0, 0, 1, 0, 0, 0, 0}, [16]byte(addr6[1])},
	} {
		want := wantTCP6()
		want.Dst.Addr = tt.dst
		f := frame(LinkRaw, in6(t, tt.first, tt.chain, segment))
		f.Checksums = ChecksumsUnknown // the pseudo-header's destination is not always the segment's
		got, err := decode(t, f)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
}

func TestIPv4Options(t *testing.T) {
	ip, tcp := ip4Layer(layers.IPProtocolTCP), tcpLayer()
	ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	tcp.SetNetworkLayerForChecksum(ip)
	got, err := decode(t, frame(LinkRaw, serialize(t, ip, tcp, gopacket.Payload(hello))))
	if diff := cmp.Diff(wantTCP4(), got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
}

// What looks like a tunnel but has no IP packet inside is what it is outside.
func TestTunnelsThatAreNone(t *testing.T) {
	arp := ether(0x0806, make([]byte, 28))
	inner := ether(0x0800, tcp4(t))
	vxlan := []byte{8, 0, 0, 0, 0, 0, 7, 0}
	bad := slices.Clone(inner)
	bad[14] = 0x44 // header length 16
	for _, tt := range []struct {
		name  string
		data  []byte
		proto Proto
		len   int
	}{
		{"VXLAN without a network identifier", udp4(t, 4789, cat(make([]byte, 8), inner)), ProtoUDP, 8 + len(inner)},
		{"VXLAN with unknown flags", udp4(t, 4789, cat([]byte{0x0c, 0, 0, 0, 0, 0, 7, 0}, inner)), ProtoUDP, 8 + len(inner)},
		{"VXLAN with ARP", udp4(t, 4789, cat(vxlan, arp)), ProtoUDP, 8 + len(arp)},
		{"VXLAN with a bad IP header", udp4(t, 4789, cat(vxlan, bad)), ProtoUDP, 8 + len(bad)},
		{"VXLAN with half a frame", udp4(t, 4789, cat(vxlan, inner[:20])), ProtoUDP, 28},
		{"a short datagram to VXLAN's port", udp4(t, 8472, []byte("hi")), ProtoUDP, 2},
		{"Geneve of version 1", udp4(t, 6081, cat([]byte{0x40, 0, 0x65, 0x58, 0, 0, 7, 0}, inner)), ProtoUDP, 8 + len(inner)},
		{"Geneve with options beyond the end", udp4(t, 6081, []byte{0x3f, 0, 8, 0, 0, 0, 7, 0}), ProtoUDP, 8},
		{"GRE with CDP", in4(t, 47, []byte{0, 0, 0x20, 0, 1, 2, 3}), 47, 7},
		{"GRE keep-alive, empty", in4(t, 47, []byte{0, 0, 0, 0}), 47, 4},
		{"GRE with a source route", in4(t, 47, []byte{0x40, 0, 8, 0, 0, 0, 0, 0}, tcp4(t)), 47, 8 + 64},
		{"GRE of version 1 without PPP", in4(t, 47, []byte{0x20, 1, 8, 0, 0, 0, 0, 0}, tcp4(t)), 47, 8 + 64},
		{"PPTP acknowledgment", in4(t, 47, []byte{0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 9}), 47, 12},
		{"GRE, header beyond the end", in4(t, 47, []byte{0xb0, 0, 8, 0, 0}), 47, 5},
		{"IPv4 that is none", in4(t, 4, tcp6(t)), 4, 84},
		{"IPv6 that is none", in4(t, 41, tcp4(t)), 41, 64},
	} {
		got, err := decode(t, frame(LinkRaw, tt.data))
		want := Packet{
			Version: 4, TTL: 61, IPID: 4711, Proto: tt.proto, Src: wantTCP4().Src, Dst: wantTCP4().Dst,
			Len: tt.len, Payload: tt.data[len(tt.data)-tt.len:],
		}
		want.Src.Port, want.Dst.Port = 0, 0
		if tt.proto == ProtoUDP {
			want.Src.Port, want.Dst.Port = 5353, binary.BigEndian.Uint16(tt.data[22:])
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
	}

	// Also where the snaplen cut the inside off.
	cut := udp4(t, 4789, cat(vxlan, inner))
	f := frame(LinkRaw, cut[:60])
	f.Wire = len(cut)
	if got, err := decode(t, f); err != nil || got.Proto != ProtoUDP || got.Len != 8+len(inner) {
		t.Errorf("VXLAN, cut: %+v, error %v", got, err)
	}
}

// Nesting ends somewhere, and a hostile frame costs no more for it.
func TestNestingIsBounded(t *testing.T) {
	vlans := ether(0x8100, bytes.Repeat([]byte{0, 1, 0x81, 0}, 1000), u16(1), u16(0x0800), tcp4(t))
	if got, err := decode(t, frame(LinkEthernet, vlans)); err != nil || got.Version != 0 || got.EtherType != 0x8100 {
		t.Errorf("1001 VLAN tags: %+v, error %v", got, err)
	}
	frames := bytes.Repeat(ether(0x6558), 1000)
	if got, err := decode(t, frame(LinkEthernet, frames)); err != nil || got.Version != 0 || got.EtherType != 0x6558 {
		t.Errorf("1000 Ethernet headers: %+v, error %v", got, err)
	}
	nested := func(n int) []byte {
		b := tcp4(t)
		for range n {
			b = in4(t, 4, b)
		}
		return b
	}
	if got, err := decode(t, frame(LinkRaw, nested(maxDepth))); err != nil || got.Proto != ProtoTCP {
		t.Errorf("%d tunnels: %+v, error %v", maxDepth, got, err)
	}
	if got, err := decode(t, frame(LinkRaw, nested(maxDepth+1))); err != nil || got.Proto != 4 {
		t.Errorf("%d tunnels: %+v, error %v", maxDepth+1, got, err)
	}
	extensions := func(n int) []byte {
		b := tcp6(t)[40:]
		next := byte(6)
		for range n {
			b = cat([]byte{next, 0, 1, 4, 0, 0, 0, 0}, b)
			next = 60
		}
		return in6(t, next, b)
	}
	if got, err := decode(t, frame(LinkRaw, extensions(maxExtensions))); err != nil || got.Proto != ProtoTCP {
		t.Errorf("%d extension headers: %+v, error %v", maxExtensions, got, err)
	}
	if _, err := decode(t, frame(LinkRaw, extensions(maxExtensions+1))); err != ErrMalformed {
		t.Errorf("%d extension headers: error %v", maxExtensions+1, err)
	}
}
