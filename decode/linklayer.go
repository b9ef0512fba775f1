package decode

import "encoding/binary"

// link decodes a frame of link type l.
func (d *Decoder) link(l LinkType, v view, p *Packet) error {
	switch l {
	case LinkEthernet:
		return d.ethernet(v, p)
	case LinkRaw, LinkRaw12, LinkRaw14:
		return d.ip(v, p)
	case LinkIPv4:
		return d.ipv4(v, p)
	case LinkIPv6:
		return d.ipv6(v, p)
	case LinkSLL:
		return d.sll(v, p)
	case LinkSLL2:
		return d.sll2(v, p)
	case LinkNull, LinkLoop:
		return d.loopback(l, v, p)
	case LinkPPP:
		return d.ppp(v, p)
	case LinkARCNET:
		return d.arcnet(v, p)
	case LinkIPoIB:
		return d.ipoib(v, p)
	default:
		return ErrLinkType
	}
}

// ethernet decodes an Ethernet frame (IEEE 802.3) without preamble and FCS.
func (d *Decoder) ethernet(v view, p *Packet) error {
	if len(v.b) < 14 {
		return v.short(14, true)
	}
	return d.etherType(binary.BigEndian.Uint16(v.b[12:]), v.skip(14), p)
}

// llc decodes an IEEE 802.2 header: SNAP with an EtherType (RFC 1042), or IP's
// own service access point (RFC 948). Anything else is not IP.
func (d *Decoder) llc(v view, p *Packet) error {
	b := v.b
	if v.wire() < 3 {
		return nil // EtherType 0, if anything
	}
	if len(b) < 3 {
		return ErrTruncated
	}
	const unnumbered = 0x03 // UI
	switch {
	case b[0] == 0xaa && b[1] == 0xaa && b[2] == unnumbered:
		if len(b) < 8 {
			return v.short(8, true)
		}
		t := binary.BigEndian.Uint16(b[6:])
		// Organization 0 says that an EtherType follows, 0x0000f8 that a bridge
		// has made it so (IEEE 802.1H); others number their protocols themselves.
		if b[3] == 0 && b[4] == 0 && (b[5] == 0 || b[5] == 0xf8) && t >= etherTypeFirst {
			return d.etherType(t, v.skip(8), p)
		}
	case b[0] == 0x06 && b[1] == 0x06 && b[2] == unnumbered:
		return d.ipv4(v.skip(3), p)
	}
	return nil
}

// loopback decodes an address family (BSD's, for which every system has its
// own AF_INET6) and what it names. LINKTYPE_NULL has it in the capturing host's
// byte order, LINKTYPE_LOOP in the network's.
func (d *Decoder) loopback(l LinkType, v view, p *Packet) error {
	if len(v.b) < 4 {
		return v.short(4, true)
	}
	family := binary.BigEndian.Uint32(v.b)
	if l == LinkNull && family > 0xffff {
		family = binary.LittleEndian.Uint32(v.b)
	}
	switch family {
	case 2:
		return d.ipv4(v.skip(4), p)
	case 10, 24, 28, 30: // Linux; NetBSD and OpenBSD; FreeBSD; macOS
		return d.ipv6(v.skip(4), p)
	default:
		return nil
	}
}

// sll decodes a Linux cooked header (LINKTYPE_LINUX_SLL).
func (d *Decoder) sll(v view, p *Packet) error {
	if len(v.b) < 16 {
		return v.short(16, true)
	}
	b := v.b[:16]
	packetType, hardware := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if p.Dir == DirUnknown && packetType <= 0xff {
		p.Dir = direction(byte(packetType))
	}
	return d.cooked(hardware, binary.BigEndian.Uint16(b[14:]), v.skip(16), p)
}

// sll2 decodes a Linux cooked header of version 2 (LINKTYPE_LINUX_SLL2). It
// knows the interface better than the frame does: a file of `tcpdump -i any`
// has one interface for all.
func (d *Decoder) sll2(v view, p *Packet) error {
	if len(v.b) < 20 {
		return v.short(20, true)
	}
	b := v.b[:20]
	p.Iface = binary.BigEndian.Uint32(b[4:])
	if p.Dir == DirUnknown {
		p.Dir = direction(b[10])
	}
	return d.cooked(binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b), v.skip(20), p)
}

// direction translates packet(7)'s sll_pkttype.
func direction(packetType byte) Direction {
	switch packetType {
	case 0, 1, 2: // PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST
		return DirInbound
	case 3: // PACKET_OTHERHOST
		return DirOther
	case 4: // PACKET_OUTGOING
		return DirOutbound
	default:
		return DirUnknown
	}
}

// cooked decodes what a cooked header's protocol field t names. It is an
// EtherType unless the hardware type (an ARPHRD_ value) gives it another meaning.
func (d *Decoder) cooked(hardware, t uint16, v view, p *Packet) error {
	switch {
	case !hasEtherType(hardware):
		return nil
	case t == 0x0004: // LINUX_SLL_P_802_2
		return d.llc(v, p)
	case t < etherTypeFirst: // a number of Linux's own: Novell's raw 802.3, CAN
		return nil
	}
	return d.etherType(t, v, p)
}

// hasEtherType reports whether a cooked header's protocol field is an EtherType
// or a number of Linux's own, which depends on the hardware type.
func hasEtherType(hardware uint16) bool {
	switch hardware {
	case 770, 803, 824: // FRAD, IEEE80211_RADIOTAP; NETLINK: a netlink family
		return false
	}
	return true
}

// arcnet decodes ARCNET as Linux delivers it (LINKTYPE_ARCNET_LINUX): source,
// destination, two bytes of offset, the protocol; and, but for RFC 1051's
// protocols, RFC 1201's split flag and sequence number.
func (d *Decoder) arcnet(v view, p *Packet) error {
	if len(v.b) < 5 {
		return v.short(5, true)
	}
	protocol := v.b[4]
	v = v.skip(5)
	switch protocol {
	case 0xf0: // IP, RFC 1051
		return d.ipv4(v, p)
	case 0xf1: // ARP, RFC 1051
		p.EtherType = etherARP
		return nil
	case 0xd4, 0xd5, 0xc4: // IP and ARP, RFC 1201; IPv6, RFC 2497
	default:
		return nil
	}
	if len(v.b) < 3 {
		return v.short(3, true)
	}
	n := 3
	if v.b[0] == 0xff { // an exception packet: padding, then flag and number again
		n = 7
	}
	if len(v.b) < n {
		return v.short(n, true)
	}
	// An odd flag opens a split packet and counts the rest, which are even.
	split := v.b[n-3]
	v = v.skip(n)
	switch {
	case protocol == 0xd5:
		p.EtherType = etherARP
		return nil
	case split != 0 && split&1 == 0:
		return nil
	case protocol == 0xc4:
		return d.ipv6(v, p)
	default:
		return d.ipv4(v, p)
	}
}

// ipoib decodes IP over InfiniBand (LINKTYPE_IPOIB): 40 bytes of InfiniBand
// addressing, then RFC 4391's header: an EtherType and two reserved bytes.
func (d *Decoder) ipoib(v view, p *Packet) error {
	if len(v.b) < 44 {
		return v.short(44, true)
	}
	return d.etherType(binary.BigEndian.Uint16(v.b[40:]), v.skip(44), p)
}

// The PPP protocols that lead to an IP header (IANA, "PPP Numbers").
const (
	pppIPv4   = 0x0021
	pppIPv6   = 0x0057
	pppMPLS   = 0x0281
	pppMPLSMc = 0x0283
)

// ppp decodes a PPP frame, with or without RFC 1662's address and control bytes.
func (d *Decoder) ppp(v view, p *Packet) error {
	if len(v.b) >= 2 && v.b[0] == 0xff && v.b[1] == 0x03 {
		v = v.skip(2)
	}
	if len(v.b) < 1 {
		return v.short(1, true)
	}
	// A protocol's first byte is even and its last one odd, so that a first
	// byte of zero may be left out (RFC 1661 section 6.5).
	protocol, n := uint16(v.b[0]), 1
	if protocol&1 == 0 {
		if len(v.b) < 2 {
			return v.short(2, true)
		}
		protocol, n = binary.BigEndian.Uint16(v.b), 2
	}
	switch v = v.skip(n); protocol {
	case pppIPv4:
		return d.ipv4(v, p)
	case pppIPv6:
		return d.ipv6(v, p)
	case pppMPLS, pppMPLSMc:
		return d.mpls(v, p)
	default:
		return nil
	}
}

// pppoe decodes a PPPoE session packet (RFC 2516).
func (d *Decoder) pppoe(v view, p *Packet) error {
	if !d.enter() {
		return nil
	}
	if len(v.b) < 6 {
		return v.short(6, true)
	}
	if v.b[0] != 0x11 { // version 1, type 1
		return ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(v.b[4:]))
	v = v.skip(6)
	return d.ppp(v.limit(min(n, v.wire())), p)
}

// mpls decodes what follows an MPLS label stack (RFC 3032). No label says what
// that is: an IP header is recognised by its version, and what turns out not
// to be one is a pseudowire's content (RFC 4928).
func (d *Decoder) mpls(v view, p *Packet) error {
	if !d.enter() {
		return nil
	}
	for range maxLabels {
		if len(v.b) < 4 {
			return v.short(4, true)
		}
		bottom := v.b[2]&1 != 0
		v = v.skip(4)
		if !bottom {
			continue
		}
		if err := d.ip(v, p); p.Version != 0 || err == ErrTruncated {
			return err
		}
		return nil
	}
	return nil
}
