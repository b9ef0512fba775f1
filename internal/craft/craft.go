// Package craft builds IP packets by hand, field by field: TCP segments with
// any flags and options, UDP datagrams, ICMP echoes and any other protocol,
// with checksums that are right unless something else is asked for.
//
// Every Append function appends one whole packet, IP header first, to dst and
// returns the longer slice, which the caller owns; on an error dst comes back
// as it was. Nothing is allocated where dst has room. Payloads are copied; they
// must not lie in that room.
package craft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"finack/decode"
)

// Sum says which checksum a header gets.
type Sum uint8

// The checksums.
const (
	SumRight Sum = iota // the right one
	SumWrong            // neither the right one nor zero
	SumZero             // zero: of UDP over IPv4, "none was computed" (RFC 768)
)

// IP is what both versions' headers are made of: RFC 791 section 3.1, RFC 8200
// section 3. The addresses decide the version; both are of the same one, and
// an IPv4-mapped address is IPv6.
type IP struct {
	Src, Dst  netip.Addr
	TTL       uint8  // time to live, hop limit; zero: 64
	ZeroTTL   bool   // TTL's zero is meant
	TOS       uint8  // DSCP and ECN: type of service, traffic class
	ID        uint16 // identification; IPv4 only
	DF        bool   // don't fragment; IPv4 only
	FlowLabel uint32 // the low 20 bits; IPv6 only
	Sum       Sum    // of the header; IPv4 only
}

// TCP is a segment's header (RFC 9293 section 3.1).
type TCP struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            decode.Flags
	Window           uint16 // as sent, before scaling
	Urgent           uint16
	Reserved         uint8 // the three bits between the data offset and AE
	Options          Options
	Tail             string // bytes behind the options, for what no option can say
	Sum              Sum
}

// UDP is a datagram's header (RFC 768).
type UDP struct {
	SrcPort, DstPort uint16
	Sum              Sum
}

// ICMP is the header of an ICMP or ICMPv6 message (RFC 792, RFC 4443 section
// 2.1); which of the two the addresses decide.
type ICMP struct {
	Type, Code uint8
	Rest       uint32 // the four bytes behind the checksum
	Sum        Sum
}

// Echo is the header of an ICMP or ICMPv6 echo message (RFC 792, RFC 4443
// section 4); which of the two the addresses decide.
type Echo struct {
	Reply   bool // an echo reply; otherwise a request
	ID, Seq uint16
	Sum     Sum
}

const (
	header4 = 20 // bytes of an IPv4 header without options
	header6 = 40 // bytes of an IPv6 header
	maxIP   = 65535

	defaultTTL = 64 // RFC 1700; also Linux's default

	protoICMP   = uint8(decode.ProtoICMP)
	protoTCP    = uint8(decode.ProtoTCP)
	protoUDP    = uint8(decode.ProtoUDP)
	protoICMPv6 = uint8(decode.ProtoICMPv6)
)

// What an Append function refuses.
var (
	ErrAddress = errors.New("source and destination must be addresses of the same IP version")
	ErrTooLong = errors.New("packet is longer than an IP length field can say")
	ErrOptions = errors.New("TCP options take more than 40 bytes")
)

// AppendTCP appends a TCP segment.
func AppendTCP(dst []byte, ip *IP, tcp *TCP, payload []byte) ([]byte, error) {
	opts := tcp.Options.size() + len(tcp.Tail)
	if opts > maxOptions {
		return dst, fmt.Errorf("%w: %d", ErrOptions, opts)
	}
	offset := (tcpHeader + opts + 3) &^ 3 // the options are padded to whole words
	b, err := appendIP(dst, ip, protoTCP, offset+len(payload))
	if err != nil {
		return dst, err
	}
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, tcp.SrcPort)
	b = binary.BigEndian.AppendUint16(b, tcp.DstPort)
	b = binary.BigEndian.AppendUint32(b, tcp.Seq)
	b = binary.BigEndian.AppendUint32(b, tcp.Ack)
	b = binary.BigEndian.AppendUint16(b, uint16(offset/4)<<12|uint16(tcp.Reserved&7)<<9|uint16(tcp.Flags)&flagBits)
	b = binary.BigEndian.AppendUint16(b, tcp.Window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, tcp.Urgent)
	b = append(tcp.Options.appendWire(b), tcp.Tail...)
	for len(b) < start+offset {
		b = append(b, byte(EndOfOptions))
	}
	b = append(b, payload...)
	putSum(b[start:], 16, pseudoSum(ip, protoTCP, len(b)-start), tcp.Sum)
	return b, nil
}

const (
	tcpHeader = 20 // bytes, without options
	flagBits  = 1<<9 - 1
)

// AppendUDP appends a UDP datagram.
func AppendUDP(dst []byte, ip *IP, udp *UDP, payload []byte) ([]byte, error) {
	n := udpHeader + len(payload)
	b, err := appendIP(dst, ip, protoUDP, n)
	if err != nil {
		return dst, err
	}
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, udp.SrcPort)
	b = binary.BigEndian.AppendUint16(b, udp.DstPort)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0)
	b = append(b, payload...)
	putSum(b[start:], 6, pseudoSum(ip, protoUDP, n), udp.Sum)
	if sum := b[start+6 : start+8]; udp.Sum == SumRight && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff // zero would mean that there is none
	}
	return b, nil
}

const udpHeader = 8

// AppendICMP appends an ICMP or ICMPv6 message. The data of an error is the
// packet that it quotes, as far as it does.
func AppendICMP(dst []byte, ip *IP, icmp *ICMP, data []byte) ([]byte, error) {
	proto := protoICMP
	if ip.Src.Is6() {
		proto = protoICMPv6
	}
	n := icmpHeader + len(data)
	b, err := appendIP(dst, ip, proto, n)
	if err != nil {
		return dst, err
	}
	start := len(b)
	b = append(b, icmp.Type, icmp.Code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, icmp.Rest)
	b = append(b, data...)
	pseudo := uint32(0) // ICMP has no pseudo-header, ICMPv6 has (RFC 4443 section 2.3)
	if proto == protoICMPv6 {
		pseudo = pseudoSum(ip, proto, n)
	}
	putSum(b[start:], 2, pseudo, icmp.Sum)
	return b, nil
}

const icmpHeader = 8

// AppendEcho appends an ICMP echo message with data.
func AppendEcho(dst []byte, ip *IP, echo *Echo, data []byte) ([]byte, error) {
	m := ICMP{Type: 8, Rest: uint32(echo.ID)<<16 | uint32(echo.Seq), Sum: echo.Sum}
	switch {
	case ip.Src.Is6() && echo.Reply:
		m.Type = 129
	case ip.Src.Is6():
		m.Type = 128
	case echo.Reply:
		m.Type = 0
	}
	return AppendICMP(dst, ip, &m, data)
}

// AppendIP appends a packet of any protocol, a number of the IANA's registry,
// with a payload that is taken as it is.
func AppendIP(dst []byte, ip *IP, protocol uint8, payload []byte) ([]byte, error) {
	b, err := appendIP(dst, ip, protocol, len(payload))
	if err != nil {
		return dst, err
	}
	return append(b, payload...), nil
}

// appendIP appends an IP header for n bytes of protocol.
func appendIP(b []byte, ip *IP, protocol uint8, n int) ([]byte, error) {
	ttl := ip.TTL
	if ttl == 0 && !ip.ZeroTTL {
		ttl = defaultTTL
	}
	switch {
	case ip.Src.Is4() && ip.Dst.Is4():
		if header4+n > maxIP {
			return b, fmt.Errorf("%w: %d bytes", ErrTooLong, header4+n)
		}
		start := len(b)
		fragment := uint16(0)
		if ip.DF {
			fragment = flagDF
		}
		b = append(b, 4<<4|header4/4, ip.TOS)
		b = binary.BigEndian.AppendUint16(b, uint16(header4+n))
		b = binary.BigEndian.AppendUint16(b, ip.ID)
		b = binary.BigEndian.AppendUint16(b, fragment)
		b = append(b, ttl, protocol, 0, 0)
		src, dst := ip.Src.As4(), ip.Dst.As4()
		b = append(append(b, src[:]...), dst[:]...)
		putSum(b[start:], sum4, 0, ip.Sum)
		return b, nil
	case ip.Src.Is6() && ip.Dst.Is6():
		if n > maxIP {
			return b, fmt.Errorf("%w: %d bytes", ErrTooLong, n)
		}
		b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(ip.TOS)<<20|ip.FlowLabel&0xfffff)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, protocol, ttl)
		src, dst := ip.Src.As16(), ip.Dst.As16()
		return append(append(b, src[:]...), dst[:]...), nil
	default:
		return b, fmt.Errorf("%w: %v, %v", ErrAddress, ip.Src, ip.Dst)
	}
}
