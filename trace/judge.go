package trace

import "finack/decode"

// This file says what the receiver of a segment makes of it: RFC 9293 section
// 3.10.7 and RFC 5961.

// judge says what the receiver of a segment would make of it.
func (t *Tracker) judge(c *record, s Side, p *decode.Packet) Anomaly {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	switch {
	case p.BadSum:
		return BadChecksum
	case f.Has(decode.RST):
		a := t.judgeRST(c, s, seg)
		if b := t.cfg.broken; b != nil && b.anyRST && a == ResetOutOfPlace {
			return NoAnomaly
		}
		return a
	case f.Has(decode.SYN):
		return t.judgeSYN(c, s, p)
	case !f.Has(decode.ACK):
		if me.has(endSYN) || f.Any(decode.FIN) {
			return MissingAck
		}
		return NoAnomaly
	}
	if me.foreign(seg.Seq) || peer.foreign(seg.Ack-1) {
		return OldDuplicate
	}
	end := seg.Seq + p.SeqLen()
	if me.has(endSeen) && seqLT(me.nxt, seg.Seq) && t.outside(c, s, seg, end) {
		return OutOfWindow
	}
	if f.Has(decode.FIN) && me.has(endSeen) {
		if me.has(endFIN) && t.closing.at(c.closing - 1).fin[s] != end || !me.has(endFIN) && seqLT(end, me.nxt) {
			return FINOutOfPlace
		}
	}
	if me.has(endFIN) && end != seg.Seq && seqLT(t.closing.at(c.closing - 1).fin[s], end) {
		return OutOfWindow // "ignore the segment text" after a FIN (RFC 9293 section 3.10.7.4)
	}
	if peer.has(endSeen) && seqLT(peer.nxt, seg.Ack) && !t.acknowledgesData(peer) {
		return AckOfUnseen
	}
	return NoAnomaly
}

// foreign reports whether a number cannot be one that this end has sent: it
// lies before its ISS, or, with the SYN not acknowledged yet, far beyond it.
func (e *end) foreign(n uint32) bool {
	if !e.has(endSYNSeen) || e.nxt-e.base >= 1<<30 { // later the ISS is no measure
		return false
	}
	return seqLT(n, e.base) || !e.has(endSYNRcvd) && seqLT(e.nxt+1<<20, n)
}

// judgeSYN applies RFC 5961 section 4.2 to SYNs and RFC 9293 section 3.10.7.3
// to the acknowledgment of a SYN-ACK.
func (t *Tracker) judgeSYN(c *record, s Side, p *decode.Packet) Anomaly {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if !me.fits(p) {
		t.holdSYN(c, s, p)
		return SYNInConnection
	}
	switch {
	case !seg.Flags.Has(decode.ACK):
		return NoAnomaly
	case peer.has(endSYN | endBase):
		if seqLEQ(seg.Ack, peer.base) || seqLT(peer.nxt, seg.Ack) {
			return SYNACKOutOfPlace
		}
	case peer.has(endSeen) && seqLT(peer.base, seg.Ack):
		return SYNACKOutOfPlace // its SYN was before what was seen first
	}
	return NoAnomaly
}

// outside reports whether a segment that ends there is beyond the window that
// its receiver has advertised. Where that is not known, nothing is outside.
func (t *Tracker) outside(c *record, s Side, seg *decode.Segment, end uint32) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if !peer.has(endAck) || me.has(endGap) || t.edgeUnseen(peer, seg) {
		return false
	}
	edge := peer.acked
	if peer.has(endUnseen) {
		edge = peer.unseen
	}
	edge += uint32(peer.win) << t.scale(c, s.Peer())
	return seqLT(edge, end)
}

// scale returns the shift count of an end's window (RFC 7323 section 2.2): both
// SYNs must have offered it; where one was not seen, the largest is assumed.
func (t *Tracker) scale(c *record, s Side) uint8 {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if !me.has(endSYNSeen) || !peer.has(endSYNSeen) {
		return maxScale
	}
	if me.wscale == noScale || peer.wscale == noScale {
		return 0
	}
	return min(me.wscale, maxScale)
}

// judgeRST applies RFC 9293 section 3.10.7 and RFC 5961 section 3.2: a RST
// counts when it is exactly at RCV.NXT, in SYN_SENT when it acknowledges the
// SYN. RCV.NXT lies between what the receiver has acknowledged and what was
// sent; a RST that could be exact counts.
func (t *Tracker) judgeRST(c *record, s Side, seg *decode.Segment) Anomaly {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	switch {
	case me.has(endFINAcked) && peer.has(endFINAcked):
		return ResetAfterClose
	case me.has(endReset) || peer.has(endReset):
		return NoAnomaly // one more of the same
	}
	if peer.state == SynSent && !me.has(endSYN) {
		if seg.Flags.Has(decode.ACK) && seqLT(peer.base, seg.Ack) && seqLEQ(seg.Ack, peer.nxt) {
			return NoAnomaly
		}
		return ResetOutOfPlace
	}
	var lo uint32
	hi := me.nxt
	switch {
	case peer.has(endAck):
		lo = peer.acked
		if peer.has(endUnseen) {
			hi = peer.unseen
		}
		if !me.has(endSeen) {
			hi = lo
		}
	case !me.has(endSeen):
		return NoAnomaly
	case peer.has(endSYN) && !peer.has(endSYNRcvd) || me.has(endSYN):
		lo = me.base // nothing acknowledged yet: anything from the SYN on
	default:
		return NoAnomaly
	}
	if me.has(endGap) || peer.has(endUnseen) || t.cfg.Lifecycle && peer.has(endAck) {
		hi = lo + uint32(peer.win)<<t.scale(c, s.Peer())
		if seqLT(hi, me.nxt) {
			hi = me.nxt
		}
	}
	if seqLT(seg.Seq, lo) || seqLT(hi, seg.Seq) && !t.edgeUnseen(peer, seg) {
		return ResetOutOfPlace
	}
	return NoAnomaly
}

// challenged tells whether a segment is a challenge ACK (RFC 5961): it repeats
// what its sender has said before, right after a segment that is so answered.
func (t *Tracker) challenged(c *record, s Side, p *decode.Packet, anomaly Anomaly) (note Note) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if me.has(endProvoked) {
		me.flags &^= endProvoked
		if p.Len == 0 && seg.Flags.Has(decode.ACK) && !seg.Flags.Any(decode.SYN|decode.FIN|decode.RST) &&
			seg.Seq == me.nxt && me.has(endAck) && seg.Ack == me.acked {
			note = ChallengeACK
		}
	}
	switch anomaly {
	case SYNInConnection, AckOfUnseen:
		peer.flags |= endProvoked
	case ResetOutOfPlace:
		// Outside the window it is dropped in silence.
		if peer.has(endAck) && !seqLT(seg.Seq, peer.acked) && !t.outside(c, s, seg, seg.Seq) {
			peer.flags |= endProvoked
		}
	}
	return note
}

// holdFIN remembers a FIN beyond the window that its receiver has advertised.
// Where the capture has lost what opened the window, an acknowledgment of the
// FIN will show that it was taken.
func (t *Tracker) holdFIN(c *record, s Side, p *decode.Packet) {
	if !p.Segment.Flags.Has(decode.FIN) || c.ends[s].has(endFIN) {
		return
	}
	tr := t.troubleOf(c)
	tr.fin[s], tr.finSet[s] = hold(p), true
}

// finTaken takes over the peer's FIN that was held back, now that p of side s
// acknowledges it.
func (t *Tracker) finTaken(c *record, s Side, p *decode.Packet) {
	from := s.Peer()
	if c.trouble == 0 || !p.Segment.Flags.Has(decode.ACK) || p.Segment.Flags.Has(decode.RST) {
		return
	}
	tr := t.trouble.at(c.trouble - 1)
	if !tr.finSet[from] {
		return
	}
	fin := tr.fin[from].packet(p)
	if p.Segment.Ack != fin.Segment.Seq+fin.SeqLen() {
		return
	}
	tr.finSet[from] = false
	if t.cfg.Lifecycle {
		t.unseenData(c, from, &fin)
	}
	if note := t.advance(c, from, &fin); note != 0 {
		tr.count(from, note)
	}
	t.step(c, from, &fin)
	t.prove(c, from, &fin, false)
}
