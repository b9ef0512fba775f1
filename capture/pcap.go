package capture

import "finack/decode"

// The pcap file format, draft-ietf-opsawg-pcap and pcap-savefile(5).
const (
	pcapMicro    = 0xa1b2c3d4 // fractions of a second in microseconds
	pcapNano     = 0xa1b23c4d // fractions in nanoseconds
	pcapModified = 0xa1b2cd34 // Alexey Kuznetzov's: microseconds, longer record headers

	pcapHeaderLen = 24
	pcapRecordLen = 16
)

type pcapState struct {
	order   byteOrder
	link    decode.LinkType
	unit    uint32 // nanoseconds, of a fraction of a second
	second  uint32 // as many fractions
	header  int    // length of a record's header
	longest uint32 // record that is believed
}

// pcapMagic tells a pcap file by its first four bytes.
func pcapMagic(b []byte) (pcapState, bool) {
	for _, order := range []byteOrder{false, true} {
		switch order.u32(b) {
		case pcapMicro:
			return pcapState{order: order, unit: 1000, second: 1e6, header: pcapRecordLen}, true
		case pcapNano:
			return pcapState{order: order, unit: 1, second: 1e9, header: pcapRecordLen}, true
		case pcapModified:
			// Interface index, protocol and packet type follow; they are left out.
			return pcapState{order: order, unit: 1000, second: 1e6, header: pcapRecordLen + 8}, true
		}
	}
	return pcapState{}, false
}

func (f *File) pcapHeader() error {
	if err := f.need(pcapHeaderLen, true); err != nil {
		return f.ended(err, "in its header")
	}
	p, h := &f.pcap, f.buf[f.r:]
	if major, minor := p.order.u16(h[4:]), p.order.u16(h[6:]); major != 2 {
		return formatErrorf(nil, "open %s: pcap version %d.%d is not known (2.4 is)", f.name, major, minor)
	}
	// Records longer than the snapshot length occur, where a program wrote
	// what it liked into the header or where files were merged. But a length
	// that no capture could have is a sure sign of damage.
	p.longest = min(max(p.order.u32(h[16:]), maxSnaplen), maxRecord)
	// The upper half tells the length of a frame check sequence, or is
	// reserved; such a sequence is part of the frame.
	p.link = decode.LinkType(p.order.u32(h[20:]))
	f.r += pcapHeaderLen
	return nil
}

// nextPcap makes fr the next record.
func (f *File) nextPcap(fr *decode.Frame, read bool) error {
	p := &f.pcap
	if err := f.need(p.header, read); err != nil {
		return f.recordEnded(err)
	}
	h := f.buf[f.r:f.w]
	_ = h[15]
	sec, frac := p.order.u32(h), p.order.u32(h[4:])
	captured, wire := p.order.u32(h[8:]), p.order.u32(h[12:])
	if captured > p.longest {
		return f.damaged("a record of %d bytes", captured)
	}
	n := p.header + int(captured)
	if len(h) < n {
		if err := f.need(n, read); err != nil {
			return f.recordEnded(err)
		}
		h = f.buf[f.r:f.w]
	}
	fr.Time = decode.Timestamp(int64(sec)*1e9 + int64(frac)*int64(p.unit))
	f.badStamp = frac >= p.second
	fr.Link, fr.Dir, fr.Checksums, fr.Iface = p.link, 0, 0, 0
	// Files exist in which less was on the wire than was captured.
	fr.Wire = int(max(wire, captured))
	fr.Data = h[p.header:n:n]
	f.r += n
	return nil
}

// wholePcap reports whether the next pcap record is in the buffer and passes.
func (f *File) wholePcap() bool {
	h, p := f.buf[f.r:f.w], &f.pcap
	return p.header > 0 && len(h) >= p.header && f.filter == nil && int64(p.order.u32(h[8:])) <= int64(len(h)-p.header)
}
