package trace

import "finack/decode"

// This file is for captures that leave out the segments that only carry data
// (Config.Lifecycle). The numbers of those that are there say what the others
// have carried, so that nothing looks lost; every SYN, FIN and RST is there.
// What cannot be known is what the data has acknowledged: where that may be a
// FIN, the states and the kind of teardown are unknown until another segment
// settles them.

// unseenData takes over, before a segment that its receiver acts on, what its
// numbers tell of data that was not seen: its sender has sent all that comes
// before it, and its receiver all that it acknowledges.
func (t *Tracker) unseenData(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	switch f := seg.Flags; {
	case f.Has(decode.SYN):
		return
	case f.Has(decode.RST):
		if peer.has(endFIN) && f.Has(decode.ACK) && seqLT(seg.Ack, t.closing.at(c.closing - 1).fin[s.Peer()]) {
			t.closing.at(c.closing-1).sentBefore(s, seg.Seq) // nor does anything come later
		}
		if me.has(endSeen) && seqLT(me.nxt, seg.Seq) {
			t.sentUnseen(c, s, seg.Seq)
		}
		return
	case f.Has(decode.FIN) && !me.has(endFIN):
		if me.has(endAhead) && seqLT(seg.Seq, me.nxt) && seqLEQ(me.nxt, seg.Seq+p.SeqLen()) {
			me.nxt = seg.Seq // it is not late: what was acknowledged before it in this capture is itself
		}
		if me.has(endAck) {
			t.closingOf(c).ahead[s] = Step{Ack: me.acked, Flags: decode.ACK}
		}
	}
	if (me.has(endSeen) || me.has(endSYN|endBase)) && seqLT(me.nxt, seg.Seq) {
		t.sentUnseen(c, s, seg.Seq)
	}
	if seqLEQ(me.nxt, seg.Seq+p.SeqLen()) {
		me.flags &^= endAhead
	}
	if seg.Flags.Has(decode.ACK) && seqLT(peer.nxt, seg.Ack) && t.acknowledgesData(peer) {
		t.sentUnseen(c, s.Peer(), seg.Ack)
		peer.flags |= endAhead
	}
}

// acknowledgesData reports whether what is acknowledged of an end beyond what
// was seen of it must be data: it comes after the handshake and before a FIN.
func (t *Tracker) acknowledgesData(e *end) bool {
	return t.cfg.Lifecycle && e.has(endSeen) && !e.has(endFIN) && (!e.has(endSYN) || e.has(endSYNRcvd))
}

// sentUnseen notes that side s has sent data up to a number.
func (t *Tracker) sentUnseen(c *record, s Side, to uint32) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	if me.has(endSeen) && to-me.nxt > 1 {
		me.flags |= endAlive // more than a FIN before the capture can explain
	}
	me.nxt = to
	me.flags &^= endPayload | endProbed | endTaken | endHole
	if me.has(endSYN) && peer.has(endSYN) {
		// Data waits for ESTABLISHED (RFC 9293 section 3.10.2), so for both SYNs.
		me.flags = me.flags&^endSYNLost | endSYNRcvd
		peer.flags |= endSYNRcvd
		if !me.has(endAck) {
			me.acked = peer.base + 1
			me.flags |= endAck
		}
	}
}

// edgeUnseen reports whether the window that an end has advertised may be
// another than the last one seen, for a segment of its peer: the end has sent
// data since.
func (t *Tracker) edgeUnseen(e *end, seg *decode.Segment) bool {
	return t.cfg.Lifecycle && (e.has(endAhead) || seg.Flags.Has(decode.ACK) && e.has(endSeen) && seqLT(e.nxt, seg.Ack))
}

// ackUnseen reports whether data of side s that was not seen may have
// acknowledged the peer's FIN: it may have been sent after that had come.
func (t *Tracker) ackUnseen(c *record, s Side) bool {
	if !t.cfg.Lifecycle || !c.ends[s.Peer()].has(endFIN) {
		return false
	}
	cl := t.closing.at(c.closing - 1)
	till := c.ends[s].nxt
	for i := range cl.steps[:cl.n] {
		if step := &cl.steps[i]; step.From == s && step.Flags.Has(decode.FIN) && !step.Flags.Has(decode.RST) {
			till = step.Seq
		}
	}
	return seqLT(cl.before[s], till)
}

// sentBefore notes that what side s has sent up to a number does not
// acknowledge the peer's FIN.
func (cl *closing) sentBefore(s Side, number uint32) {
	if seqLT(cl.before[s], number) {
		cl.before[s] = number
	}
}

// ackedAhead notes that side s has acknowledged the peer's FIN, which ends at
// fin, before its own, where the capture has the acknowledgment first.
func (t *Tracker) ackedAhead(c *record, s Side, fin uint32) {
	e, cl := &c.ends[s], t.closing.at(c.closing-1)
	ack := e.acked
	if e.has(endFIN) {
		ack = cl.ahead[s].Ack
	}
	if e.has(endAck) && ack == fin {
		cl.ackFirst[s] = true
	}
}

// countSeen adds a packet to its sender's totals, and to both ends' bytes what
// is now known to have been sent.
func (c *record) countSeen(s Side, p *decode.Packet) {
	c.ends[s].packets++
	c.last = p.Time
	for i := range c.ends {
		e := &c.ends[i]
		n := e.nxt - e.base
		if e.has(endSYN) {
			n--
		}
		if e.has(endFIN) {
			n--
		}
		if e.flags&(endSeen|endBase) != 0 {
			// The numbers are modulo 2^32, the total is not. It is less again
			// where a number was a FIN's.
			step := int64(int32(n - uint32(e.bytes)))
			e.bytes = uint64(max(0, int64(e.bytes)+step))
		}
	}
}

// leaveOut takes out of a verdict what only data tells.
func (v *Conn) leaveOut() {
	v.DataUnseen = true
	v.HasIdle, v.Idle, v.LastData = false, 0, 0
}
