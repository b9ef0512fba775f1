package decode

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// transport decodes the payload v of an IP header. whole is that header's word
// that v is all that was sent.
func (d *Decoder) transport(v view, proto Proto, whole bool, p *Packet) error {
	switch proto {
	case ProtoTCP:
		return d.segment(v, whole, p)
	case ProtoUDP:
		return d.datagram(v, whole, p)
	case ProtoICMP, ProtoICMPv6:
		return d.icmp(v, proto, whole, p)
	case protoIPv4, protoIPv6, protoGRE:
		return d.ipTunnel(v, proto, p)
	}
	p.Proto, p.Len, p.Payload = proto, v.wire(), v.b
	return nil
}

// segment decodes a TCP segment. The header is gopacket's to decode, but it
// allocates an error for each one that is damaged: it gets to see none.
func (d *Decoder) segment(v view, whole bool, p *Packet) error {
	b := v.b
	if len(b) < 14 {
		return v.short(20, whole)
	}
	header := int(b[12]>>4) * 4
	if header < 20 {
		return ErrMalformed
	}
	if header > len(b) {
		return cutSegment(v, header, whole, p)
	}
	h, opts := b[:header], Options(0)
	if header > 20 {
		if n := goodOptions(h[20:]); n < header-20 {
			// Option kind 0 ends the list before the bad one.
			clear(d.header[copy(d.header[:], h[:20+n]):])
			h, opts = d.header[:header], OptBad
		}
	}
	t := &d.tcp
	if t.Options == nil {
		t.Options = d.options[:0]
	}
	if t.DecodeFromBytes(h, gopacket.NilDecodeFeedback) != nil {
		return ErrMalformed
	}

	p.Proto = ProtoTCP
	p.Src.Port, p.Dst.Port = uint16(t.SrcPort), uint16(t.DstPort)
	s := &p.Segment
	s.setHeader(t)
	s.Opts = opts
	if header > 20 {
		s.readOptions(t.Options)
	}
	p.Len, p.Payload = v.wire()-header, b[header:]
	if d.sums && whole && v.cut == 0 {
		p.BadSum = !pseudoSumOK(p, ProtoTCP, b)
	}
	return nil
}

// setHeader takes the fields that every header has.
func (s *Segment) setHeader(t *layers.TCP) {
	s.Seq = t.Seq
	s.Flags = flag(t.FIN, FIN) | flag(t.SYN, SYN) | flag(t.RST, RST) |
		flag(t.PSH, PSH) | flag(t.ACK, ACK) | flag(t.URG, URG) |
		flag(t.ECE, ECE) | flag(t.CWR, CWR) | flag(t.NS, AE)
	s.Ack, s.Window, s.Urgent = t.Ack, t.Window, t.Urgent
}

func flag(set bool, f Flags) Flags {
	if set {
		return f
	}
	return 0
}

// cutSegment decodes by hand what a snaplen left of a TCP header.
func cutSegment(v view, header int, whole bool, p *Packet) error {
	if header > v.wire() {
		return v.short(header, whole)
	}
	b := v.b
	p.Proto = ProtoTCP
	p.Src.Port, p.Dst.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	s := &p.Segment
	s.Seq, s.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	s.Flags = Flags(binary.BigEndian.Uint16(b[12:])) & (AE<<1 - 1)
	if len(b) >= 16 {
		s.Window = binary.BigEndian.Uint16(b[14:])
	}
	if len(b) >= 20 {
		s.Urgent = binary.BigEndian.Uint16(b[18:])
	}
	p.Len = v.wire() - header
	return nil
}

// goodOptions returns how many bytes of a TCP header's options can be read:
// all of them, or those before an option of an impossible length.
func goodOptions(o []byte) int {
	for i := 0; i < len(o); {
		switch o[i] {
		case layers.TCPOptionKindEndList:
			return len(o)
		case layers.TCPOptionKindNop:
			i++
			continue
		}
		if i+1 == len(o) || o[i+1] < 2 || i+int(o[i+1]) > len(o) {
			return i
		}
		i += int(o[i+1])
	}
	return len(o)
}

// onlyTimestamps begins the options of nearly all segments, twelve bytes of
// them: two NOPs and a timestamps option (RFC 7323 appendix A).
const onlyTimestamps = 0x0101080a

// TCP option kinds that gopacket has no names for.
const (
	kindMPTCP        = 30  // RFC 8684
	kindFastOpen     = 34  // RFC 7413
	kindExperimental = 254 // RFC 6994

	fastOpenID = 0xf989 // fast open's experiment identifier, RFC 7413 appendix A
)

// readOptions takes from opts what s has room for. An option whose length is
// not its kind's is as good as absent.
func (s *Segment) readOptions(opts []layers.TCPOption) {
	for i := range opts {
		o := &opts[i]
		data := o.OptionData
		switch o.OptionType {
		case layers.TCPOptionKindTimestamps:
			if len(data) == 8 {
				s.Opts |= OptTimestamps
				s.TSVal, s.TSEcr = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
			}
		case layers.TCPOptionKindMSS:
			if len(data) == 2 {
				s.Opts |= OptMSS
				s.MSS = binary.BigEndian.Uint16(data)
			}
		case layers.TCPOptionKindWindowScale:
			if len(data) == 1 {
				s.Opts |= OptWScale
				s.WScale = data[0]
			}
		case layers.TCPOptionKindSACKPermitted:
			if len(data) == 0 {
				s.Opts |= OptSACKPermitted
			}
		case layers.TCPOptionKindSACK:
			if len(data) > 0 && len(data)%8 == 0 {
				s.Opts |= OptSACK
				s.SACK = [2]uint32{binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])}
			}
		case kindMPTCP:
			s.Opts |= OptMPTCP
		case kindFastOpen:
			s.Opts |= OptFastOpen
		case kindExperimental:
			if len(data) >= 2 && binary.BigEndian.Uint16(data) == fastOpenID {
				s.Opts |= OptFastOpen
			}
		}
	}
}

// UDP ports of tunnels.
const (
	portVXLAN      = 4789 // RFC 7348
	portVXLANLinux = 8472 // Linux's default, older than the RFC
	portGeneve     = 6081 // RFC 8926
)

// datagram decodes a UDP datagram (RFC 768).
func (d *Decoder) datagram(v view, whole bool, p *Packet) error {
	if len(v.b) < 8 {
		return v.short(8, whole)
	}
	b := v.b[:8]
	length, wire := int(binary.BigEndian.Uint16(b[4:])), v.wire()
	switch {
	case length == 0: // a jumbogram (RFC 2675 section 4), or left to the hardware
		length = wire
	case length < 8 || whole && length > wire:
		return ErrMalformed
	}
	v = v.limit(min(length, wire))
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	tunnel := dst == portVXLAN || dst == portVXLANLinux || dst == portGeneve
	if tunnel {
		if done, err := d.udpTunnel(v.skip(8), dst, p); done {
			return err
		}
	}
	p.Proto = ProtoUDP
	p.Src.Port, p.Dst.Port = src, dst
	p.Len, p.Payload = v.wire()-8, v.b[8:]
	// A zero means that there is none: in IPv4, and in tunnels over IPv6 (RFC 6935).
	none := b[6] == 0 && b[7] == 0 && (p.Version == 4 || tunnel)
	if d.sums && whole && v.cut == 0 && !none {
		p.BadSum = !pseudoSumOK(p, ProtoUDP, v.b)
	}
	return nil
}

// ICMP message types (IANA, "ICMP Parameters" and "ICMPv6 Parameters").
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpSourceQuench = 4
	icmpRedirect     = 5
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	icmp6Unreachable = 1
	icmp6Parameter   = 4 // 2 is "packet too big", 3 "time exceeded"
	icmp6Echo        = 128
	icmp6EchoReply   = 129
)

// icmp decodes an ICMP or ICMPv6 message (RFC 792, RFC 4443). Its header is
// eight bytes in every type that is defined.
func (d *Decoder) icmp(v view, proto Proto, whole bool, p *Packet) error {
	b := v.b
	if len(b) < 8 {
		return v.short(8, whole)
	}
	m := &p.ICMP
	m.Type, m.Code = b[0], b[1]
	m.Echo = isEcho(proto, m.Type)
	if proto == ProtoICMP {
		switch m.Type {
		case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter:
			m.Error = true
		}
	} else {
		m.Error = m.Type >= icmp6Unreachable && m.Type <= icmp6Parameter
	}
	if m.Echo {
		m.ID, m.Seq = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	}
	p.Proto, p.Len, p.Payload = proto, v.wire()-8, b[8:]
	if d.sums && whole && v.cut == 0 {
		if proto == ProtoICMP {
			p.BadSum = fold(sum(0, b)) != 0xffff
		} else {
			p.BadSum = !pseudoSumOK(p, proto, b)
		}
	}
	if m.Error {
		d.quote(v.skip(8), m)
	}
	return nil
}

func isEcho(proto Proto, icmpType uint8) bool {
	if proto == ProtoICMPv6 {
		return icmpType == icmp6Echo || icmpType == icmp6EchoReply
	}
	return icmpType == icmpEcho || icmpType == icmpEchoReply
}

// quote reads the packet that an ICMP error quotes, as far as it does.
func (d *Decoder) quote(v view, m *ICMP) {
	q := &d.quoted
	*q = Packet{}
	if len(v.b) < 1 {
		return
	}
	var proto Proto
	var err error
	if v.b[0]>>4 == 4 {
		v, proto, _, err = d.ipv4Header(v, q)
	} else {
		v, proto, _, err = d.ipv6Header(v, q)
	}
	m.QuotedSrc, m.QuotedDst = q.Src, q.Dst
	if err != nil {
		return
	}
	b := v.b
	switch proto {
	case ProtoTCP, ProtoUDP:
		if len(b) < 4 {
			return
		}
		m.QuotedSrc.Port, m.QuotedDst.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if proto == ProtoTCP && len(b) >= 8 {
			m.QuotedSeq = binary.BigEndian.Uint32(b[4:])
		}
	case ProtoICMP, ProtoICMPv6:
		if len(b) < 8 || !isEcho(proto, b[0]) {
			return
		}
		m.QuotedID = binary.BigEndian.Uint16(b[4:])
	}
	m.QuotedProto = proto
}
