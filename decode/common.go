package decode

import (
	"encoding/binary"

	"github.com/google/gopacket"
)

// common decodes what nearly every frame of a capture is, in one go: Ethernet,
// Linux cooked or raw IP, an IPv4 header without options or an IPv6 header, a
// whole TCP header with no options but timestamps. It says the same as
// general, which decodes everything, at half the cost. It reports whether f is
// such a frame; if not, p may hold anything.
func (d *Decoder) common(f *Frame, p *Packet) bool {
	p.Time, p.Dir, p.Iface = f.Time, f.Dir, f.Iface
	b := f.Data
	var etherType uint16
	at := 14 // where the IP header begins
	if f.Link == LinkEthernet && len(b) >= 14 {
		etherType = binary.BigEndian.Uint16(b[12:])
	} else {
		etherType, at = commonLink(f, p)
	}

	wire := max(f.Wire, len(b)) - at // of the IP packet and the link's padding
	b = b[at:]
	var length, header int // of the IP packet and of its header
	switch etherType {
	case etherIPv4:
		if len(b) < 40 || b[0] != 0x45 || b[9] != byte(ProtoTCP) || b[6]&0x3f|b[7] != 0 {
			return false
		}
		length, header = int(binary.BigEndian.Uint16(b[2:])), 20
		p.Version, p.TTL = 4, b[8]
		p.IPID = uint32(binary.BigEndian.Uint16(b[4:]))
		p.Src.Addr, p.Src.V6 = [16]byte{b[12], b[13], b[14], b[15]}, false
		p.Dst.Addr, p.Dst.V6 = [16]byte{b[16], b[17], b[18], b[19]}, false
	case etherIPv6:
		if len(b) < 60 || b[0]>>4 != 6 || b[6] != byte(ProtoTCP) {
			return false
		}
		length, header = 40+int(binary.BigEndian.Uint16(b[4:])), 40
		p.Version, p.TTL = 6, b[7]
		p.IPID = 0
		p.Src.Addr, p.Src.V6 = [16]byte(b[8:24]), true
		p.Dst.Addr, p.Dst.V6 = [16]byte(b[24:40]), true
	default:
		return false
	}
	if length < header+20 || length > wire {
		return false
	}
	b = b[header:min(length, len(b))] // the TCP segment
	length -= header

	// gopacket goes through options one by one. It is spared the ones that are
	// always the same, by a copy of the header that ends before them.
	s := &p.Segment
	h := b[:20]
	header = int(b[12]>>4) * 4
	switch {
	case header == 20:
		s.Opts, s.TSVal, s.TSEcr = 0, 0, 0
	case header == 32 && len(b) >= 32 && binary.BigEndian.Uint32(b[20:]) == onlyTimestamps:
		h = d.header[:20]
		le := binary.LittleEndian
		le.PutUint64(h, le.Uint64(b))
		le.PutUint64(h[8:], le.Uint64(b[8:])&^(0xf<<36)|5<<36) // five words long
		le.PutUint32(h[16:], le.Uint32(b[16:]))
		s.Opts, s.TSVal, s.TSEcr = OptTimestamps, binary.BigEndian.Uint32(b[24:]), binary.BigEndian.Uint32(b[28:])
	default:
		return false
	}
	t := &d.tcp
	if t.Options == nil {
		t.Options = d.options[:0]
	}
	if t.DecodeFromBytes(h, gopacket.NilDecodeFeedback) != nil {
		return false
	}
	s.setHeader(t)
	s.MSS, s.WScale, s.SACK[0], s.SACK[1] = 0, 0, 0, 0
	p.Proto, p.Src.Port, p.Dst.Port = ProtoTCP, uint16(t.SrcPort), uint16(t.DstPort)
	p.Len, p.Payload = length-header, b[header:]
	p.Fragment, p.EtherType, p.ICMP = false, 0, ICMP{}
	p.BadSum = f.Checksums == ChecksumsComplete && len(b) == length && !pseudoSumOK(p, ProtoTCP, b)
	return true
}

// commonLink is common for the links other than Ethernet: it returns the
// EtherType of what begins at index at, 0 if there is no such thing.
func commonLink(f *Frame, p *Packet) (etherType uint16, at int) {
	b := f.Data
	packetType := byte(0)
	switch {
	case f.Link == LinkRaw && len(b) >= 1 && b[0]>>4 == 4:
		return etherIPv4, 0
	case f.Link == LinkRaw:
		return etherIPv6, 0
	case f.Link == LinkSLL && len(b) >= 16 && b[0] == 0 && hasEtherType(binary.BigEndian.Uint16(b[2:])):
		etherType, at, packetType = binary.BigEndian.Uint16(b[14:]), 16, b[1]
	case f.Link == LinkSLL2 && len(b) >= 20 && hasEtherType(binary.BigEndian.Uint16(b[8:])):
		etherType, at, packetType = binary.BigEndian.Uint16(b), 20, b[10]
		p.Iface = binary.BigEndian.Uint32(b[4:])
	default:
		return 0, 0
	}
	if p.Dir == DirUnknown {
		p.Dir = direction(packetType)
	}
	return etherType, at
}
