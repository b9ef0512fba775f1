package pcapfilter

import "fmt"

// Offsets that Linux takes for ancillary data and for the network and link
// headers wherever they are (linux/filter.h).
const (
	skfAdOff  = 0xfffff000
	skfNetOff = 0xfff00000
	skfLLOff  = 0xffe00000

	skfAdProtocol = skfAdOff + 0
	skfAdPktType  = skfAdOff + 4
	skfAdHatype   = skfAdOff + 28
)

// maxIndex bounds a byte's offset in a header: beyond any packet, and small
// enough that a SKF_NET_OFF offset never runs into another range.
const maxIndex = 0x7ffff

const packetOutgoing = 4 // PACKET_OUTGOING of packet(7), also in SLL headers

type linkKind uint8

const (
	linkLive   linkKind = iota // a packet(7) socket
	linkEther                  // EtherType or 802.3 length
	linkCooked                 // EtherType or a Linux protocol number
	linkIPoIB                  // EtherType
	linkRaw                    // the IP version tells
	linkIPv4
	linkIPv6
	linkFamily // BSD address family
	linkPPP
	linkARCNET
)

// layout says where things are in the frames of one link type.
type layout struct {
	kind     linkKind
	link     uint32 // offset of the link header
	net      uint32 // offset of the network header
	protoOff uint32 // offset of the link header's protocol field
	dirOff   uint32 // of the packet type, for linkCooked
	dirOp    uint16 // loads it
	swapped  bool   // linkFamily: the family may be in either byte order
}

// layoutOf returns the layout of a LINKTYPE_ value.
func layoutOf(linkType uint16) (*layout, bool) {
	switch linkType {
	case 0: // NULL: the capturing host's byte order
		return &layout{kind: linkFamily, net: 4, swapped: true}, true
	case 1: // ETHERNET
		return &layout{kind: linkEther, net: 14, protoOff: 12}, true
	case 9: // PPP, with address and control bytes as tcpdump expects it
		return &layout{kind: linkPPP, net: 4, protoOff: 2}, true
	case 12, 14, 101: // RAW
		return &layout{kind: linkRaw}, true
	case 108: // LOOP: network byte order
		return &layout{kind: linkFamily, net: 4}, true
	case 113: // LINUX_SLL
		return &layout{kind: linkCooked, net: 16, protoOff: 14, dirOff: 0, dirOp: opLdH}, true
	case 129: // ARCNET_LINUX
		return &layout{kind: linkARCNET, net: 8, protoOff: 4}, true
	case 228: // IPV4
		return &layout{kind: linkIPv4}, true
	case 229: // IPV6
		return &layout{kind: linkIPv6}, true
	case 242: // IPOIB: 40 bytes of addresses, then RFC 4391's header
		return &layout{kind: linkIPoIB, net: 44, protoOff: 40}, true
	case 276: // LINUX_SLL2
		return &layout{kind: linkCooked, net: 20, protoOff: 0, dirOff: 10, dirOp: opLdB}, true
	}
	return nil, false
}

// linkProto tests the protocol that the link header names: an EtherType, or an
// LLC service access point where it is at most 1500.
func (g *gen) linkProto(proto uint32, t, f label) {
	l := g.layout
	switch l.kind {
	case linkIPv4:
		g.jumpIf(proto == etherIPv4, t, f)
	case linkIPv6:
		g.jumpIf(proto == etherIPv6, t, f)
	case linkRaw:
		switch proto {
		case etherIPv4:
			g.version(4, t, f)
		case etherIPv6:
			g.version(6, t, f)
		default:
			g.jump(f)
		}
	case linkFamily:
		var families []uint32
		switch proto {
		case etherIPv4:
			families = []uint32{2}
		case etherIPv6:
			families = []uint32{24, 28, 30} // NetBSD and OpenBSD, FreeBSD, macOS
		}
		if l.swapped {
			for _, fam := range families {
				families = append(families, fam<<24)
			}
		}
		g.equalAny(opLdW, 0, families, t, f)
	case linkPPP:
		g.equalAny(opLdH, l.protoOff, []uint32{pppProto(proto)}, t, f)
	case linkARCNET:
		g.equalAny(opLdB, l.protoOff, arcnetTypes(proto), t, f)
	case linkLive:
		g.etherType(opLdW, skfAdProtocol, proto, t, f)
	default:
		g.etherType(opLdH, l.protoOff, proto, t, f)
	}
}

// version tests the IP version in a packet's first byte, without changing A.
func (g *gen) version(v uint32, t, f label) {
	atLeast := g.newLabel()
	g.emit(opLdB, g.layout.net)
	g.branch(opJge, v<<4, atLeast, f)
	g.bind(atLeast)
	g.branch(opJge, (v+1)<<4, f, t)
}

// etherType tests a protocol field that holds an EtherType or else announces
// an 802.2 header.
func (g *gen) etherType(op uint16, off, proto uint32, t, f label) {
	if proto > maxLength {
		g.equalAny(op, off, []uint32{proto}, t, f)
		return
	}
	if g.layout.kind == linkIPoIB {
		g.jump(f)
		return
	}
	llc := g.newLabel()
	g.emit(op, off)
	if g.layout.kind == linkEther {
		g.branch(opJgt, maxLength, f, llc)
	} else {
		const p8022 = 4 // ETH_P_802_2 of linux/if_ether.h
		g.branch(opJeq, p8022, llc, f)
	}
	g.bind(llc)
	switch proto {
	case sapIP, sapISO, sapNetBEUI:
		g.equalAny(opLdH, g.layout.net, []uint32{proto<<8 | proto}, t, f) // DSAP and SSAP
	default:
		g.equalAny(opLdB, g.layout.net, []uint32{proto}, t, f) // DSAP
	}
}

// pppProto returns PPP's number of an EtherType or SAP.
func pppProto(proto uint32) uint32 {
	switch proto {
	case etherIPv4:
		return 0x0021
	case etherIPv6:
		return 0x0057
	case 0x6003: // DECnet
		return 0x0027
	case sapISO:
		return 0x0023
	case sapSTP:
		return 0x0031
	}
	return proto
}

// arcnetTypes returns ARCNET's packet types (RFC 1201, and RFC 1051's older
// ones) of an EtherType.
func arcnetTypes(proto uint32) []uint32 {
	switch proto {
	case etherIPv4:
		return []uint32{212, 240}
	case etherIPv6:
		return []uint32{196}
	case etherARP:
		return []uint32{213, 241}
	case etherRARP:
		return []uint32{214}
	}
	return nil
}

// onEthernet goes on where frames have an Ethernet header and to f where a
// live frame has none; a file's link type without one is an error.
func (g *gen) onEthernet(tok token, f label) {
	switch g.layout.kind {
	case linkEther:
	case linkLive:
		const ether, loopback = 1, 772 // ARPHRD_ETHER, ARPHRD_LOOPBACK
		ok := g.newLabel()
		g.equalAny(opLdW, skfAdHatype, []uint32{ether, loopback}, ok, f)
		g.bind(ok)
	default:
		g.fail(tok, "frames of this link type have no Ethernet addresses")
	}
}

// outgoing tests whether this host sent the frame.
func (g *gen) outgoing(tok token, t, f label) {
	switch g.layout.kind {
	case linkLive:
		g.equalAny(opLdW, skfAdPktType, []uint32{packetOutgoing}, t, f)
	case linkCooked:
		g.equalAny(g.layout.dirOp, g.layout.dirOff, []uint32{packetOutgoing}, t, f)
	default:
		g.fail(tok, "frames of this link type do not tell their direction")
	}
}

// fail records the first error of the generation.
func (g *gen) fail(tok token, msg string) {
	if g.err == nil {
		g.err = fmt.Errorf("compile filter: %w", &SyntaxError{g.expr, tok.word, tok.off, msg})
	}
}
