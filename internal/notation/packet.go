package notation

import (
	"errors"

	"finack/decode"
	"finack/internal/craft"
)

// kind is what a packet is beside its IP header.
type kind uint8

const (
	isTCP kind = iota
	isUDP
	isICMP // also an echo
)

// packet is what a line says and what a frame is made of: between the two, in
// both directions.
type packet struct {
	kind     kind
	src, dst decode.Endpoint // ports of TCP and UDP only
	ip       craft.IP        // but for the addresses
	ownID    bool            // the IP ID is not written: the frame has one of its own
	tcp      craft.TCP       // but for the ports
	icmp     craft.ICMP
	n        int // payload bytes; of ICMP, behind the header of 8 bytes
	sum      craft.Sum
	quote    *packet // what an ICMP error quotes; n does not count then
	first    int     // of a quote: how many of its bytes are quoted; else 0
	length   int     // of a quote that was read: its IP length
}

const (
	header4    = 20 // bytes of an IPv4 header
	header6    = 40 // bytes of an IPv6 header
	tcpHeader  = 20 // bytes, without options
	udpHeader  = 8
	icmpHeader = 8

	maxLength = 65535 // what an IP length field can say
	noWindow  = 512   // the window of a segment that gives none
	noTTL     = 64
)

// ipHeader returns the length of the packet's IP header.
func (p *packet) ipHeader() int {
	if p.src.V6 {
		return header6
	}
	return header4
}

// leastQuote is how much of a packet an ICMP error quotes at least: the IP
// header and 8 bytes (RFC 792).
func (p *packet) leastQuote() int { return p.ipHeader() + 8 }

var (
	errVersions = errors.New("ends of the same IP version")
	errTooLong  = errors.New("a packet that its IP length, at most 65535, can tell")
	errOptions  = errors.New("options of at most 40 bytes")
)

// build appends the packet's bytes to dst. zeros is what payloads are made of.
func (p *packet) build(dst []byte) ([]byte, error) {
	if p.src.V6 != p.dst.V6 {
		return dst, errVersions
	}
	if p.n > maxLength {
		return dst, errTooLong
	}
	ip := p.ip
	ip.Src, ip.Dst = p.src.AddrPort().Addr(), p.dst.AddrPort().Addr()
	payload, err := p.payload()
	if err != nil {
		return dst, err
	}
	switch p.kind {
	case isTCP:
		tcp := p.tcp
		tcp.SrcPort, tcp.DstPort, tcp.Sum = p.src.Port, p.dst.Port, p.sum
		dst, err = craft.AppendTCP(dst, &ip, &tcp, payload)
	case isUDP:
		dst, err = craft.AppendUDP(dst, &ip, &craft.UDP{SrcPort: p.src.Port, DstPort: p.dst.Port, Sum: p.sum}, payload)
	default:
		icmp := p.icmp
		icmp.Sum = p.sum
		dst, err = craft.AppendICMP(dst, &ip, &icmp, payload)
	}
	switch {
	case errors.Is(err, craft.ErrTooLong):
		err = errTooLong
	case errors.Is(err, craft.ErrOptions):
		err = errOptions
	}
	return dst, err
}

// payload returns what follows the transport header: zeros, or what is quoted.
func (p *packet) payload() ([]byte, error) {
	if p.quote == nil {
		return make([]byte, p.n), nil
	}
	b, err := p.quote.build(nil)
	if err != nil {
		return nil, err
	}
	return b[:min(p.quote.first, len(b))], nil
}

// echo reports whether an ICMP packet can be written as one, and whether as a
// reply.
func (p *packet) echo() (reply, ok bool) {
	if p.kind != isICMP || p.icmp.Code != 0 {
		return false, false
	}
	switch {
	case p.icmp.Type == echoType(p.src.V6, true):
		return true, true
	case p.icmp.Type == echoType(p.src.V6, false):
		return false, true
	}
	return false, false
}

func echoType(v6, reply bool) uint8 {
	switch {
	case v6 && reply:
		return 129
	case v6:
		return 128
	case reply:
		return 0
	default:
		return 8
	}
}

// portUnreachable returns the ICMP type and code that say so.
func portUnreachable(v6 bool) (uint8, uint8) {
	if v6 {
		return 1, 4
	}
	return 3, 3
}

// icmpError reports whether an ICMP message is an error, so that it quotes.
func (p *packet) icmpError() bool {
	t := p.icmp.Type
	if p.src.V6 {
		return t >= 1 && t <= 4
	}
	return t == 3 || t == 4 || t == 5 || t == 11 || t == 12
}
