package decode

import "encoding/binary"

// ipTunnel decodes IP in IP, or GRE. What it cannot see into stays a packet of
// that protocol.
func (d *Decoder) ipTunnel(v view, proto Proto, p *Packet) error {
	var done bool
	var err error
	switch proto {
	case protoIPv4:
		done, err = d.inside(v, etherIPv4, p)
	case protoIPv6:
		done, err = d.inside(v, etherIPv6, p)
	default:
		done, err = d.gre(v, p)
	}
	if done || err == ErrTruncated {
		return err
	}
	p.Proto, p.Len, p.Payload = proto, v.wire(), v.b
	return nil
}

// inside decodes what a tunnel carries, of EtherType t. If that has an IP
// header, p becomes the inner packet, and err is its; else p stays as it is
// and done is false: it was no tunnel, or not one for IP.
func (d *Decoder) inside(v view, t uint16, p *Packet) (done bool, err error) {
	if !d.enter() {
		return false, nil
	}
	outer, sums := *p, d.sums
	*p = Packet{Time: outer.Time, Dir: outer.Dir, Iface: outer.Iface}
	// The capture's word about checksums is about the outermost.
	d.sums = false
	err = d.etherType(t, v, p)
	if p.Version == 0 {
		*p, d.sums = outer, sums
		return false, err
	}
	p.Fragment = p.Fragment || outer.Fragment
	return true, err
}

// gre decodes a GRE packet (RFC 2784 and 2890), or PPTP's (RFC 2637).
func (d *Decoder) gre(v view, p *Packet) (done bool, err error) {
	if len(v.b) < 4 {
		return false, v.short(4, true)
	}
	const (
		checksum = 0x8000
		routing  = 0x4000
		key      = 0x2000
		sequence = 0x1000
		ack      = 0x0080 // PPTP's
		version  = 0x0007
	)
	flags, t := binary.BigEndian.Uint16(v.b), binary.BigEndian.Uint16(v.b[2:])
	n := 4
	for _, bit := range [...]uint16{checksum, key, sequence} {
		if flags&bit != 0 {
			n += 4
		}
	}
	switch flags & (routing | version) {
	case 0:
	case 1:
		if t != etherPPP {
			return false, nil
		}
		if flags&ack != 0 {
			n += 4
		}
	default: // RFC 1701's source routes, which RFC 2784 took out
		return false, nil
	}
	if len(v.b) < n {
		return false, v.short(n, true)
	}
	return d.inside(v.skip(n), t, p)
}

// udpTunnel decodes VXLAN and Geneve, if the datagram's payload v is one.
func (d *Decoder) udpTunnel(v view, port uint16, p *Packet) (done bool, err error) {
	b := v.b
	if len(b) < 8 {
		return false, nil
	}
	n, t := 8, uint16(etherTEB)
	if port == portGeneve {
		if b[0]>>6 != 0 { // version
			return false, nil
		}
		n += int(b[0]&0x3f) * 4
		t = binary.BigEndian.Uint16(b[2:])
	} else if b[0]&^0x80 != 0x08 { // a network identifier is there; the high bit is Group Policy's
		return false, nil
	}
	if len(b) < n {
		return false, nil
	}
	return d.inside(v.skip(n), t, p)
}
