package trace

import "finack/decode"

// This file is the only place where a state changes, but for the shortcut in
// ordinary.go, which is held to it by tests. What is known of each end
// are facts, set by three steps in the order of the rule of evidence; the state
// is a function of the facts. So swapped, repeated and merged segments lead to
// the same states.

// prove applies what a segment proves: received, sent, reached. The caller has
// found that its receiver would act on it, and whether what it sends was sent
// before, or what follows it.
func (t *Tracker) prove(c *record, s Side, p *decode.Packet, again bool) {
	if t.cfg.broken != nil {
		t.proveBroken(c, s, p, again)
		return
	}
	seg := &p.Segment
	if seg.Flags.Has(decode.ACK) {
		t.received(c, s, p)
	}
	t.sent(c, s, p, again)
	t.reached(c, s, p)
}

// received is step one: the sender has what it acknowledges.
func (t *Tracker) received(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if p.Segment.Flags.Has(decode.RST) {
		return // the acknowledgment of a RST may answer what was thrown away
	}
	if !me.has(endAck) {
		return
	}
	if peer.has(endSYN) && seqLT(peer.base, me.acked) && !peer.has(endSYNRcvd) {
		peer.flags |= endSYNRcvd
		if me.state == SynSent && p.Segment.Flags.Has(decode.SYN) {
			t.change(c, s, SynReceived, p.Time, false, false) // the SYNs crossed (RFC 9293 figure 7)
		}
		t.settle(c, s, p)
	}
	if c.closing == 0 {
		return
	}
	mine, theirs := me.flags, peer.flags
	if peer.has(endFIN) && seqLEQ(t.closing.at(c.closing - 1).fin[s.Peer()], me.acked) {
		peer.flags |= endFINRcvd
	}
	if t.brought(c, s) {
		me.flags = me.flags&^endFINLost | endFINAcked
	}
	if me.flags != mine || peer.flags != theirs {
		t.settle(c, s, p)
	}
}

// bring notes where what side s sends for the first time ends, when it comes
// with an acknowledgment of the peer's FIN.
func (t *Tracker) bring(c *record, s Side, p *decode.Packet, note Note) {
	n := p.SeqLen()
	if !c.ends[s.Peer()].has(endFIN) || n == 0 || note&Retransmission != 0 || p.Segment.Flags.Any(decode.SYN|decode.RST) {
		return
	}
	cl := t.closing.at(c.closing - 1)
	end := p.Segment.Seq + n
	if seqLEQ(cl.fin[s.Peer()], p.Segment.Ack) && (!cl.bringsSet[s] || seqLT(end, cl.brings[s])) {
		cl.brings[s], cl.bringsSet[s] = end, true
	}
}

// brought reports whether side s has acknowledged what came with the
// acknowledgment of its FIN, so that it has that, too.
func (t *Tracker) brought(c *record, s Side) bool {
	cl := t.closing.at(c.closing - 1)
	return c.ends[s].has(endFIN) && cl.bringsSet[s.Peer()] && seqLEQ(cl.brings[s.Peer()], c.ends[s].acked)
}

// sent is step two: the sender has sent it.
func (t *Tracker) sent(c *record, s Side, p *decode.Packet, again bool) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	f := p.Segment.Flags
	switch {
	case f.Has(decode.RST):
		me.flags |= endReset
		t.settle(c, s, p)
	case f.Has(decode.SYN):
		first := !me.has(endSYNSeen)
		me.flags |= endSYN | endSYNSeen | endAlive
		if first && peer.has(endAck) && seqLT(me.base, peer.acked) {
			me.flags |= endSYNRcvd // its acknowledgment came first in this capture
		}
		if f.Has(decode.ACK) {
			if again && me.has(endSYNRcvd) && t.ackLost(c, s, p) {
				me.flags |= endSYNLost
			}
		} else if first {
			me.flags |= endPureSYN
		}
		t.settle(c, s, p)
	default:
		if p.Len > 0 && me.has(endSYN) && peer.has(endSYN|endSYNRcvd) {
			// Data waits for ESTABLISHED (RFC 9293 section 3.10.2), so for the ACK of the SYN.
			me.flags = me.flags&^endSYNLost | endSYNRcvd
			t.settle(c, s, p)
		}
		if f.Has(decode.FIN) {
			t.sentFIN(c, s, p, again)
		}
	}
}

// ackLost reports whether a repeated SYN-ACK of side s, which is no copy of the
// same frame, disproves that the final ACK of the handshake had arrived: s has
// shown nothing since that only a later segment can have brought.
func (t *Tracker) ackLost(c *record, s Side, p *decode.Packet) bool {
	me := &c.ends[s]
	return seqLEQ(me.acked, p.Segment.Ack) && me.nxt == me.base+1
}

// sentFIN records a FIN, or that it was sent again.
func (t *Tracker) sentFIN(c *record, s Side, p *decode.Packet, late bool) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	cl := t.closingOf(c)
	ack := p.Segment.Ack
	if !me.has(endFIN) {
		me.flags |= endFIN
		cl.finLate[s] = late
		cl.fin[s], cl.finAck[s], cl.finTime[s] = p.Segment.Seq+p.SeqLen(), ack, p.Time
		cl.before[s.Peer()] = ack
		t.settle(c, s, p)
		// The peer may have acknowledged it before, in the order of this capture.
		if peer.has(endAck) && seqLEQ(cl.fin[s], peer.acked) {
			me.flags |= endFINRcvd | endFINAcked
		}
		t.settle(c, s, p)
		return
	}
	if seqLT(ack, cl.finAck[s]) {
		cl.finAck[s] = ack // the original, after its retransmission in this capture
	}
	cl.sentBefore(s.Peer(), ack) // had what came to its sender acknowledged it, it would not come again
	again := p.Time.Sub(cl.finTime[s]) >= duplicateWithin
	cl.finTime[s] = p.Time
	if again && me.has(endFINRcvd) && !t.brought(c, s) {
		if me.has(endFINAcked) {
			me.flags |= endFINLost
		} else {
			me.flags &^= endFINRcvd // that it was processed was only inferred
			t.settle(c, s.Peer(), p)
		}
	}
	if again && peer.has(endFIN|endFINRcvd) && seqLT(me.acked, cl.fin[s.Peer()]) {
		peer.flags &^= endFINRcvd // likewise: it still acknowledges none
	}
	t.settle(c, s, p)
}

// reached is step three: its acknowledgments and a RST are taken as said.
func (t *Tracker) reached(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	f := p.Segment.Flags
	if f.Has(decode.RST) {
		peer.flags |= endReset
		t.settle(c, s.Peer(), p)
		return
	}
	if f.Has(decode.ACK) && me.has(endAck) {
		if peer.has(endSYN) && seqLT(peer.base, p.Segment.Ack) {
			peer.flags &^= endSYNLost
		}
		if peer.has(endFIN) && seqLEQ(t.closing.at(c.closing - 1).fin[s.Peer()], p.Segment.Ack) && seqLEQ(p.Segment.Ack, me.acked) {
			peer.flags &^= endFINLost
			if !peer.has(endFINAcked) {
				// What its sender sent before it has arrived, too: also its own
				// FIN, unless that waits for what was lost.
				if me.has(endFIN) && !me.has(endFINRcvd) && !me.has(endGap) && !peer.has(endWants) && !f.Has(decode.FIN) &&
					seqLEQ(t.closing.at(c.closing - 1).fin[s], p.Segment.Seq) {
					me.flags |= endFINRcvd
					t.settle(c, s.Peer(), p)
				}
				peer.flags |= endFINAcked
			}
		}
	}
	t.settle(c, s.Peer(), p)
	t.settle(c, s, p)
}

// proveLateReset applies a RST that comes after both FINs are acknowledged.
// One that is exactly at RCV.NXT ends TIME_WAIT (RFC 9293 section 3.10.7.4; RFC
// 1337 calls it assassination), and an end that sends one has forgotten the
// connection.
func (t *Tracker) proveLateReset(c *record, s Side, p *decode.Packet) {
	if p.Segment.Seq != t.closing.at(c.closing - 1).fin[s] {
		return
	}
	for _, side := range [...]Side{s, s.Peer()} {
		c.ends[side].flags |= endReset
		t.settle(c, side, p)
	}
}

// stateOf derives the state of one end from what is known of both.
func (t *Tracker) stateOf(c *record, s Side) State {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if me.has(endReset) {
		return Closed
	}
	if !me.has(endSYN) {
		if !t.finKnown(c, s) || t.finMissed(c, s) {
			return Unknown
		}
	} else if !me.has(endSYNRcvd) || !peer.has(endSYN|endSYNRcvd) || me.has(endSYNLost) {
		// Not synchronized. A FIN may be on its way already.
		switch {
		case me.has(endFIN) && peer.has(endSYN|endSYNRcvd):
			if t.finMissed(c, s) {
				return Unknown
			}
			return FinWait1
		case peer.has(endSYN | endSYNRcvd):
			return SynReceived
		default:
			return SynSent
		}
	}
	if !t.finKnown(c, s) || t.finMissed(c, s) {
		return Unknown
	}
	gotFIN := peer.has(endFIN | endFINRcvd)
	if !me.has(endFIN) {
		switch {
		case gotFIN:
			return CloseWait
		case t.ackUnseen(c, s):
			return Unknown
		}
		return Established
	}
	acked := me.has(endFINAcked) && !me.has(endFINLost)
	// Whoever had the peer's FIN when it sent its own closed second.
	cl := t.closing.at(c.closing - 1)
	passive := peer.has(endFIN) && seqLEQ(cl.fin[s.Peer()], cl.finAck[s])
	switch {
	case passive && (cl.finLate[s] || seqLEQ(cl.fin[s], cl.finAck[s.Peer()])):
		return Unknown // only a retransmission was captured: who closed first cannot be known
	case passive && acked:
		return Closed
	case passive:
		return LastAck
	case acked && gotFIN:
		return TimeWait
	case acked:
		return FinWait2
	case gotFIN:
		return Closing
	case !peer.has(endFIN) && t.ackUnseen(c, s.Peer()):
		return Unknown
	default:
		return FinWait1
	}
}

// finKnown reports whether it is known that side s has, or has not, sent a FIN.
// Joined midstream, an end may have sent one before; an end that is not
// captured, when more than its SYN was acknowledged. Once the other end has
// closed, what was not captured may be this end's FIN.
func (t *Tracker) finKnown(c *record, s Side) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	switch {
	case me.has(endFIN):
		return true
	case !me.has(endSeen) && me.has(endGap), peer.has(endFIN) && (me.has(endHole) || peer.has(endUnseen)):
		return false
	default:
		return me.flags&(endSYN|endAlive) != 0
	}
}

// finMissed reports whether side s may have received a FIN that was not captured.
func (t *Tracker) finMissed(c *record, s Side) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if t.finKnown(c, s.Peer()) {
		return false
	}
	// What it acknowledges may end before the hole in which the FIN would be.
	gap := t.gapOf(c, s.Peer())
	before := peer.has(endHole) && gap != nil && me.has(endAck) && !me.has(endUnseen) && seqLEQ(me.acked, gap.gapLo[s.Peer()])
	return !before
}

// settle moves one end to the state that the facts give it.
func (t *Tracker) settle(c *record, s Side, p *decode.Packet) {
	me := &c.ends[s]
	next := t.stateOf(c, s)
	if me.state == next {
		return
	}
	if b := t.cfg.broken; b != nil && b.state != nil {
		if next = b.state(me.state, next); me.state == next {
			return
		}
	}
	t.change(c, s, next, p.Time, !me.state.follows(next), false)
}

// change sets a state and tells of it.
func (t *Tracker) change(c *record, s Side, next State, now decode.Timestamp, revised, timer bool) {
	me := &c.ends[s]
	old := me.state
	me.state = next
	if c.closing != 0 {
		t.closing.at(c.closing-1).leave(s, old, now)
	}
	if t.cfg.Without.Has(StateChanged) {
		return
	}
	e := t.event(c, StateChanged, now, s)
	e.Side, e.Old, e.New, e.Revised, e.Timer = s, old, next, revised, timer
	t.out = append(t.out, e)
}

// leave notes that side s is no longer in a state.
func (cl *closing) leave(s Side, old State, now decode.Timestamp) {
	if cl.since[s] != 0 && old >= FinWait1 {
		cl.timeIn[s][old-FinWait1] += int64(max(0, now.Sub(cl.since[s])))
	}
	cl.since[s] = now
}
