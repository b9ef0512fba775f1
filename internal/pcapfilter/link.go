package pcapfilter

import "fmt"

// Offsets that Linux takes for ancillary data and for the network and link
// headers wherever they are (linux/filter.h).
const (
	skfAdOff  = 0xfffff000
	skfNetOff = 0xfff00000
	skfLLOff  = 0xffe00000

	skfAdProtocol       = skfAdOff + 0
	skfAdPktType        = skfAdOff + 4
	skfAdIfindex        = skfAdOff + 8
	skfAdHatype         = skfAdOff + 28
	skfAdVLANTag        = skfAdOff + 44
	skfAdVLANTagPresent = skfAdOff + 48 // 0 or 1
	skfAdVLANTPID       = skfAdOff + 60
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

// place is an offset in a frame: a constant and, behind what has no fixed
// length, the value of a scratch cell.
type place struct {
	off  uint32
	cell uint32 // 0: none
}

func (p place) plus(n uint32) place  { return place{p.off + n, p.cell} }
func (p place) minus(n uint32) place { return place{p.off - n, p.cell} }

// layout says where things are in the frames of one link type. An encapsulation
// (vlan, mpls, pppoes, geneve) changes it for all that follows in the expression.
type layout struct {
	kind    linkKind
	live    bool
	link    place  // the link header
	proto   place  // its protocol field; live it is not in the frame
	payload place  // what follows the link header: 802.2's, where there is one
	net     place  // the network header
	llc     uint32 // length of an 802.2 header
	swapped bool   // linkFamily: the family may be in either byte order
	labels  bool   // inside MPLS
	geneve  bool   // inside Geneve, perhaps without an Ethernet header

	// linkCooked's packet type and, if it is there, the interface's index.
	dir   place
	dirOp uint16
	index place
}

// fixed returns a layout without anything of variable length.
func fixed(kind linkKind, proto, net uint32) *layout {
	l := &layout{kind: kind, proto: place{off: proto}, payload: place{off: net}, net: place{off: net}}
	if kind == linkEther || kind == linkCooked {
		l.llc = 3
	}
	return l
}

// liveLayout is that of packet(7) sockets of any type.
func liveLayout() *layout {
	l := fixed(linkLive, 0, skfNetOff)
	l.live, l.link.off, l.llc = true, skfLLOff, 3
	return l
}

// layoutOf returns the layout of a LINKTYPE_ value.
func layoutOf(linkType uint16) (*layout, bool) {
	switch linkType {
	case 0: // NULL: the capturing host's byte order
		l := fixed(linkFamily, 0, 4)
		l.swapped = true
		return l, true
	case 1: // ETHERNET
		return fixed(linkEther, 12, 14), true
	case 9: // PPP, with address and control bytes as tcpdump expects it
		return fixed(linkPPP, 2, 4), true
	case 12, 14, 101: // RAW
		return fixed(linkRaw, 0, 0), true
	case 108: // LOOP: network byte order
		return fixed(linkFamily, 0, 4), true
	case 113: // LINUX_SLL
		l := fixed(linkCooked, 14, 16)
		l.dir, l.dirOp = place{off: 0}, opLdH
		return l, true
	case 129: // ARCNET_LINUX
		return fixed(linkARCNET, 4, 8), true
	case 228: // IPV4
		return fixed(linkIPv4, 0, 0), true
	case 229: // IPV6
		return fixed(linkIPv6, 0, 0), true
	case 242: // IPOIB: 40 bytes of addresses, then RFC 4391's header
		return fixed(linkIPoIB, 40, 44), true
	case 276: // LINUX_SLL2
		l := fixed(linkCooked, 0, 20)
		l.dir, l.dirOp, l.index = place{off: 10}, opLdB, place{off: 4}
		return l, true
	}
	return nil, false
}

// linkProto tests the protocol that the link header names: an EtherType, or an
// LLC service access point where it is at most 1500.
func (g *gen) linkProto(proto uint32, t, f label) {
	if g.labels {
		g.underMPLS(proto, t, f)
		return
	}
	switch g.kind {
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
		if g.swapped {
			for _, fam := range families {
				families = append(families, fam<<24)
			}
		}
		g.equalAny(opLdW, g.link, families, t, f)
	case linkPPP:
		g.equalAny(opLdH, g.proto, []uint32{pppProto(proto)}, t, f)
	case linkARCNET:
		g.equalAny(opLdB, g.proto, arcnetTypes(proto), t, f)
	default:
		g.etherType(proto, t, f)
	}
}

// version tests the IP version in a packet's first byte, without changing A.
func (g *gen) version(v uint32, t, f label) {
	atLeast := g.newLabel()
	g.load(opLdB, g.net)
	g.branch(opJge, v<<4, atLeast, f)
	g.bind(atLeast)
	g.branch(opJge, (v+1)<<4, f, t)
}

// loadProto loads the protocol field into A. Live it is what it was before the
// kernel took the outer VLAN tag out of the frame (see prelude).
func (g *gen) loadProto() {
	if g.kind == linkLive {
		g.emit(opLdMem, g.reserve(&g.protoCell))
	} else {
		g.load(opLdH, g.proto)
	}
}

// isType tests a protocol field for an EtherType.
func (g *gen) isType(etherType uint32, t, f label) {
	g.loadProto()
	g.branch(opJeq, etherType, t, f)
}

// etherType tests a protocol field that holds an EtherType or else announces
// an 802.2 header.
func (g *gen) etherType(proto uint32, t, f label) {
	switch {
	case g.kind == linkIPoIB:
		if proto <= maxLength {
			g.jump(f)
			return
		}
	case proto == sapIPX:
		g.ipx(t, f)
		return
	case proto == etherAppleTalk, proto == etherAARP:
		g.appleTalk(proto, t, f)
		return
	case proto <= maxLength:
		g.sap(proto, t, f)
		return
	}
	g.isType(proto, t, f)
}

// pppProto returns PPP's number of an EtherType or SAP.
func pppProto(proto uint32) uint32 {
	switch proto {
	case etherIPv4:
		return 0x0021
	case etherIPv6:
		return 0x0057
	case etherDECnet:
		return 0x0027
	case etherAppleTalk:
		return 0x0029
	case etherNS:
		return 0x0025
	case sapISO:
		return 0x0023
	case sapSTP:
		return 0x0031
	case sapIPX:
		return 0x002b
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
	case etherAppleTalk:
		return []uint32{221}
	}
	return nil
}

// onEthernet goes on where frames have an Ethernet header and to f where a
// live frame or the payload of Geneve has none; a file's link type without one
// is an error.
func (g *gen) onEthernet(tok token, f label) {
	ok := g.newLabel()
	switch {
	case g.geneve && g.kind == linkEther:
		// The link header is empty, then.
		g.emit(opLdMem, g.link.cell)
		g.emit(opLdxMem, g.payload.cell)
		g.branch(opJeq|srcX, 0, f, ok)
	case g.live && (g.kind == linkLive || g.kind == linkEther):
		const ether, loopback = 1, 772 // ARPHRD_ETHER, ARPHRD_LOOPBACK
		g.equalAny(opLdW, place{off: skfAdHatype}, []uint32{ether, loopback}, ok, f)
	case g.kind == linkEther:
		return
	default:
		g.fail(tok, "frames of this link type have no Ethernet addresses")
		return
	}
	g.bind(ok)
}

// outgoing tests whether this host sent the frame.
func (g *gen) outgoing(tok token, t, f label) {
	switch {
	case g.live:
		g.equalAny(opLdW, place{off: skfAdPktType}, []uint32{packetOutgoing}, t, f)
	case g.kind == linkCooked:
		g.equalAny(g.dirOp, g.dir, []uint32{packetOutgoing}, t, f)
	default:
		g.fail(tok, "frames of this link type do not tell their direction")
	}
}

// onInterface tests the index of the interface.
func (g *gen) onInterface(tok token, index uint32, t, f label) {
	switch {
	case g.live:
		g.equalAny(opLdW, place{off: skfAdIfindex}, []uint32{index}, t, f)
	case g.kind == linkCooked && g.index.off != 0:
		g.equalAny(opLdW, g.index, []uint32{index}, t, f)
	default:
		g.fail(tok, "frames of this link type do not tell their interface")
	}
}

// fail records the first error of the generation.
func (g *gen) fail(tok token, msg string) {
	if g.err == nil {
		g.err = fmt.Errorf("compile filter: %w", &SyntaxError{g.expr, tok.word, tok.off, msg})
	}
}
