package pipeline

import (
	"time"

	"finack/decode"
)

// copyWithin is how far apart in time the copies of one packet may be.
const copyWithin = 5 * time.Millisecond

// print is what the copies of one packet share, whatever interface they were
// seen on.
type print struct {
	src, dst decode.Endpoint
	ipid     uint32
	seq, ack uint32
	flags    decode.Flags
	proto    decode.Proto
	length   int
}

// copies recognises a packet that was seen on another interface a moment ago,
// as on a bridge and its ports. It remembers the last packets only.
type copies struct {
	recent [256]struct {
		print
		iface uint32
		time  decode.Timestamp
	}
	next int
}

// seen reports whether p is a copy, and remembers it otherwise.
func (c *copies) seen(p *decode.Packet) bool {
	if p.Proto != decode.ProtoTCP && p.Proto != decode.ProtoUDP {
		return false
	}
	k := print{
		src: p.Src, dst: p.Dst, ipid: p.IPID, seq: p.Segment.Seq, ack: p.Segment.Ack,
		flags: p.Segment.Flags, proto: p.Proto, length: p.Len,
	}
	for n := range len(c.recent) {
		r := &c.recent[(c.next-1-n+2*len(c.recent))%len(c.recent)]
		if r.time == 0 || p.Time.Sub(r.time) > copyWithin {
			break // older ones are farther back
		}
		if r.iface != p.Iface && r.print == k {
			return true
		}
	}
	r := &c.recent[c.next]
	r.print, r.iface, r.time = k, p.Iface, p.Time
	c.next = (c.next + 1) % len(c.recent)
	return false
}
