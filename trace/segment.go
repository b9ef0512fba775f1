package trace

import (
	"slices"

	"finack/decode"
)

// segment takes a TCP segment: finds the connection that it belongs to, what
// its receiver would make of it, and what it proves.
func (t *Tracker) segment(p *decode.Packet) {
	var k key
	srcHi := makeKey(&k, &p.Src, &p.Dst, decode.ProtoTCP)
	h := t.hash(&k)
	c, idx := t.find(&k, h)
	reused := false
	if c != nil && t.isNew(c, c.side(srcHi), p) {
		syn, last, times := t.takeSYN(c, c.side(srcHi), p)
		t.release(c, idx, t.now, t.verdict(c))
		c, reused = nil, true
		for range times {
			t.segment(&syn)
			c, idx = t.find(&k, h)
			syn.Time = last
		}
	}
	first := c == nil
	if first {
		t.stats.Conns++
		c, idx = t.begin(&k, h, srcHi, p)
	}
	s := t.roles(c, c.side(srcHi), p)

	at := len(t.out)
	before := [2]State{c.ends[Client].state, c.ends[Server].state}
	var anomaly Anomaly
	var note Note
	var step bool
	t.tally(c, s, p)
	t.completeness(c, p, first)
	t.zeek(c, s, p)
	same, soon := c.ends[s].duplicate(p)
	if same && c.ends[s.Peer()].flags&(endSYNLost|endFINLost) == 0 {
		note = Duplicate
	} else {
		t.probeTaken(c, s, p)
		t.finTaken(c, s, p)
		anomaly = t.judge(c, s, p)
		note = t.challenged(c, s, p, anomaly)
		switch anomaly {
		case NoAnomaly, AckOfUnseen:
			note |= t.advance(c, s, p)
			step = t.step(c, s, p)
			t.prove(c, s, p, note&(Retransmission|OutOfOrder) != 0 && !soon)
			t.opening(c, s, p)
		case ResetAfterClose:
			step = t.step(c, s, p)
		case OutOfWindow:
			t.holdFIN(c, s, p)
		}
	}
	c.count(s, p)
	if c.closing != 0 {
		t.halfClosed(c, p)
	}
	if note != 0 {
		t.troubleOf(c).count(s, note)
	}
	if reused {
		note |= Reused
	}
	if t.cfg.All || step || anomaly != NoAnomaly || len(t.out) > at || p.Segment.Flags.Any(decode.SYN|decode.FIN|decode.RST) {
		t.show(c, s, p, at, before, anomaly, note, first)
	}
	t.file(c, idx, note != Duplicate && anomaly == NoAnomaly && p.Segment.Flags.Has(decode.FIN))
}

// show tells of a segment, before what it caused, and of what is wrong with it.
func (t *Tracker) show(c *record, s Side, p *decode.Packet, at int, before [2]State, anomaly Anomaly, note Note, first bool) {
	seg := &p.Segment
	e := t.event(c, SegmentSeen, p.Time, s)
	e.Flags, e.Seq, e.Ack, e.Len, e.Window = seg.Flags, seg.Seq, seg.Ack, p.Len, seg.Window
	e.SeqBase, e.AckBase = c.ends[s].base, c.ends[s.Peer()].base
	e.First, e.Note = first, note
	e.Changed = [2]bool{before[Client] != e.States[Client], before[Server] != e.States[Server]}
	t.out = slices.Insert(t.out, at, e)
	if anomaly != NoAnomaly {
		e.Kind, e.Anomaly = AnomalySeen, anomaly
		t.out = append(t.out, e)
	}
}

// printMix is any odd number whose bits are well mixed.
const printMix uint64 = 0x9e3779b97f4a7c15

// duplicate reports whether a segment is the very frame that its sender's last
// one was, seen again at a mirror port or a second tap. It brings nothing new,
// so a mistake would cost a note. Soon is whether it comes so close to that
// frame that it is no retransmission of anything.
func (e *end) duplicate(p *decode.Packet) (same, soon bool) {
	seg := &p.Segment
	now := uint16(p.Time / decode.Timestamp(tick))
	soon = e.packets > 0 && now-e.when < uint16(duplicateWithin/tick)
	h := mix(uint64(seg.Seq)<<32|uint64(seg.Ack), printMix) ^ mix(uint64(p.IPID)<<32|uint64(seg.TSVal), ^printMix)
	h = mix(h^uint64(seg.Flags)<<48^uint64(seg.Window)<<32^uint64(uint32(p.Len)), printMix)
	mark := uint16(h >> 16)
	same = soon && mark == e.print
	e.print, e.when = mark, now
	return same && !p.BadSum && e.repeats(p), soon
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

// begin adds a connection; its first segment tells who the client is.
func (t *Tracker) begin(k *key, h uint32, srcHi bool, p *decode.Packet) (*record, uint32) {
	seg := &p.Segment
	syn := seg.Flags.Has(decode.SYN) && !seg.Flags.Any(decode.RST)
	list := listOpen
	if syn {
		list = listHalfOpen
	}
	c, idx := t.open(k, h, srcHi, list, p)
	for s := range c.ends {
		c.ends[s].wscale = noScale
	}
	switch {
	case syn && !seg.Flags.Has(decode.ACK):
		c.role = RoleSYN
		c.ends[Client].state = Closed
	case seg.Flags.Has(decode.SYN | decode.ACK): // also with RST: nonsense, but from the server
		c.role, c.clientHi = RoleSYNACK, !srcHi
	default:
		// A guess: services have the lower ports; else the first sender asks.
		if p.Src.Port < p.Dst.Port {
			c.clientHi = !srcHi
		}
	}
	if c.side(srcHi) == Server {
		c.bits |= bitFlipped
	}
	return c, idx
}

// fits reports whether a SYN may be the one that began what is known of its sender.
func (e *end) fits(p *decode.Packet) bool {
	switch {
	case e.has(endSYN | endBase):
		// The base of a SYN that was not seen was taken from its acknowledgment, which may cover data.
		return e.base == p.Segment.Seq || !e.has(endSYNSeen) && e.base+1 == p.Segment.Seq+p.SeqLen()
	case e.has(endSeen):
		return e.base == p.Segment.Seq+1
	default:
		return true
	}
}

// isNew reports whether a SYN begins another connection on a 4-tuple in use:
// it has another ISN, and the old connection is over or its receiver would
// accept it (RFC 9293 section 3.10.7). A SYN-ACK that acknowledges such a SYN
// proves that it was accepted.
func (t *Tracker) isNew(c *record, s Side, p *decode.Packet) bool {
	f := p.Segment.Flags
	if !f.Any(decode.SYN|decode.RST) || p.BadSum {
		return false
	}
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	known := me.has(endSeen) || me.has(endSYN|endBase)
	switch {
	case f.Has(decode.RST):
		// A synchronized end would have answered by a challenge ACK: there was none.
		return t.answersHeldSYN(c, s, p)
	case known && me.fits(p), t.answeredByRST(c, s, p):
		return false // sent again, or the first of the connection, late in this capture
	case t.answersHeldSYN(c, s, p):
		return true
	case t.finished(c):
		return known || !f.Has(decode.ACK) || !peer.has(endSYN) || p.Segment.Ack != peer.base+1
	case f.Has(decode.ACK):
		return false
	case !me.has(endSeen) && peer.has(endPureSYN) && !peer.has(endSYNRcvd):
		return false // simultaneous open
	case me.has(endSYN):
		return !me.has(endSYNRcvd) // the old attempt was given up
	default:
		return !me.has(endSeen) || !peer.has(endSYN) // joined midstream: nothing says that it is still alive
	}
}

// answeredByRST reports whether the connection is, as far as it was captured,
// the RST that answers this SYN of side s.
func (t *Tracker) answeredByRST(c *record, s Side, p *decode.Packet) bool {
	if c.closing == 0 || c.ends[s].packets != 0 {
		return false
	}
	cl := t.closing.at(c.closing - 1)
	return cl.n == 1 && cl.steps[0].Flags.Has(decode.RST|decode.ACK) && cl.steps[0].Ack == p.Segment.Seq+p.SeqLen()
}

// holdSYN remembers a SYN that a synchronized receiver does not accept now; a
// SYN-ACK or RST for it would prove the contrary.
func (t *Tracker) holdSYN(c *record, s Side, p *decode.Packet) {
	if p.Segment.Flags.Has(decode.ACK) {
		return
	}
	tr := t.troubleOf(c)
	if tr.syns != 0 && tr.synSide == s && tr.syn.Seq == p.Segment.Seq {
		if c.last != tr.synLast {
			tr.synPrev = c.last
		}
		tr.synLast = p.Time
		tr.syns++
		return
	}
	tr.syn, tr.synLen, tr.synTime, tr.synLast, tr.synPrev = p.Segment, p.Len, p.Time, p.Time, c.last
	tr.synSide, tr.syns = s, 1
}

// answersHeldSYN reports whether a segment of side s answers the SYN that was
// held back because the connection looked alive: it acknowledges it, with or
// without data on it (RFC 7413 section 4.2), or is a SYN of the other end, too,
// which crosses it: both have forgotten the old connection.
func (t *Tracker) answersHeldSYN(c *record, s Side, p *decode.Packet) bool {
	if c.trouble == 0 {
		return false
	}
	tr := t.trouble.at(c.trouble - 1)
	if tr.syns == 0 || tr.synSide != s.Peer() {
		return false
	}
	if !p.Segment.Flags.Has(decode.ACK) {
		return p.Segment.Flags.Has(decode.SYN)
	}
	return seqLT(tr.syn.Seq, p.Segment.Ack) && seqLEQ(p.Segment.Ack, tr.syn.Seq+1+uint32(tr.synLen))
}

// takeSYN takes the SYN that was held back, now that the answer p of side s
// shows that it began a new connection, out of the old one's account: as often
// as it was sent, at its first time and at its last.
func (t *Tracker) takeSYN(c *record, s Side, p *decode.Packet) (syn decode.Packet, last decode.Timestamp, times int) {
	if !t.answersHeldSYN(c, s, p) {
		return syn, 0, 0
	}
	tr := t.trouble.at(c.trouble - 1)
	e := &c.ends[s.Peer()]
	e.packets -= uint64(tr.syns)
	e.bytes -= uint64(tr.syns) * uint64(tr.synLen)
	e.syn -= tr.syns
	if c.last == tr.synLast {
		c.last = tr.synPrev
	}
	return decode.Packet{
		Time: tr.synTime, Proto: decode.ProtoTCP, Version: p.Version, Src: p.Dst, Dst: p.Src, Segment: tr.syn, Len: tr.synLen,
	}, tr.synLast, int(tr.syns)
}

// finished reports whether nothing but late segments can come: a reset, or
// both FINs acknowledged.
func (t *Tracker) finished(c *record) bool {
	cl, sv := &c.ends[Client], &c.ends[Server]
	return cl.has(endReset) || sv.has(endReset) || cl.has(endFINAcked) && sv.has(endFINAcked)
}

// file puts a connection in the list where it belongs now, and says once that
// it is closed. A FIN that comes again restarts the 2 MSL timeout (RFC 9293
// section 3.10.7.4).
func (t *Tracker) file(c *record, idx uint32, fin bool) {
	if t.finished(c) {
		if fin || c.list != listFinished {
			t.closingOf(c).due = t.now.Add(t.cfg.TimeWait)
			t.move(listFinished, c, idx)
		}
		if c.bits&bitReported == 0 {
			c.bits |= bitReported
			e := t.event(c, ConnClosed, c.last, Client)
			e.Verdict = t.verdict(c)
			t.out = append(t.out, e)
		}
		return
	}
	if c.list == listHalfOpen && c.ends[Client].has(endSYNRcvd) && c.ends[Server].has(endSYNRcvd) {
		t.move(listOpen, c, idx)
	}
}

// tally counts flags and marks where a first payload lies.
func (t *Tracker) tally(c *record, s Side, p *decode.Packet) {
	me := &c.ends[s]
	f := p.Segment.Flags
	if f.Any(decode.SYN | decode.FIN | decode.RST) {
		more(&me.syn, f.Has(decode.SYN))
		more(&me.fin, f.Has(decode.FIN))
		more(&me.rst, f.Has(decode.RST))
	}
	if p.Len > 0 {
		c.lastData = p.Time
	}
}

// more adds one to a counter that stops at its highest value.
func more(n *uint16, one bool) {
	if one && *n != 0xffff {
		*n++
	}
}

// judge says what the receiver of a segment would make of it.
func (t *Tracker) judge(c *record, s Side, p *decode.Packet) Anomaly {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	switch {
	case p.BadSum:
		return BadChecksum
	case f.Has(decode.RST):
		return t.judgeRST(c, s, seg)
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
	if me.has(endSeen) && seqLT(me.nxt, seg.Seq) && t.outside(c, s, end) {
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
	if peer.has(endSeen) && seqLT(peer.nxt, seg.Ack) {
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
func (t *Tracker) outside(c *record, s Side, end uint32) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if !peer.has(endAck) || me.has(endGap) {
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
	if me.has(endGap) || peer.has(endUnseen) {
		hi = lo + uint32(peer.win)<<t.scale(c, s.Peer())
		if seqLT(hi, me.nxt) {
			hi = me.nxt
		}
	}
	if seqLT(seg.Seq, lo) || seqLT(hi, seg.Seq) {
		return ResetOutOfPlace
	}
	return NoAnomaly
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
		note |= t.gap(c, s, seg.Seq)
		if p.Len > 0 {
			me.flags |= endAlive
		}
		me.sent(end, p)
	case p.Len == 1 && n == 1 && seg.Seq == me.nxt && peer.windowClosed(me.nxt):
		note |= ZeroWindowProbe // which the receiver does not take (RFC 9293 section 3.8.6.1)
		me.flags |= endProbed
	default:
		if seqLT(seg.Seq, me.nxt) && !f.Has(decode.SYN) {
			note |= Retransmission
		}
		if p.Len > 0 {
			me.flags |= endAlive // new data: it has not sent a FIN before
		}
		me.sent(end, p)
	}
	if peer.has(endUnseen) && seqLEQ(peer.unseen, me.nxt) {
		peer.acked = peer.unseen
		peer.flags = peer.flags&^endUnseen | endAck
		if me.has(endSYN) && seqLT(me.base, peer.acked) {
			me.flags |= endSYNRcvd
		}
	}
	if f.Has(decode.ACK) {
		t.acknowledge(c, s, seg)
	}
	return note
}

// sent takes over how far an end has sent.
func (e *end) sent(nxt uint32, p *decode.Packet) {
	e.nxt = nxt
	e.flags &^= endPayload | endProbed
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
	return e.has(endAck) && (e.win == 0 || e.has(endClosedWindow)) && e.acked == nxt
}

// empty says what a segment is that occupies no sequence number.
func (t *Tracker) empty(c *record, s Side, seg *decode.Segment) Note {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	switch {
	case seqLT(me.nxt, seg.Seq):
		note := t.gap(c, s, seg.Seq)
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

// probeTaken notices that the octet of a zero-window probe was taken after all.
func (t *Tracker) probeTaken(c *record, s Side, p *decode.Packet) {
	peer := &c.ends[s.Peer()]
	if peer.has(endProbed) && p.Segment.Flags.Has(decode.ACK) && p.Segment.Ack == peer.nxt+1 {
		peer.nxt++
		peer.flags = peer.flags&^endProbed | endPayload
	}
}

// holdFIN remembers a FIN beyond the window that its receiver has advertised.
// Where the capture has lost what opened the window, an acknowledgment of the
// FIN will show that it was taken.
func (t *Tracker) holdFIN(c *record, s Side, p *decode.Packet) {
	if !p.Segment.Flags.Has(decode.FIN) || c.ends[s].has(endFIN) {
		return
	}
	tr := t.troubleOf(c)
	tr.fin[s], tr.finLen[s], tr.finTime[s], tr.finSet[s] = p.Segment, p.Len, p.Time, true
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
	fin := decode.Packet{
		Time: tr.finTime[from], Proto: decode.ProtoTCP, Version: p.Version, Src: p.Dst, Dst: p.Src, Segment: tr.fin[from], Len: tr.finLen[from],
	}
	if p.Segment.Ack != fin.Segment.Seq+fin.SeqLen() {
		return
	}
	tr.finSet[from] = false
	if note := t.advance(c, from, &fin); note != 0 {
		tr.count(from, note)
	}
	t.step(c, from, &fin)
	t.prove(c, from, &fin, false)
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
		if peer.has(endAck) && !seqLT(seg.Seq, peer.acked) && !t.outside(c, s, seg.Seq) {
			peer.flags |= endProvoked
		}
	}
	return note
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
	tr := t.troubleOf(c)
	tr.gapLo[s], tr.gapHi[s] = lo, seq
	me.flags |= endGap | endHole
	return Gap
}

// gap notes that what lies before seq was not seen.
func (t *Tracker) gap(c *record, s Side, seq uint32) Note {
	me, tr := &c.ends[s], t.troubleOf(c)
	tr.gapLo[s], tr.gapHi[s] = me.nxt, seq
	me.flags |= endGap
	return Gap
}

// repeated says what a segment is that brings no new number.
func (t *Tracker) repeated(c *record, s Side, p *decode.Packet, end uint32) Note {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if seg.Flags.Has(decode.SYN|decode.ACK) && !me.has(endAck) {
		return 0 // its SYN crossed the peer's and now says so
	}
	if me.has(endGap) && c.trouble != 0 {
		tr := t.trouble.at(c.trouble - 1)
		if lo, hi := &tr.gapLo[s], &tr.gapHi[s]; *lo != *hi && seqLEQ(*lo, seg.Seq) && seqLEQ(end, *hi) {
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

// count adds a segment to the totals of what its notes say.
func (tr *trouble) count(s Side, n Note) {
	for _, x := range [...]struct {
		note Note
		n    *[2]uint32
	}{
		{Retransmission, &tr.retransmits},
		{Duplicate, &tr.duplicates},
		{OutOfOrder, &tr.outOfOrder},
		{Gap, &tr.gaps},
		{KeepAlive, &tr.keepAlives},
		{ZeroWindowProbe, &tr.zeroWindowProbes},
		{ChallengeACK, &tr.challengeACKs},
	} {
		if n&x.note != 0 {
			x.n[s]++
		}
	}
}

// acknowledge takes over the acknowledgment and the window of a segment.
func (t *Tracker) acknowledge(c *record, s Side, seg *decode.Segment) {
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
		me.flags = me.flags&^endClosedWindow | endAck
	}
	me.win = seg.Window
	if seg.Window == 0 {
		me.flags |= endClosedWindow
	}
}

// opening follows the handshake: how often it was tried and how long it took.
func (t *Tracker) opening(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	switch {
	case f.Has(decode.RST):
		if s == Server && peer.has(endSYN) && !peer.has(endSYNRcvd) && !me.has(endSYN) {
			c.bits |= bitRefused
		}
	case f.Has(decode.SYN | decode.ACK):
		if s != Server {
			return
		}
		if c.bits&(bitSYNACK|bitHalfOpen) == 0 {
			c.bits |= bitSYNACK
			c.halfOpen = int64(p.Time)
		}
		if !peer.has(endSYNSeen) {
			return
		}
		if seqLT(peer.base+1, seg.Ack) {
			c.bits |= bitFastOpen
		}
		if c.bits&bitOpening != 0 {
			c.bits &^= bitOpening
			if rtt := p.Time.Sub(decode.Timestamp(c.opened)); c.extra == 0 && rtt >= 0 {
				c.bits |= bitRTT
				c.opened = int64(rtt)
			}
		}
	case f.Has(decode.SYN):
		switch {
		case s != Client:
		case me.syn > 1:
			c.extra += uint8(min(1, 255-int(c.extra)))
		case !peer.has(endSYNSeen):
			c.bits |= bitOpening
			c.opened = int64(p.Time)
		case p.Len > 0 && seqLEQ(seg.Seq+p.SeqLen(), peer.acked):
			c.bits |= bitFastOpen // the SYN-ACK came first in this capture
		}
	case c.bits&bitSYNACK != 0 && s == Client && peer.has(endSYNRcvd):
		c.bits = c.bits&^bitSYNACK | bitHalfOpen
		c.halfOpen = max(0, int64(p.Time)-c.halfOpen)
	}
}

// roles corrects who the client is when a SYN or SYN-ACK comes after what
// followed it, as in a capture that is out of order; it returns the sender's side.
func (t *Tracker) roles(c *record, s Side, p *decode.Packet) Side {
	f := p.Segment.Flags
	if !f.Has(decode.SYN) || f.Has(decode.RST) || p.BadSum || c.role == RoleSYN || !c.ends[s].fits(p) {
		return s
	}
	role, client := RoleSYN, s
	if f.Has(decode.ACK) {
		role, client = RoleSYNACK, s.Peer()
	}
	if c.role == RoleGuess && client == Server {
		t.flip(c)
		s = s.Peer()
	}
	if c.role == RoleGuess || client == Client {
		c.role = role
	}
	return s
}

// flip exchanges client and server.
func (t *Tracker) flip(c *record) {
	c.clientHi = !c.clientHi
	c.bits ^= bitFlipped
	swap(&c.ends)
	swapCase(&c.history)
	if c.trouble != 0 {
		tr := t.trouble.at(c.trouble - 1)
		swap(&tr.gapLo)
		swap(&tr.gapHi)
		for _, n := range [...]*[2]uint32{
			&tr.retransmits, &tr.duplicates, &tr.outOfOrder, &tr.gaps, &tr.keepAlives, &tr.zeroWindowProbes, &tr.challengeACKs,
			&tr.zeekLost, &tr.zeekSYN,
		} {
			swap(n)
		}
		swap(&tr.fin)
		swap(&tr.finLen)
		swap(&tr.finTime)
		swap(&tr.finSet)
		swap(&tr.zeek)
		for i := range tr.history {
			swapCase(&tr.history[i])
		}
		tr.synSide = tr.synSide.Peer()
	}
	if c.closing == 0 {
		return
	}
	cl := t.closing.at(c.closing - 1)
	for i := range cl.steps[:cl.n] {
		cl.steps[i].From = cl.steps[i].From.Peer()
	}
	swap(&cl.since)
	swap(&cl.timeIn)
	swap(&cl.fin)
	swap(&cl.finAck)
	swap(&cl.finTime)
	swap(&cl.finLate)
	swap(&cl.ackFirst)
	swap(&cl.ahead)
	swap(&cl.zeekFIN)
	swap(&cl.zeekRST)
	for i := range cl.ahead {
		cl.ahead[i].From = cl.ahead[i].From.Peer()
	}
	cl.resetBy, cl.halfBy = cl.resetBy.Peer(), cl.halfBy.Peer()
}

func swap[T any](a *[2]T) { a[0], a[1] = a[1], a[0] }
