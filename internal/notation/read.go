package notation

import (
	"encoding/binary"
	"fmt"
	"strings"

	"finack/decode"
	"finack/internal/craft"
)

// This file takes frames apart: which of them can be a line, and what it says.

// Error tells what of a frame no line can say.
type Error struct{ What string }

// Error returns that in a sentence.
func (e *Error) Error() string { return "a fixture has no line for " + e.What }

// refuse returns an Error of what.
func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// IP protocol numbers (IANA) beside those of decode.
const (
	protoIPv4     = 4
	protoIPv6     = 41
	protoFragment = 44
	protoGRE      = 47
)

// reader finds the IP packet in a frame of any link type.
type reader struct {
	dec, again decode.Decoder
}

// read returns what a frame says.
func (r *reader) read(f *decode.Frame) (packet, error) {
	var d decode.Packet
	err := r.dec.Decode(f, &d)
	switch {
	case err != nil:
		return packet{}, refuse("a %v", err)
	case d.Version == 0 && d.EtherType == 0x0806:
		return packet{}, refuse("ARP")
	case d.Version == 0 && d.EtherType != 0:
		return packet{}, refuse("EtherType 0x%04x, which is not IP", d.EtherType)
	case d.Version == 0:
		return packet{}, refuse("a frame without an IP header")
	case d.Proto == decode.ProtoTCP && d.Payload == nil:
		return packet{}, refuse("a %v", decode.ErrTruncated)
	}
	at, ok := r.outermost(f, &d)
	if !ok {
		return packet{}, refuse("an IP header that cannot be found again")
	}
	b, wire := f.Data[at:], max(f.Wire, len(f.Data))-at
	p, inside, err := readIP(b, wire, false)
	switch {
	case err != nil:
		return packet{}, err
	case cap(b)-inside != cap(d.Payload): // what decode found lies deeper
		return packet{}, refuse("a tunnel (VXLAN or Geneve)")
	}
	if d.BadSum {
		p.sum = craft.SumWrong
	}
	return p, nil
}

// outermost returns where the first IP header of a frame lies: the first place
// from which the same packet is decoded. The link header ends there.
func (r *reader) outermost(f *decode.Frame, d *decode.Packet) (at int, ok bool) {
	end := cap(f.Data) - cap(d.Payload) // every header lies before the payload
	raw := decode.Frame{Time: f.Time, Link: decode.LinkRaw}
	var q decode.Packet
	for at = range min(end, len(f.Data)) {
		if v := f.Data[at] >> 4; v != 4 && v != 6 {
			continue
		}
		raw.Data, raw.Wire = f.Data[at:], max(f.Wire, len(f.Data))-at
		if r.again.Decode(&raw, &q) == nil && cap(q.Payload) == cap(d.Payload) && q.Version == d.Version &&
			q.Src == d.Src && q.Dst == d.Dst && q.Proto == d.Proto && q.Len == d.Len && q.Segment == d.Segment && q.ICMP == d.ICMP {
			return at, true
		}
	}
	return 0, false
}

// readIP reads an IP packet, of which b was captured and wire bytes were there;
// of a quoted one they may be fewer than its length says. inside is where its
// payload begins.
func readIP(b []byte, wire int, quotes bool) (p packet, inside int, err error) {
	var header, length int
	var proto uint8
	if len(b) > 0 && b[0]>>4 == 6 {
		proto, length, err = p.readIPv6(b)
		header = header6
	} else {
		proto, length, err = p.readIPv4(b)
		header = header4
	}
	switch {
	case err != nil:
		return p, 0, err
	case !quotes && length > wire:
		return p, 0, refuse("an IP length beyond the frame")
	case quotes && length < wire:
		return p, 0, refuse("bytes behind a quoted packet")
	}
	n, there := length-header, min(wire, length)
	h := transport{b: b[header:min(len(b), there)], n: n, there: there - header, quoted: quotes}
	inner := 0
	switch {
	case proto == uint8(decode.ProtoTCP):
		inner, err = p.readTCP(&h)
	case proto == uint8(decode.ProtoUDP):
		inner, err = p.readUDP(&h)
	case proto == uint8(decode.ProtoICMP) && !p.src.V6, proto == uint8(decode.ProtoICMPv6) && p.src.V6:
		inner, err = p.readICMP(&h)
	default:
		err = refuse("%s", protocol(proto))
	}
	p.length = length
	return p, header + inner, err
}

// protocol names what is neither TCP, UDP nor the version's ICMP.
func protocol(proto uint8) string {
	switch proto {
	case protoIPv4, protoIPv6:
		return "a tunnel (IP in IP)"
	case protoGRE:
		return "a tunnel (GRE)"
	default:
		return fmt.Sprintf("IP protocol %d", proto)
	}
}

func (p *packet) readIPv4(b []byte) (proto uint8, length int, err error) {
	if len(b) < header4 {
		return 0, 0, refuse("an IP header that is cut off")
	}
	length = int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] != 4<<4|header4/4:
		return 0, 0, refuse("IPv4 options")
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0:
		return 0, 0, refuse("a fragment")
	case length == 0:
		return 0, 0, refuse("an IP length of 0")
	case length < header4:
		return 0, 0, refuse("an IP length that ends in the IP header")
	}
	copy(p.src.Addr[:], b[12:16])
	copy(p.dst.Addr[:], b[16:20])
	p.ip = craft.IP{TTL: b[8], ZeroTTL: b[8] == 0, TOS: b[1], ID: binary.BigEndian.Uint16(b[4:])}
	return b[9], length, nil
}

func (p *packet) readIPv6(b []byte) (proto uint8, length int, err error) {
	if len(b) < header6 {
		return 0, 0, refuse("an IP header that is cut off")
	}
	switch proto = b[6]; proto {
	case protoFragment:
		return 0, 0, refuse("a fragment")
	case 0, 43, 51, 60, 135, 139, 140: // IANA, "IPv6 Extension Header Types"
		return 0, 0, refuse("IPv6 extension headers")
	}
	length = int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 {
		return 0, 0, refuse("an IP length of 0")
	}
	p.src = decode.Endpoint{Addr: [16]byte(b[8:24]), V6: true}
	p.dst = decode.Endpoint{Addr: [16]byte(b[24:40]), V6: true}
	p.ip = craft.IP{TTL: b[7], ZeroTTL: b[7] == 0, TOS: uint8(binary.BigEndian.Uint16(b) >> 4)}
	return proto, header6 + length, nil
}

// transport is an IP packet's payload: the bytes b that were captured of those
// that are there, of the n that the IP header tells.
type transport struct {
	b        []byte
	there, n int
	quoted   bool
}

// has demands that a header of so many bytes is whole.
func (h *transport) has(header int) error {
	switch {
	case header > h.n:
		return refuse("a header that is longer than its packet")
	case header > h.there:
		return refuse("a packet that is cut off in a header")
	case header > len(h.b):
		return refuse("a %v", decode.ErrTruncated)
	}
	return nil
}

func (p *packet) ports(b []byte) {
	p.src.Port, p.dst.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}

func (p *packet) readUDP(h *transport) (header int, err error) {
	p.kind = isUDP
	if err := h.has(udpHeader); err != nil {
		return 0, err
	}
	if int(binary.BigEndian.Uint16(h.b[4:])) != h.n {
		return 0, refuse("a UDP length that is not the IP payload's")
	}
	p.ports(h.b)
	p.n = h.n - udpHeader
	if h.b[6] == 0 && h.b[7] == 0 && !p.src.V6 && !h.quoted {
		p.sum = craft.SumZero
	}
	return udpHeader, nil
}

// readTCP reads a segment. A quoted one may end within its first 20 bytes; what
// is missing is as if it had the defaults.
func (p *packet) readTCP(h *transport) (header int, err error) {
	p.kind = isTCP
	if err := h.has(min(tcpHeader, max(8, h.there))); err != nil {
		return 0, err
	}
	var whole [60]byte
	whole[12] = tcpHeader / 4 << 4
	binary.BigEndian.PutUint16(whole[14:], noWindow)
	copy(whole[:], h.b)
	header = int(whole[12]>>4) * 4
	if header < tcpHeader {
		return 0, refuse("a TCP data offset of %d bytes", header)
	}
	if header > h.n {
		return 0, refuse("a header that is longer than its packet")
	}
	if header > tcpHeader || h.there >= tcpHeader {
		if err := h.has(header); err != nil {
			return 0, err
		}
	}
	p.ports(whole[:])
	word := binary.BigEndian.Uint16(whole[12:])
	p.tcp = craft.TCP{
		Seq: binary.BigEndian.Uint32(whole[4:]), Ack: binary.BigEndian.Uint32(whole[8:]),
		Flags: decode.Flags(word) & (decode.AE<<1 - 1), Reserved: uint8(word>>9) & 7,
		Window: binary.BigEndian.Uint16(whole[14:]), Urgent: binary.BigEndian.Uint16(whole[18:]),
	}
	p.tcp.Options, p.tcp.Tail = readOptions(whole[tcpHeader:header])
	p.n = h.n - header
	return header, nil
}

// readOptions takes options apart, without the zeros that pad them to whole
// words again.
func readOptions(b []byte) (opts craft.Options, tail string) {
	opts, tail = craft.ReadOptions(b)
	n := len(opts)
	if n == 0 || opts[n-1].Kind != craft.EndOfOptions || strings.Trim(tail, "\x00") != "" {
		return opts, tail
	}
	zeros := 1 + len(tail)
	opts = opts[:n-1]
	if zeros >= 4 { // fewer come of themselves
		for range zeros - 3 {
			opts = append(opts, craft.Option{Kind: craft.EndOfOptions})
		}
	}
	return opts, ""
}

func (p *packet) readICMP(h *transport) (header int, err error) {
	p.kind = isICMP
	if err := h.has(icmpHeader); err != nil {
		return 0, err
	}
	b := h.b
	p.icmp = craft.ICMP{Type: b[0], Code: b[1], Rest: binary.BigEndian.Uint32(b[4:])}
	p.n = h.n - icmpHeader
	b = b[icmpHeader:]
	if h.quoted || !p.icmpError() || p.n == 0 {
		return icmpHeader, nil
	}
	if len(b) == 0 {
		return 0, refuse("a %v", decode.ErrTruncated)
	}
	if v := b[0] >> 4; v != 4 && v != 6 {
		return icmpHeader, nil // nothing that is quoted: mere bytes
	}
	q, _, err := readIP(b, p.n, true)
	if e, ok := err.(*Error); ok {
		return 0, refuse("an ICMP error that quotes %s", e.What)
	}
	q.first, q.ip.ID = p.n, 0
	p.quote = &q
	return icmpHeader, nil
}
