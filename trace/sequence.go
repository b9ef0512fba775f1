package trace

import "finack/decode"

// This file follows sequence numbers: what was sent, acknowledged, sent again,
// or not seen. They are compared modulo 2^32 (RFC 9293 section 3.4).

func seqLT(a, b uint32) bool  { return int32(a-b) < 0 }
func seqLEQ(a, b uint32) bool { return int32(a-b) <= 0 }

// printMix is any odd number whose bits are well mixed.
const printMix uint64 = 0x9e3779b97f4a7c15

// duplicate reports whether a segment is the very frame that its sender's last
// one was, seen again at a mirror port or a second tap. It brings nothing new,
// so a mistake would cost a note. Soon is whether it comes so close to that
// frame that it is no retransmission of anything.
func (e *end) duplicate(p *decode.Packet) (same, soon bool) {
	same, soon = e.mark(p)
	return same && !p.BadSum && e.repeats(p), soon
}

// mark takes a frame's fingerprint and time. Same is whether the fingerprint
// is that of the end's last frame, which was so close that soon is set.
func (e *end) mark(p *decode.Packet) (same, soon bool) {
	seg := &p.Segment
	now := uint16(p.Time / decode.Timestamp(tick))
	soon = e.packets > 0 && now-e.when < uint16(duplicateWithin/tick)
	h := mix(uint64(seg.Seq)<<32|uint64(seg.Ack), printMix) ^ mix(uint64(p.IPID)<<32|uint64(seg.TSVal), ^printMix)
	h = mix(h^uint64(seg.Flags)<<48^uint64(seg.Window)<<32^uint64(uint32(p.Len)), printMix)
	mark := uint16(h >> 16)
	same = soon && mark == e.print
	e.print, e.when = mark, now
	return same, soon
}

// repeats reports whether a segment brings nothing new, its number and its
// acknowledgment being known.
func (e *end) repeats(p *decode.Packet) bool {
	seg := &p.Segment
	end := seg.Seq + p.SeqLen()
	switch {
	case seg.Flags.Has(decode.RST):
		return e.rst > 1
	case !e.has(endSeen) || seqLT(e.nxt, end):
		return false
	case seg.Flags.Has(decode.ACK) && !(e.has(endAck) && seqLEQ(seg.Ack, e.acked)) && !(e.has(endUnseen) && seqLEQ(seg.Ack, e.unseen)):
		return false
	case end == seg.Seq && p.IPID == 0:
		return false // an ACK that is sent twice on purpose
	case seg.Flags.Has(decode.FIN):
		return e.fin > 1
	default:
		return true
	}
}

// advance takes over a segment's numbers and notes what kind of repetition it is.
func (t *Tracker) advance(c *record, s Side, p *decode.Packet) Note {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	n := p.SeqLen()
	note := Note(0)
	if f.Has(decode.RST) {
		if !me.has(endBase) {
			me.base, me.nxt = seg.Seq, seg.Seq
			me.flags |= endBase
		}
		return 0
	}
	if f.Has(decode.SYN) && !me.has(endSYNSeen) {
		if me.has(endSYN) && me.base == seg.Seq {
			me.flags &^= endHole
		}
		me.base = seg.Seq
		me.flags |= endBase
		if seg.Opts&decode.OptWScale != 0 {
			me.wscale = seg.WScale
		}
	}
	if f.Has(decode.SYN|decode.ACK) && !peer.has(endSYN) {
		// It proves that the other end has sent a SYN.
		if !peer.has(endSeen) {
			peer.nxt = seg.Ack
		}
		peer.base = seg.Ack - 1
		peer.flags |= endBase | endSYN
	}
	end := seg.Seq + n
	switch {
	case !me.has(endSeen):
		me.flags |= endSeen
		if !me.has(endBase) || !me.has(endSYN) && seqLT(seg.Seq, me.base) {
			me.base = seg.Seq
			me.flags |= endBase
		}
		if me.has(endSYN) {
			note |= t.unseen(c, s, seg.Seq)
		}
		if !me.has(endSYN) || seqLT(me.nxt, end) {
			me.sent(end, p)
		}
	case n == 0:
		note |= t.empty(c, s, seg)
	case seqLEQ(end, me.nxt):
		note |= t.repeated(c, s, p, end)
	case seqLT(me.nxt, seg.Seq):
		note |= t.gap(c, s, me.nxt, seg.Seq)
		if p.Len > 0 {
			me.flags |= endAlive
		}
		me.sent(end, p)
	case p.Len == 1 && n == 1 && seg.Seq == me.nxt && peer.windowClosed(me.nxt):
		note |= ZeroWindowProbe // which the receiver does not take (RFC 9293 section 3.8.6.1)
		me.flags |= endProbed
	default:
		// A probe's octet comes again with what it waited for: that is new.
		if seqLT(seg.Seq, me.nxt) && !f.Has(decode.SYN) && !(me.has(endTaken) && seg.Seq == me.nxt-1) {
			note |= Retransmission
		}
		if p.Len > 0 {
			me.flags |= endAlive // new data: it has not sent a FIN before
		}
		me.sent(end, p)
	}
	if peer.has(endUnseen) && seqLEQ(peer.unseen, me.nxt) {
		peer.acked = peer.unseen
		peer.flags = peer.flags&^(endUnseen|endWants) | endAck
		if me.has(endSYN) && seqLT(me.base, peer.acked) {
			me.flags |= endSYNRcvd
		}
	}
	if f.Has(decode.ACK) {
		t.acknowledge(c, s, seg, n)
	}
	return note
}

// sent takes over how far an end has sent.
func (e *end) sent(nxt uint32, p *decode.Packet) {
	e.nxt = nxt
	e.flags &^= endPayload | endProbed | endTaken
	if p.SeqLen() > 0 {
		e.flags &^= endHole // a FIN would have been the last
	}
	if p.Len > 0 && !p.Segment.Flags.Any(decode.SYN|decode.FIN) {
		e.flags |= endPayload
	}
}

// windowClosed reports whether this end has advertised a window of zero at the
// number nxt of its peer, which may not know yet that it has opened.
func (e *end) windowClosed(nxt uint32) bool {
	return e.has(endAck|endClosedWindow) && e.acked == nxt
}

// empty says what a segment is that occupies no sequence number.
func (t *Tracker) empty(c *record, s Side, seg *decode.Segment) Note {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	switch {
	case seqLT(me.nxt, seg.Seq):
		note := t.gap(c, s, me.nxt, seg.Seq)
		me.nxt = seg.Seq
		me.flags = me.flags&^(endPayload|endProbed) | endHole
		return note
	case seg.Seq == me.nxt:
		if me.has(endPayload) {
			me.flags |= endAlive // a FIN sent before would have taken this number
		}
	case me.state < Established:
	case peer.has(endAck) && peer.win == 0 && seg.Seq == peer.acked-1:
		return ZeroWindowProbe
	case seg.Seq == me.nxt-1:
		return KeepAlive
	}
	return 0
}

// probeTaken notices that the octet of a zero-window probe was taken after
// all, or that its sender goes on behind it.
func (t *Tracker) probeTaken(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if me.has(endProbed) && p.Segment.Seq == me.nxt+1 {
		me.probed()
	}
	if peer.has(endProbed) && p.Segment.Flags.Has(decode.ACK) && p.Segment.Ack == peer.nxt+1 {
		peer.probed()
	}
}

// probed counts the octet of a zero-window probe as sent.
func (e *end) probed() {
	e.nxt++
	e.flags = e.flags&^endProbed | endPayload | endTaken
}

// unseen notes that this end's first segment that was seen is not the one
// after its SYN; what the peer acknowledged before was none of it.
func (t *Tracker) unseen(c *record, s Side, seq uint32) Note {
	me := &c.ends[s]
	lo := me.nxt
	if me.has(endGap) {
		lo = me.base + 1
	}
	if !seqLT(lo, seq) {
		return 0
	}
	me.flags |= endHole
	return t.gap(c, s, lo, seq)
}

// gap notes that what side s has sent from lo to hi was not seen.
func (t *Tracker) gap(c *record, s Side, lo, hi uint32) Note {
	tr := t.troubleOf(c)
	tr.gapLo[s], tr.gapHi[s] = lo, hi
	c.ends[s].flags |= endGap
	return Gap
}

// gapOf returns where the last gap of side s is kept, if it was not filled
// since and its numbers are known; else nil.
func (t *Tracker) gapOf(c *record, s Side) *trouble {
	if c.trouble == 0 || !c.ends[s].has(endGap) {
		return nil
	}
	tr := t.trouble.at(c.trouble - 1)
	if tr.gapLo[s] == tr.gapHi[s] {
		return nil
	}
	return tr
}

// repeated says what a segment is that brings no new number.
func (t *Tracker) repeated(c *record, s Side, p *decode.Packet, end uint32) Note {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if seg.Flags.Has(decode.SYN|decode.ACK) && !me.has(endAck) {
		return 0 // its SYN crossed the peer's and now says so
	}
	if tr := t.gapOf(c, s); tr != nil {
		if seg.Flags.Has(decode.FIN) && seqLT(tr.gapHi[s], end) {
			end-- // the FIN may come again with what was missing before it
		}
		if lo, hi := &tr.gapLo[s], &tr.gapHi[s]; seqLEQ(*lo, seg.Seq) && seqLEQ(end, *hi) {
			// It fills a gap: late, not lost.
			if seg.Seq == *lo {
				*lo = end
			} else {
				*hi = seg.Seq
			}
			if *lo == *hi {
				me.flags &^= endGap | endHole
			}
			return OutOfOrder
		}
	}
	if p.Len <= 1 && p.SeqLen() == uint32(p.Len) && seg.Seq == me.nxt-1 {
		switch {
		case peer.has(endAck) && peer.acked == me.nxt:
			if peer.win == 0 {
				return ZeroWindowProbe
			}
			return KeepAlive
		case peer.has(endAck) && peer.win == 0:
			return ZeroWindowProbe
		}
	}
	return Retransmission
}

// acknowledge takes over the acknowledgment and the window of a segment of
// length n.
func (t *Tracker) acknowledge(c *record, s Side, seg *decode.Segment, n uint32) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if !peer.has(endBase) {
		peer.base, peer.nxt = seg.Ack, seg.Ack
		peer.flags |= endBase
		if me.has(endSYN) && !seg.Flags.Has(decode.SYN) {
			// One that has sent a SYN and goes on has received the peer's,
			// and that acknowledged its own.
			peer.base = seg.Ack - 1
			peer.flags |= endSYN | endSYNRcvd
			me.flags |= endSYNRcvd
			peer.flags |= endHole // it may acknowledge more than the SYN
		}
	}
	if !peer.has(endSeen) && me.has(endAck|endSYN) && !seg.Flags.Has(decode.SYN) && seqLT(me.acked, seg.Ack) {
		// Only this direction is captured. It has received more than the
		// SYN, so the acknowledgment of its own, too.
		me.flags |= endSYNRcvd
		peer.flags |= endGap
	}
	if !peer.has(endSeen) && seqLT(peer.nxt, seg.Ack) {
		peer.nxt = seg.Ack
	}
	switch {
	case seqLT(peer.nxt, seg.Ack):
		if !me.has(endUnseen) || seqLT(me.unseen, seg.Ack) {
			me.unseen = seg.Ack
			me.flags |= endUnseen
		}
	case !me.has(endAck) || seqLT(me.acked, seg.Ack):
		me.acked = seg.Ack
		me.flags = me.flags&^(endClosedWindow|endWants) | endAck
	case seg.Ack == me.acked && n == 0 && seg.Window == me.win && me.has(endFIN):
		me.flags |= endWants // after its FIN it answers only what came out of order (RFC 5681 section 4.2)
	}
	me.win = seg.Window
	if seg.Window == 0 {
		me.flags |= endClosedWindow
	}
}
