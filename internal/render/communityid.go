package render

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"

	"finack/decode"
)

// appendCommunityID appends a flow's Community ID, version 1 with seed 0
// (github.com/corelight/community-id-spec): the base64 of a SHA-1 over seed,
// addresses, protocol and ports, the lower endpoint first. For ICMP the type of
// a message and that of its answer are the ports; one that has no answer has its
// type and code, and its addresses stay in order.
func appendCommunityID(dst []byte, proto decode.Proto, src, dest decode.Endpoint, icmpType, icmpCode uint8) []byte {
	ordered := false
	if echo(proto) {
		answer, ok := icmpAnswer(proto, icmpType)
		if !ok {
			answer, ordered = icmpCode, true
		}
		src.Port, dest.Port = uint16(icmpType), uint16(answer)
	}
	if !ordered && src.AddrPort().Compare(dest.AddrPort()) > 0 {
		src, dest = dest, src
	}
	n := 4
	if src.V6 {
		n = 16
	}
	var buf [2 + 16 + 16 + 2 + 4]byte
	m := append(buf[:2], src.Addr[:n]...)
	m = append(m, dest.Addr[:n]...)
	m = append(m, byte(proto), 0)
	m = binary.BigEndian.AppendUint16(m, src.Port)
	m = binary.BigEndian.AppendUint16(m, dest.Port)
	sum := sha1.Sum(m)
	return base64.StdEncoding.AppendEncode(append(dst, "1:"...), sum[:])
}

// icmpAnswer returns the type of the message that answers, or asks for, one of
// the given type.
func icmpAnswer(proto decode.Proto, icmpType uint8) (answer uint8, ok bool) {
	pairs := [...][2]uint8{
		{8, 0},   // echo
		{13, 14}, // timestamp
		{15, 16}, // information
		{10, 9},  // router solicitation
		{17, 18}, // address mask
	}
	pairs6 := [...][2]uint8{
		{128, 129}, // echo
		{133, 134}, // router solicitation
		{135, 136}, // neighbour solicitation
		{130, 131}, // multicast listener query
		{139, 140}, // node information
		{144, 145}, // home agent address discovery
	}
	table := pairs[:]
	if proto == decode.ProtoICMPv6 {
		table = pairs6[:]
	}
	for _, p := range table {
		switch icmpType {
		case p[0]:
			return p[1], true
		case p[1]:
			return p[0], true
		}
	}
	return 0, false
}
