package decode

import "encoding/binary"

// IP protocol numbers of what Decode walks through (IANA, "Protocol Numbers").
const (
	protoHopByHop    Proto = 0
	protoIPv4        Proto = 4  // IPv4 in IP, RFC 2003
	protoIPv6        Proto = 41 // IPv6 in IP, RFC 2473
	protoRouting     Proto = 43
	protoFragment    Proto = 44
	protoGRE         Proto = 47
	protoAH          Proto = 51 // RFC 4302
	protoNoNext      Proto = 59
	protoDestination Proto = 60
)

// ip decodes an IP packet of the version that it says.
func (d *Decoder) ip(v view, p *Packet) error {
	if len(v.b) < 1 {
		return v.short(1, true)
	}
	switch v.b[0] >> 4 {
	case 4:
		return d.ipv4(v, p)
	case 6:
		return d.ipv6(v, p)
	default:
		return ErrMalformed
	}
}

func (d *Decoder) ipv4(v view, p *Packet) error {
	v, proto, whole, err := d.ipv4Header(v, p)
	if err != nil {
		return err
	}
	return d.transport(v, proto, whole, p)
}

func (d *Decoder) ipv6(v view, p *Packet) error {
	v, proto, whole, err := d.ipv6Header(v, p)
	if err != nil {
		return err
	}
	return d.transport(v, proto, whole, p)
}

// ipv4Header decodes an IPv4 header (RFC 791) into p, which must not hold
// another one, and returns its payload without the link's padding. proto is
// ProtoNone for a later fragment. whole tells that the payload is all that was
// sent, so that a header within may be held to its length.
func (d *Decoder) ipv4Header(v view, p *Packet) (payload view, proto Proto, whole bool, err error) {
	b := v.b
	if len(b) < 20 {
		return v, 0, false, v.short(20, true)
	}
	header := int(b[0]&0x0f) * 4
	length := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < 20 || length < header && length != 0 || header > v.wire() {
		return v, 0, false, ErrMalformed
	}
	switch wire := v.wire(); {
	case length == 0:
		// The sending host had the hardware cut it into segments (TSO).
	case length <= wire:
		v, whole = v.limit(length), true
	default:
		// What was not on the wire reaches nobody: as good as a fragment.
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	p.Version = 4
	p.TTL = b[8]
	p.IPID = uint32(binary.BigEndian.Uint16(b[4:]))
	copy(p.Src.Addr[:4], b[12:16])
	copy(p.Dst.Addr[:4], b[16:20])
	proto = Proto(b[9])
	if fragment&0x3fff != 0 { // more fragments, or an offset
		p.Fragment, whole = true, false
		if fragment&0x1fff != 0 {
			proto = ProtoNone
		}
	}
	if header > 20 {
		// A source route would change the pseudo-header.
		d.sums = false
		if header > len(v.b) {
			return v, 0, false, ErrTruncated
		}
	}
	return v.skip(header), proto, whole, nil
}

// ipv6Header does for IPv6 (RFC 8200) what ipv4Header does for IPv4, extension
// headers included.
func (d *Decoder) ipv6Header(v view, p *Packet) (payload view, proto Proto, whole bool, err error) {
	b := v.b
	if len(b) < 40 {
		return v, 0, false, v.short(40, true)
	}
	if b[0]>>4 != 6 {
		return v, 0, false, ErrMalformed
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	proto = Proto(b[6])
	p.Version = 6
	p.TTL = b[7]
	p.Src.Addr, p.Src.V6 = [16]byte(b[8:24]), true
	p.Dst.Addr, p.Dst.V6 = [16]byte(b[24:40]), true

	v = v.skip(40)
	if length == 0 && proto == protoHopByHop {
		if length, err = jumboLength(v); err != nil {
			return v, 0, false, err
		}
	}
	switch wire := v.wire(); {
	case length == 0 && proto != protoNoNext:
		// BIG TCP: larger than the field can say, and the option left out.
	case length <= wire:
		v, whole = v.limit(length), true
	}
	if proto == ProtoTCP || proto == ProtoUDP {
		return v, proto, whole, nil
	}
	return d.extensions(v, proto, whole, p)
}

// jumboLength returns the payload length in the hop-by-hop header that v begins
// with (RFC 2675), 0 when it has none.
func jumboLength(v view) (int, error) {
	if len(v.b) < 8 {
		return 0, v.short(8, true)
	}
	n := (int(v.b[1]) + 1) * 8
	if len(v.b) < n {
		return 0, v.short(n, true)
	}
	for o := v.b[2:n]; len(o) >= 2; {
		if o[0] == 0 { // Pad1
			o = o[1:]
			continue
		}
		if len(o) < 2+int(o[1]) {
			return 0, ErrMalformed
		}
		if o[0] == 0xc2 {
			if o[1] != 4 {
				return 0, ErrMalformed
			}
			length := int64(binary.BigEndian.Uint32(o[2:]))
			// "A jumbogram's length must be greater than 65,535" (section 3).
			if length <= 0xffff || length > 1<<31-1 {
				return 0, ErrMalformed
			}
			return int(length), nil
		}
		o = o[2+int(o[1]):]
	}
	return 0, nil
}

// extensions walks IPv6's extension headers, of which the first is a next.
func (d *Decoder) extensions(v view, next Proto, whole bool, p *Packet) (view, Proto, bool, error) {
	for i := 0; ; i++ {
		switch next {
		case protoHopByHop, protoRouting, protoDestination, protoFragment, protoAH:
		default:
			return v, next, whole, nil
		}
		if i == maxExtensions {
			return v, 0, false, ErrMalformed
		}
		if len(v.b) < 8 {
			return v, 0, false, v.short(8, whole)
		}
		n := (int(v.b[1]) + 1) * 8
		switch next {
		case protoFragment:
			n = 8
		case protoAH:
			n = (int(v.b[1]) + 2) * 4
		}
		if len(v.b) < n {
			return v, 0, false, v.short(n, whole)
		}
		header := v.b[:n]
		v = v.skip(n)
		switch next {
		case protoRouting:
			d.route(header, p)
		case protoFragment:
			// An offset of zero and no more to come is an atomic fragment
			// (RFC 6946): the whole packet.
			offset := binary.BigEndian.Uint16(header[2:])
			p.IPID = binary.BigEndian.Uint32(header[4:])
			if offset&0xfff9 != 0 {
				p.Fragment, whole = true, false
			}
			if offset&0xfff8 != 0 {
				return v, ProtoNone, whole, nil
			}
		}
		next = Proto(header[0])
	}
}

// route makes the last hop of a routing header the packet's destination, as
// the connection's ends and the pseudo-header have it (RFC 8200 section 8.1).
func (d *Decoder) route(header []byte, p *Packet) {
	kind, left := header[2], header[3]
	switch n := len(header); {
	case left == 0:
	case (kind == 0 || kind == 2) && n >= 24: // RFC 2460, RFC 6275
		p.Dst.Addr = [16]byte(header[n-16:])
	case kind == 4 && n >= 24: // RFC 8754: the list is in reverse order
		p.Dst.Addr = [16]byte(header[8:])
	default:
		d.sums = false
	}
}
