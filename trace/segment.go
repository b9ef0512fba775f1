package trace

import "finack/decode"

// segment takes a TCP segment: finds the connection that it belongs to, what
// its receiver would make of it, and what it proves.
func (t *Tracker) segment(p *decode.Packet) {
	var k key
	srcHi := makeKey(&k, &p.Src, &p.Dst, decode.ProtoTCP)
	h := t.hash(&k)
	c, idx := t.find(&k, h)
	reused := false
	if c != nil && t.isNew(c, c.side(srcHi), &p.Segment) {
		t.reuse(c, idx)
		c, reused = nil, true
	}
	first := c == nil
	if first {
		t.stats.Conns++
		c, idx = t.begin(&k, h, srcHi, p)
	}
	s := t.roles(c, c.side(srcHi), &p.Segment)

	at := len(t.out)
	t.out = append(t.out, Event{}) // the segment's own event comes before what it causes
	before := [2]State{c.ends[Client].state, c.ends[Server].state}
	anomaly := t.judge(c, s, p)
	t.tally(c, s, p)
	t.completeness(c, p, first)
	step := false
	note := Note(0)
	if anomaly == NoAnomaly || anomaly == AckOfUnseen {
		note = t.advance(c, s, p)
		step = t.step(c, s, p)
		t.prove(c, s, p)
		t.opening(c, s, p)
	} else if anomaly == ResetAfterClose {
		step = t.step(c, s, p)
	}
	if first {
		note &^= Gap
	}
	if reused {
		note |= Reused
	}
	c.count(s, p)
	f := p.Segment.Flags
	shown := t.cfg.All || step || anomaly != NoAnomaly || f.Any(decode.SYN|decode.FIN|decode.RST) || len(t.out) > at+1
	if shown {
		e := &t.out[at]
		*e = t.event(c, SegmentSeen, p.Time, s)
		e.Flags, e.Seq, e.Ack, e.Len, e.Window = f, p.Segment.Seq, p.Segment.Ack, p.Len, p.Segment.Window
		e.SeqBase, e.AckBase = c.ends[s].base, c.ends[s.Peer()].base
		e.First, e.Note = first, note
		e.Changed = [2]bool{before[Client] != e.States[Client], before[Server] != e.States[Server]}
		if anomaly != NoAnomaly {
			a := *e
			a.Kind, a.Anomaly = AnomalySeen, anomaly
			t.out = append(t.out, a)
		}
	} else {
		t.out = t.out[:at]
	}
	t.file(c, idx)
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
	case syn:
		// The SYN-ACK proves that the other end has sent a SYN.
		c.role, c.clientHi = RoleSYNACK, !srcHi
		cl := &c.ends[Client]
		cl.base, cl.nxt = seg.Ack-1, seg.Ack
		cl.flags |= endBase | endSYN
		cl.state = SynSent
	default:
		// A guess: services have the lower ports; else the first sender asks.
		if p.Src.Port < p.Dst.Port {
			c.clientHi = !srcHi
		}
	}
	return c, idx
}

// isNew reports whether a SYN begins another connection on a 4-tuple in use:
// it has another ISN, and the old connection is over or its receiver would
// accept it (RFC 9293 section 3.10.7). A SYN-ACK that acknowledges such a SYN
// proves that it was accepted.
func (t *Tracker) isNew(c *record, s Side, seg *decode.Segment) bool {
	if !seg.Flags.Has(decode.SYN) || seg.Flags.Any(decode.RST) {
		return false
	}
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if me.has(endSYNSeen) {
		if me.base == seg.Seq {
			return false // sent again
		}
	} else if me.has(endSYN|endBase) && me.base == seg.Seq || !me.has(endSYN) && me.has(endSeen) && me.base == seg.Seq+1 {
		return false // the first of the connection, late in this capture
	}
	if seg.Flags.Has(decode.ACK) {
		if me.has(endSYNSeen) || me.has(endSeen) {
			return t.finished(c) || t.accepted(c, s.Peer(), seg.Ack-1)
		}
		return t.finished(c)
	}
	switch {
	case t.finished(c):
		return true
	case !me.has(endSeen) && peer.has(endPureSYN) && !peer.has(endSYNRcvd):
		return false // simultaneous open
	case me.has(endSYN):
		return !me.has(endSYNRcvd) // the old attempt was given up
	default:
		return !c.ends[s].has(endSeen) || !peer.has(endSYN) // joined midstream: nothing says that it is still alive
	}
}

// accepted reports whether side s has sent a SYN with this ISN that was held
// back because the connection looked alive.
func (t *Tracker) accepted(c *record, s Side, isn uint32) bool {
	if c.closing == 0 {
		return false
	}
	cl := t.closing.at(c.closing - 1)
	return cl.synSet && cl.synSide == s && cl.synSeq == isn
}

// reuse lets the old connection of a 4-tuple go.
func (t *Tracker) reuse(c *record, idx uint32) {
	t.release(c, idx, t.verdict(c))
}

// finished reports whether nothing but late segments can come: a reset, or
// both FINs acknowledged.
func (t *Tracker) finished(c *record) bool {
	cl, sv := &c.ends[Client], &c.ends[Server]
	return cl.has(endReset) || sv.has(endReset) || cl.has(endFINAcked) && sv.has(endFINAcked)
}

// file puts a connection in the list where it belongs now, and says once that
// it is closed.
func (t *Tracker) file(c *record, idx uint32) {
	if t.finished(c) {
		cl := t.closingOf(c)
		cl.due = t.now.Add(t.cfg.TimeWait)
		t.move(listFinished, c, idx)
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
	if f.Has(decode.SYN) && me.syn != 0xffff {
		me.syn++
	}
	if f.Has(decode.FIN) && me.fin != 0xffff {
		me.fin++
	}
	if f.Has(decode.RST) {
		me.rst++
	}
	if p.Len > 0 {
		c.lastData = p.Time
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
		if me.has(endSYNSeen) && me.base != seg.Seq || !me.has(endSYNSeen) && me.has(endSeen) && me.base != seg.Seq+1 && !me.has(endSYN) {
			t.holdSYN(c, s, p)
			return SYNInConnection
		}
		return NoAnomaly
	case !f.Has(decode.ACK):
		if me.has(endSYN) || f.Any(decode.FIN) {
			return MissingAck
		}
		return NoAnomaly
	}
	if me.has(endSeen) && seqLT(me.nxt, seg.Seq) && t.outside(c, s, seg.Seq+p.SeqLen()) {
		return OutOfWindow
	}
	if f.Has(decode.FIN) && me.has(endSeen) {
		end := seg.Seq + p.SeqLen()
		if me.has(endFIN) {
			if t.closing.at(c.closing - 1).fin[s] != end {
				return FINOutOfPlace
			}
		} else if seqLT(end, me.nxt) {
			return FINOutOfPlace
		}
	}
	if peer.has(endSeen) && seqLT(peer.nxt, seg.Ack) {
		return AckOfUnseen
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
	edge := peer.acked + uint32(peer.win)<<t.scale(c, s.Peer())
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
	lo, hi := me.nxt, me.nxt
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

// holdSYN remembers a SYN that a synchronized receiver does not accept now; a
// SYN-ACK for it would prove the contrary.
func (t *Tracker) holdSYN(c *record, s Side, p *decode.Packet) {
	if p.Segment.Flags.Has(decode.ACK) {
		return
	}
	cl := t.closingOf(c)
	cl.synSet, cl.synSide, cl.synSeq, cl.synTime = true, s, p.Segment.Seq, p.Time
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
			me.base = seg.Seq
			me.flags |= endBase
		}
		return 0
	}
	if f.Has(decode.SYN) && !me.has(endSYNSeen) {
		me.base = seg.Seq
		me.flags |= endBase
		if seg.Opts&decode.OptWScale != 0 {
			me.wscale = seg.WScale
		}
	}
	end := seg.Seq + n
	switch {
	case !me.has(endSeen):
		me.flags |= endSeen
		if !me.has(endBase) {
			me.base = seg.Seq
			me.flags |= endBase
		}
		if !me.has(endSYN) || seqLT(me.nxt, end) {
			me.nxt = end
		}
	case n == 0:
		if seg.Seq == me.nxt-1 && !f.Any(decode.SYN) && me.state >= Established {
			note |= KeepAlive
		} else if seqLT(me.nxt, seg.Seq) {
			note |= t.gap(me, seg.Seq)
			me.nxt = seg.Seq
		}
	case seqLEQ(end, me.nxt):
		note |= t.repeated(c, me, peer, p, end)
	case seqLT(me.nxt, seg.Seq):
		note |= t.gap(me, seg.Seq)
		me.nxt = end
	default:
		if seqLT(seg.Seq, me.nxt) && !f.Has(decode.SYN) {
			note |= Retransmission
			me.retransmits++
		}
		if p.Len > 0 {
			me.flags |= endAlive // new data: it has not sent a FIN before
		}
		me.nxt = end
	}
	if peer.has(endUnseen) && seqLEQ(peer.unseen, me.nxt) {
		peer.acked = peer.unseen
		peer.flags &^= endUnseen
	}
	if f.Has(decode.ACK) {
		t.acknowledge(c, s, seg)
	}
	return note
}

// gap notes that what lies before seq was not seen.
func (t *Tracker) gap(me *end, seq uint32) Note {
	me.gapLo, me.gapHi = me.nxt, seq
	me.gaps++
	me.flags |= endGap
	return Gap
}

// repeated says what a segment is that brings no new number.
func (t *Tracker) repeated(c *record, me, peer *end, p *decode.Packet, end uint32) Note {
	seg := &p.Segment
	switch {
	case me.gapLo != me.gapHi && seqLEQ(me.gapLo, seg.Seq) && seqLEQ(end, me.gapHi):
		// It fills a gap: late, not lost.
		if seg.Seq == me.gapLo {
			me.gapLo = end
		} else {
			me.gapHi = seg.Seq
		}
		if me.gapLo == me.gapHi {
			me.flags &^= endGap
		}
		return OutOfOrder
	case p.Len <= 1 && p.SeqLen() == uint32(p.Len) && seg.Seq == me.nxt-1 && (peer.has(endAck) && peer.acked == me.nxt || peer.win == 0):
		return KeepAlive
	default:
		me.retransmits++
		return Retransmission
	}
}

// acknowledge takes over the acknowledgment and the window of a segment.
func (t *Tracker) acknowledge(c *record, s Side, seg *decode.Segment) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if !peer.has(endBase) {
		peer.base = seg.Ack
		peer.flags |= endBase
		if me.has(endSYN) && !seg.Flags.Has(decode.SYN) {
			// One that has sent a SYN and goes on has received the peer's,
			// and that acknowledged its own.
			peer.base = seg.Ack - 1
			peer.nxt = seg.Ack
			peer.flags |= endSYN | endSYNRcvd
			me.flags |= endSYNRcvd
		}
	}
	switch {
	case peer.flags&(endSeen|endSYN) != 0 && seqLT(peer.nxt, seg.Ack):
		if !me.has(endUnseen) || seqLT(me.unseen, seg.Ack) {
			me.unseen = seg.Ack
			me.flags |= endUnseen
		}
	case !me.has(endAck) || seqLT(me.acked, seg.Ack):
		me.acked = seg.Ack
		me.flags |= endAck
	}
	me.win = seg.Window
}

// opening follows the handshake: who opened, how long it took, and that the
// last of the three segments was seen.
func (t *Tracker) opening(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	f := p.Segment.Flags
	switch {
	case f.Has(decode.RST):
		if s == Server && peer.has(endSYN) && !peer.has(endSYNRcvd) && !me.has(endSYN) {
			c.bits |= bitRefused
		}
	case f.Has(decode.SYN | decode.ACK):
		if c.bits&bitOpening != 0 && s == Server && seqLT(peer.base, p.Segment.Ack) && seqLEQ(p.Segment.Ack, peer.nxt) {
			c.bits &^= bitOpening
			if rtt := p.Time.Sub(decode.Timestamp(c.opened)); peer.syn == 1 && me.syn == 1 && rtt >= 0 {
				c.bits |= bitRTT
				c.opened = int64(rtt)
			}
			if seqLT(peer.base+1, p.Segment.Ack) {
				c.bits |= bitFastOpen
			}
		}
	case f.Has(decode.SYN):
		if s == Client && me.syn == 1 && !peer.has(endSYNSeen) {
			c.bits |= bitOpening
			c.opened = int64(p.Time)
		}
	case f.Has(decode.ACK):
		if s == Client && peer.has(endSYNSeen) && seqLT(peer.base, p.Segment.Ack) {
			c.bits |= bitFinalAck
		}
	}
}

// roles corrects who the client is when a SYN or SYN-ACK comes after what
// followed it, as in a capture that is out of order; it returns the sender's side.
func (t *Tracker) roles(c *record, s Side, seg *decode.Segment) Side {
	if !seg.Flags.Has(decode.SYN) || seg.Flags.Has(decode.RST) || c.role == RoleSYN {
		return s
	}
	role, client := RoleSYN, s
	if seg.Flags.Has(decode.ACK) {
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
	c.ends[Client], c.ends[Server] = c.ends[Server], c.ends[Client]
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
	swap(&cl.ackFirst)
	cl.resetBy, cl.synSide = cl.resetBy.Peer(), cl.synSide.Peer()
}

func swap[T any](a *[2]T) { a[0], a[1] = a[1], a[0] }
