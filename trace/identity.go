package trace

import "finack/decode"

// This file says which connection a segment belongs to, and who its client is.
// Identity is the 4-tuple and the ISNs.

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
	if b := t.cfg.broken; b != nil && b.tupleOnly {
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
// the RST that answers this SYN or SYN-ACK of side s (RFC 9293 section 3.10.7.1).
func (t *Tracker) answeredByRST(c *record, s Side, p *decode.Packet) bool {
	if c.closing == 0 || c.ends[s].packets != 0 {
		return false
	}
	cl := t.closing.at(c.closing - 1)
	rst, seg := &cl.steps[0], &p.Segment
	switch {
	case cl.n != 1 || !rst.Flags.Has(decode.RST):
		return false
	case seg.Flags.Has(decode.ACK):
		return !rst.Flags.Has(decode.ACK) && rst.Seq == seg.Ack
	default:
		return rst.Flags.Has(decode.ACK) && rst.Ack == seg.Seq+p.SeqLen()
	}
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
		more(&tr.syns, true)
		return
	}
	tr.syn, tr.synLast, tr.synPrev = hold(p), p.Time, c.last
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
	return seqLT(tr.syn.Seq, p.Segment.Ack) && seqLEQ(p.Segment.Ack, tr.syn.Seq+1+uint32(tr.syn.len))
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
	e.bytes -= uint64(tr.syns) * uint64(tr.syn.len)
	e.syn -= tr.syns
	if c.last == tr.synLast {
		c.last = tr.synPrev
	}
	return tr.syn.packet(p), tr.synLast, int(tr.syns)
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
		swap(&tr.finSet)
		swap(&tr.ahead)
		for i := range tr.ahead {
			tr.ahead[i].From = tr.ahead[i].From.Peer()
		}
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
	swap(&cl.brings)
	swap(&cl.bringsSet)
	swap(&cl.finLate)
	swap(&cl.ackFirst)
	swap(&cl.zeekFIN)
	swap(&cl.zeekRST)
	cl.resetBy, cl.halfBy = cl.resetBy.Peer(), cl.halfBy.Peer()
}

func swap[T any](a *[2]T) { a[0], a[1] = a[1], a[0] }
