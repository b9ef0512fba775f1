package capture

import (
	"math"
	"math/bits"

	"finack/decode"
)

// The pcapng file format, draft-ietf-opsawg-pcapng.
const (
	blockInterface = 1 // Interface Description Block
	blockObsolete  = 2 // Packet Block, obsolete
	blockSimple    = 3 // Simple Packet Block
	blockEnhanced  = 6 // Enhanced Packet Block
	blockSection   = 0x0a0d0d0a
	sectionMagic   = 0x1a2b3c4d // tells a section's byte order

	optTsresol  = 9  // of an interface
	optTsoffset = 14 // of an interface
	optFlags    = 2  // of a packet

	// A packet's flags word.
	flagsInbound     = 1
	flagsOutbound    = 2
	flagsDirection   = 3
	flagsPromiscuous = 4 << 2 // reception type
	flagsReception   = 7 << 2
	flagsSumNotReady = 1 << 9
	flagsSumValid    = 1 << 10

	// maxIfaces bounds the interfaces of a section, and so the memory that
	// they take. The obsolete Packet Block cannot name more.
	maxIfaces = 1 << 16
)

type pcapngState struct {
	order  byteOrder
	ifaces []pcapngIface
	time   decode.Timestamp // of the last frame
}

// pcapngIface is an interface. A stamp of n ticks is n·mul/div / 2^shift ns after offset.
type pcapngIface struct {
	link     decode.LinkType
	snaplen  uint32
	mul, div uint64
	shift    uint8
	noTime   bool // its ticks or its offset are such that no stamp makes sense
	offset   int64
}

// nextPcapng makes fr the next packet, and takes note of the blocks before it.
func (f *File) nextPcapng(fr *decode.Frame, read bool) error {
	for {
		// Twelve bytes are the shortest block, and in a section's header they
		// reach to its byte order.
		if err := f.need(12, read); err != nil {
			return f.recordEnded(err)
		}
		h := f.buf[f.r:f.w]
		order := f.ng.order
		kind := order.u32(h)
		if kind == blockSection { // reads the same in either order
			switch {
			case byteOrder(false).u32(h[8:]) == sectionMagic:
				order = false
			case byteOrder(true).u32(h[8:]) == sectionMagic:
				order = true
			default:
				return f.damaged("a section without byte-order magic")
			}
		}
		size := order.u32(h[4:])
		if size < 12 || size%4 != 0 || size > maxRecord {
			return f.damaged("a block of %d bytes", size)
		}
		n := int(size)
		if err := f.need(n, read); err != nil {
			return f.recordEnded(err)
		}
		block := f.buf[f.r : f.r+n]
		if again := order.u32(block[n-4:]); again != size {
			return f.damaged("a block of %d bytes ends as one of %d", size, again)
		}
		body := block[8 : n-4]
		var packet bool
		var err error
		switch kind {
		case blockSection:
			err = f.section(order, body)
		case blockInterface:
			err = f.iface(body)
		case blockEnhanced, blockObsolete:
			packet, err = true, f.packet(kind, body, fr)
		case blockSimple:
			packet, err = true, f.simplePacket(body, fr)
		}
		if err != nil {
			return err
		}
		f.r += n
		if packet {
			return nil
		}
	}
}

// section begins a section: it has its own byte order and interfaces.
func (f *File) section(order byteOrder, body []byte) error {
	if len(body) < 16 {
		return f.damaged("a section header of %d bytes", 12+len(body))
	}
	// Minor version 2 is written by old programs and means 0.
	if major, minor := order.u16(body[4:]), order.u16(body[6:]); major != 1 {
		return f.damaged("pcapng version %d.%d is not known (1.0 is)", major, minor)
	}
	f.ng.order, f.ng.ifaces = order, f.ng.ifaces[:0]
	return nil
}

// iface takes an Interface Description Block.
func (f *File) iface(body []byte) error {
	if len(body) < 8 {
		return f.damaged("an interface block of %d bytes", 12+len(body))
	}
	if len(f.ng.ifaces) == maxIfaces {
		return f.damaged("more than %d interfaces", maxIfaces)
	}
	order := f.ng.order
	i := pcapngIface{link: decode.LinkType(order.u16(body)), snaplen: order.u32(body[4:])}
	i.resolution(6)
	for o := body[8:]; ; {
		code, value, rest := option(order, o)
		switch {
		case code == 0:
			f.ng.ifaces = append(f.ng.ifaces, i)
			return nil
		case code == optTsresol && len(value) == 1:
			i.resolution(value[0])
		case code == optTsoffset && len(value) == 8:
			sec := int64(order.u64(value))
			i.offset = sec * 1e9
			i.noTime = i.noTime || i.offset/1e9 != sec
		}
		o = rest
	}
}

// resolution sets what a tick is: 10^-v s, or 2^-v s with the highest bit set.
func (i *pcapngIface) resolution(v uint8) {
	i.mul, i.div, i.shift = 1, 1, 0
	n := v & 0x7f
	switch {
	case v&0x80 != 0 && n < 64:
		i.mul, i.shift = 1e9, n
	case v&0x80 == 0 && n <= 9:
		i.mul = pow10(9 - n)
	case v&0x80 == 0 && n < 20:
		i.div = pow10(n - 9)
	default:
		i.noTime = true // 64 bits would overflow within the first second
	}
}

func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

// stamp returns the time that is ticks, and whether there is such a time.
func (i *pcapngIface) stamp(ticks uint64) (decode.Timestamp, bool) {
	hi, ns := bits.Mul64(ticks, i.mul)
	if i.shift > 0 {
		hi, ns = hi>>i.shift, hi<<(64-i.shift)|ns>>i.shift
	} else if i.div > 1 {
		ns /= i.div // mul is 1, so that hi is 0
	}
	t := int64(ns) + i.offset
	return decode.Timestamp(t), hi == 0 && ns <= math.MaxInt64 && !i.noTime && (i.offset < 0 || t >= 0)
}

// packet takes an Enhanced Packet Block or the obsolete Packet Block, which has
// a drop count beside a short interface number and is otherwise the same.
func (f *File) packet(kind uint32, body []byte, fr *decode.Frame) error {
	if len(body) < 20 {
		return f.damaged("a packet block of %d bytes", 12+len(body))
	}
	order := f.ng.order
	id := order.u32(body)
	if kind == blockObsolete {
		id = uint32(order.u16(body))
	}
	captured, wire := order.u32(body[12:]), order.u32(body[16:])
	rest := body[20:]
	if int64(captured) > int64(len(rest)) {
		return f.damaged("a packet of %d bytes in a block of %d", captured, 12+len(body))
	}
	if int64(id) >= int64(len(f.ng.ifaces)) {
		return f.damaged("a packet of interface %d, of %d", id, len(f.ng.ifaces))
	}
	i := &f.ng.ifaces[id]
	t, ok := i.stamp(uint64(order.u32(body[4:]))<<32 | uint64(order.u32(body[8:])))
	if ok {
		f.ng.time = t
	}
	f.badStamp = !ok
	fr.Time, fr.Link, fr.Iface = f.ng.time, i.link, id
	fr.Dir, fr.Checksums = 0, 0
	fr.Wire, fr.Data = int(max(wire, captured)), rest[:captured:captured]
	for o := rest[min(pad4(int(captured)), len(rest)):]; ; {
		code, value, more := option(order, o)
		if code == 0 {
			return nil
		}
		if code == optFlags && len(value) == 4 {
			setFlags(fr, order.u32(value))
		}
		o = more
	}
}

// setFlags takes a packet's flags word.
func setFlags(fr *decode.Frame, flags uint32) {
	switch direction := flags & flagsDirection; {
	case direction == flagsOutbound:
		fr.Dir = decode.DirOutbound
	case flags&flagsReception == flagsPromiscuous:
		fr.Dir = decode.DirOther
	case direction == flagsInbound:
		fr.Dir = decode.DirInbound
	}
	switch {
	case flags&flagsSumNotReady != 0:
		fr.Checksums = decode.ChecksumsPartial
	case flags&flagsSumValid != 0:
		fr.Checksums = decode.ChecksumsComplete
	}
}

// simplePacket takes a Simple Packet Block: a packet of the first interface,
// cut to its snapshot length, without a time.
func (f *File) simplePacket(body []byte, fr *decode.Frame) error {
	if len(body) < 4 {
		return f.damaged("a packet block of %d bytes", 12+len(body))
	}
	if len(f.ng.ifaces) == 0 {
		return f.damaged("a packet before any interface")
	}
	i := &f.ng.ifaces[0]
	wire, data := f.ng.order.u32(body), body[4:]
	captured := wire
	if i.snaplen > 0 {
		captured = min(captured, i.snaplen)
	}
	if int64(captured) > int64(len(data)) {
		return f.damaged("a packet of %d bytes in a block of %d", captured, 12+len(body))
	}
	f.badStamp = false
	*fr = decode.Frame{Time: f.ng.time, Link: i.link, Wire: int(wire), Data: data[:captured:captured]}
	return nil
}

// option returns the first of options and the others; code 0 is their end.
func option(order byteOrder, options []byte) (code uint16, value, rest []byte) {
	if len(options) < 4 {
		return 0, nil, nil
	}
	n := int(order.u16(options[2:]))
	if 4+n > len(options) {
		return 0, nil, nil
	}
	return order.u16(options), options[4 : 4+n], options[min(4+pad4(n), len(options)):]
}

// pad4 returns n rounded up to a multiple of 4.
func pad4(n int) int { return (n + 3) &^ 3 }
