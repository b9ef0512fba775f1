package decode

import (
	"net/netip"
	"strconv"
)

// Proto is an IP protocol number. Zero (HOPOPT, never a final header) stands
// for "no transport header here": ARP, a later fragment, an unknown ethertype.
type Proto uint8

// The protocols that Decode looks into.
const (
	ProtoNone   Proto = 0
	ProtoICMP   Proto = 1
	ProtoTCP    Proto = 6
	ProtoUDP    Proto = 17
	ProtoICMPv6 Proto = 58
)

// String returns "TCP", "UDP", "ICMP", "ICMPv6", "none" or the number.
func (p Proto) String() string {
	switch p {
	case ProtoNone:
		return "none"
	case ProtoICMP:
		return "ICMP"
	case ProtoTCP:
		return "TCP"
	case ProtoUDP:
		return "UDP"
	case ProtoICMPv6:
		return "ICMPv6"
	default:
		return "proto " + strconv.Itoa(int(p))
	}
}

// Endpoint is an address and a port as fixed bytes: a comparable value without
// a pointer, cheaper as part of a key than netip.AddrPort.
type Endpoint struct {
	Addr [16]byte // IPv4 in the first four bytes, the rest zero
	Port uint16
	V6   bool
}

// AddrPort returns e as the standard library's type.
func (e Endpoint) AddrPort() netip.AddrPort {
	if e.V6 {
		return netip.AddrPortFrom(netip.AddrFrom16(e.Addr), e.Port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.Addr[:4])), e.Port)
}

// String returns "10.0.0.1:80" or "[::1]:80".
func (e Endpoint) String() string { return e.AddrPort().String() }

// AppendTo appends String's text to dst.
func (e Endpoint) AppendTo(dst []byte) []byte { return e.AddrPort().AppendTo(dst) }

// EndpointOf returns ap as an Endpoint; a zone is dropped. An IPv4-mapped IPv6
// address stays IPv6, as it was on the wire.
func EndpointOf(ap netip.AddrPort) Endpoint {
	e := Endpoint{Port: ap.Port()}
	if ap.Addr().Is4() {
		a := ap.Addr().As4()
		copy(e.Addr[:], a[:])
		return e
	}
	e.Addr, e.V6 = ap.Addr().As16(), true
	return e
}

// Flags are TCP's control bits (RFC 9293 section 3.1), FIN the lowest; bit 8
// is AE, RFC 9768's new name of NS.
type Flags uint16

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Any reports whether one of want is set.
func (f Flags) Any(want Flags) bool { return f&want != 0 }

// Segment is a TCP header.
type Segment struct {
	Seq    uint32 // SEG.SEQ
	Ack    uint32 // SEG.ACK, meaningful with ACK set
	Flags  Flags
	Window uint16 // SEG.WND as sent, before scaling
	Urgent uint16

	// Options; which of them were there is in Opts.
	Opts   Options
	MSS    uint16
	WScale uint8  // shift count, RFC 7323
	TSVal  uint32 // timestamps option, RFC 7323
	TSEcr  uint32
	SACK   [2]uint32 // the first block's edges, RFC 2018; of what came twice where it is below Ack, RFC 2883
}

// Options tells which TCP options a segment carries.
type Options uint8

// The options that Decode looks at.
const (
	OptMSS Options = 1 << iota
	OptWScale
	OptSACKPermitted
	OptSACK
	OptTimestamps
	OptFastOpen // RFC 7413, also its experimental form
	OptMPTCP
	OptBad // an option's length is impossible: what follows it was not read
)

// ICMP is an ICMP or ICMPv6 header and, for an error, what it quotes.
type ICMP struct {
	Type, Code uint8
	ID, Seq    uint16 // of an echo request or reply
	Echo       bool   // an echo request or reply, so that ID and Seq are set
	Error      bool   // an error message, so that the quoted fields below may be set

	// The quoted packet's transport header as far as it is there: QuotedProto
	// is ProtoNone when it is not.
	QuotedProto Proto
	QuotedSrc   Endpoint
	QuotedDst   Endpoint
	QuotedSeq   uint32 // TCP only
	QuotedID    uint16 // of an echo request or reply
}

// Packet is what one frame says. Decode sets every field anew. Payload refers
// to the frame's bytes and lives as long as they do; everything else is a copy.
type Packet struct {
	Time      Timestamp
	Dir       Direction
	Iface     uint32
	Proto     Proto
	Version   uint8 // of the innermost IP header: 4, 6, or 0 where there is none
	TTL       uint8 // or hop limit
	Fragment  bool  // part of a fragmented packet: the first when Proto is set, a later one when it is ProtoNone
	BadSum    bool  // the transport checksum is wrong although the capture says that it is complete
	IPID      uint32
	Src, Dst  Endpoint // ports are zero where the protocol has none
	Segment   Segment  // for ProtoTCP
	ICMP      ICMP     // for ProtoICMP and ProtoICMPv6
	Len       int      // payload bytes by the IP length, whatever the snaplen left of them
	Payload   []byte   // the captured part of the payload
	EtherType uint16   // of a frame without an IP header (Version 0), where the link tells it
}

// SeqLen returns SEG.LEN: payload bytes, SYN and FIN counted (RFC 9293 section 3.4).
func (p *Packet) SeqLen() uint32 {
	n := uint32(p.Len)
	if p.Segment.Flags.Any(SYN) {
		n++
	}
	if p.Segment.Flags.Any(FIN) {
		n++
	}
	return n
}
