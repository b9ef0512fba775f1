package trace

import (
	"time"

	"finack/decode"
)

// step records a segment of the teardown: each side's first FIN, the first
// acknowledgment of each, each side's first RST.
func (t *Tracker) step(c *record, s Side, p *decode.Packet) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	is := false
	switch {
	case f.Has(decode.RST):
		cl := t.closingOf(c)
		for i := range cl.steps[:cl.n] {
			if cl.steps[i].From == s && cl.steps[i].Flags.Has(decode.RST) {
				return false
			}
		}
		if !t.finished(c) {
			cl.after = t.finKind(c)
			cl.reset, cl.resetBy = true, s
		}
		is = true
	case f.Has(decode.SYN):
		return false // a FIN beside it is nonsense
	case f.Has(decode.FIN) && !me.has(endFIN):
		t.acknowledgedAhead(c, s, p)
		is = true
	}
	if f.Has(decode.ACK) && !f.Has(decode.RST) && me.has(endUnseen) && me.unseen == seg.Ack {
		// It may acknowledge a FIN that comes later in this capture.
		if a := &t.troubleOf(c).ahead[s]; a.Flags == 0 || a.Ack != seg.Ack {
			*a = Step{Time: p.Time, Seq: seg.Seq, Ack: seg.Ack, Flags: f, From: s}
		}
	}
	if peer.has(endFIN) && f.Has(decode.ACK) && !f.Has(decode.RST) {
		cl := t.closingOf(c)
		if seqLEQ(cl.fin[s.Peer()], seg.Ack) && me.has(endAck) && seqLEQ(seg.Ack, me.acked) {
			is = is || !peer.has(endFINAcked)
			if !f.Has(decode.FIN) && (!me.has(endFIN) || seqLT(seg.Seq+p.SeqLen(), cl.fin[s])) {
				cl.ackFirst[s] = true
			}
		}
	}
	if is {
		cl := t.closingOf(c)
		if cl.idle < 0 && c.lastData != 0 && f.Any(decode.FIN|decode.RST) {
			cl.idle = int64(max(0, p.Time.Sub(c.lastData)))
		}
		cl.add(Step{Time: p.Time, Seq: seg.Seq, Ack: seg.Ack, Flags: f, From: s})
	}
	return is
}

// acknowledgedAhead records the acknowledgment of a first FIN, p of side s,
// where the capture has it before the FIN.
func (t *Tracker) acknowledgedAhead(c *record, s Side, p *decode.Packet) {
	cl := t.closingOf(c)
	fin := p.Segment.Seq + p.SeqLen()
	peer := &c.ends[s.Peer()]
	if c.trouble == 0 {
		return
	}
	a := t.trouble.at(c.trouble - 1).ahead[s.Peer()]
	if a.Flags == 0 || a.Ack != fin {
		return
	}
	if a.Flags.Has(decode.FIN) {
		return // a step already
	}
	cl.add(a)
	if !peer.has(endFIN) || seqLT(a.Seq, cl.fin[s.Peer()]) {
		cl.ackFirst[s.Peer()] = true
	}
}

// add appends a step.
func (cl *closing) add(s Step) {
	if int(cl.n) < len(cl.steps) {
		cl.steps[cl.n] = s
		cl.n++
	}
}

// halfClosed follows the time between the arrival of the first FIN and the
// other side's own; p, of side from, is counted already.
func (t *Tracker) halfClosed(c *record, from Side, p *decode.Packet) {
	cl := t.closing.at(c.closing - 1)
	switch cl.half {
	case halfNone:
		for s := Client; s <= Server; s++ {
			me, peer := &c.ends[s], &c.ends[s.Peer()]
			if me.has(endFIN|endFINAcked) && !peer.has(endFIN) && !peer.has(endReset) {
				cl.half, cl.halfBy, cl.halfSince, cl.halfBytes = halfBegun, s, p.Time, peer.bytes
				if from != s { // what acknowledges the FIN was sent after it had come
					cl.halfBytes -= uint64(p.Len)
				}
			}
		}
	case halfBegun:
		if peer := &c.ends[cl.halfBy.Peer()]; peer.has(endFIN) || peer.has(endReset) {
			cl.half, cl.halfTill, cl.halfBytes = halfOver, p.Time, cl.sentSince(peer)
		}
	}
}

// sentSince returns how much an end has sent since the half-close began. What
// turns out to be of another connection is taken away.
func (cl *closing) sentSince(e *end) uint64 {
	if e.bytes < cl.halfBytes {
		return 0
	}
	return e.bytes - cl.halfBytes
}

// halfClose returns the account of that time.
func (t *Tracker) halfClose(c *record, cl *closing) HalfClose {
	h := HalfClose{Seen: cl.half != halfNone, By: cl.halfBy}
	switch cl.half {
	case halfBegun:
		h.Duration = max(0, c.last.Sub(cl.halfSince))
		h.Bytes = cl.sentSince(&c.ends[cl.halfBy.Peer()])
	case halfOver:
		h.Duration = max(0, cl.halfTill.Sub(cl.halfSince))
		h.Bytes = min(cl.halfBytes, c.ends[cl.halfBy.Peer()].bytes)
	}
	return h
}

// covers reports whether side s acknowledged the peer's FIN with its own.
func (t *Tracker) covers(c *record, s Side) bool {
	cl := t.closing.at(c.closing - 1)
	return seqLEQ(cl.fin[s.Peer()], cl.finAck[s])
}

// finKind says how a connection was closed, resets aside. It needs no clock and
// no capture order, only what each FIN acknowledges.
func (t *Tracker) finKind(c *record) TeardownKind {
	client, server := &c.ends[Client], &c.ends[Server]
	switch {
	case client.has(endFIN) && server.has(endFIN):
		byClient, byServer := t.covers(c, Client), t.covers(c, Server)
		cl := t.closing.at(c.closing - 1)
		switch {
		case !byClient && !byServer:
			return SimultaneousClose
		case byClient && cl.ackFirst[Client], byServer && cl.ackFirst[Server]:
			return FourStep
		default:
			return ThreeStep
		}
	case client.has(endFIN) && client.has(endFINAcked), server.has(endFIN) && server.has(endFINAcked):
		return HalfClosed
	case client.has(endFIN) || server.has(endFIN):
		return Unacknowledged
	default:
		return NoTeardown
	}
}

// closer says who closed first: the side whose FIN the other's FIN covers. A
// lone FIN's sender did, where both directions were seen and none can have sent
// a FIN before the capture began.
func (t *Tracker) closer(c *record) Closer {
	if b := t.cfg.broken; b != nil && b.closer != nil {
		return b.closer(t.closing.at(c.closing - 1))
	}
	client, server := &c.ends[Client], &c.ends[Server]
	switch {
	case client.has(endFIN) && server.has(endFIN):
		cl := t.closing.at(c.closing - 1)
		switch byClient, byServer := t.covers(c, Client), t.covers(c, Server); {
		case byClient && byServer, byClient && cl.finLate[Client], byServer && cl.finLate[Server]:
			return ClosedUnknown // the original FIN was not captured: it may have acknowledged less
		case byClient:
			return ClosedByServer
		case byServer:
			return ClosedByClient
		default:
			return ClosedByBoth
		}
	case !client.has(endFIN) && !server.has(endFIN):
		return NoCloser
	case client.packets == 0 || server.packets == 0, !t.finKnown(c, Client), !t.finKnown(c, Server):
		return ClosedUnknown
	case client.has(endFIN):
		return ClosedByClient
	default:
		return ClosedByServer
	}
}

// handshake says how a connection opened.
func (c *record) handshake() HandshakeKind {
	client, server := &c.ends[Client], &c.ends[Server]
	switch {
	case c.bits&bitRefused != 0:
		return Refused
	case !client.has(endSYNSeen) && !server.has(endSYNSeen):
		return Midstream
	case client.has(endPureSYN) && server.has(endPureSYN):
		return SimultaneousOpen
	case c.bits&bitFastOpen != 0:
		return FastOpen
	case client.has(endSYNSeen) && server.has(endSYNSeen|endSYNRcvd):
		return ThreeWay
	default:
		return IncompleteHandshake
	}
}

// The bits of Wireshark's tcp.completeness.
const (
	sawSYN uint8 = 1 << iota
	sawSYNACK
	sawACK
	sawData
	sawFIN
	sawRST
)

// completeness follows Wireshark: a SYN counts only as the first segment, and
// data on it only where the 4-tuple is new.
func (t *Tracker) completeness(c *record, p *decode.Packet, first, reused bool) {
	f := p.Segment.Flags
	ack := f.Has(decode.ACK)
	switch {
	case f.Has(decode.SYN | decode.ACK):
		c.complete |= sawSYNACK
	case f.Has(decode.SYN):
		if first {
			c.complete |= sawSYN
			if p.Len > 0 && !reused {
				c.complete |= sawData
			}
		}
	case ack && p.Len > 0:
		c.complete |= sawData
	case ack:
		c.complete |= sawACK
	}
	if f.Has(decode.FIN | decode.ACK) {
		c.complete |= sawFIN
	}
	if f.Has(decode.RST) {
		c.complete |= sawRST
	}
}

// verdicts are handed out from blocks of this many, so that a connection does
// not cost an allocation.
const verdictBlock = 32

// Recycle takes back a verdict of this tracker, which nobody may use any more;
// a later one will lie in its memory. Who gives back all of them gets each
// without an allocation.
func (t *Tracker) Recycle(c *Conn) { t.given = append(t.given, c) }

// blank returns an empty verdict.
func (t *Tracker) blank() *Conn {
	if n := len(t.given); n > 0 {
		v := t.given[n-1]
		t.given = t.given[:n-1]
		*v = Conn{}
		return v
	}
	if len(t.spare) == 0 {
		t.spare = make([]Conn, verdictBlock)
	}
	v := &t.spare[0]
	t.spare = t.spare[1:]
	return v
}

// verdict returns the account of a connection or flow as it stands.
func (t *Tracker) verdict(c *record) *Conn {
	v := t.blank()
	v.ID, v.Proto, v.Role, v.Start, v.End = c.id, c.proto, c.role, c.start, c.last
	v.Announced = c.bits&bitReported != 0
	v.Client, v.Server = c.endpoint(c.clientHi), c.endpoint(!c.clientHi)
	for s := range c.ends {
		e := &c.ends[s]
		v.Packets[s], v.Bytes[s] = e.packets, e.bytes
		v.SYN[s], v.FIN[s], v.RST[s] = uint32(e.syn), uint32(e.fin), uint32(e.rst)
		v.Base[s], v.BaseISS[s] = e.base, e.has(endSYN)
		v.States[s] = e.state
	}
	if c.proto != decode.ProtoTCP {
		if c.extra != 0 {
			v.Unreachable, v.ICMPCode = true, c.extra-1
		}
		if c.lastData != 0 {
			v.HasRTT, v.RTT = true, max(0, c.lastData.Sub(c.start))
		}
		return v
	}
	v.Handshake = c.handshake()
	v.HasRTT = c.bits&bitRTT != 0
	if v.HasRTT {
		v.RTT = time.Duration(c.opened)
	}
	v.SYNRetransmits = int(c.extra)
	v.LastData, v.Completeness = c.lastData, c.complete
	v.HasHalfOpen = c.bits&bitHalfOpen != 0
	if v.HasHalfOpen {
		v.HalfOpen = time.Duration(c.halfOpen)
	}
	t.zeekVerdict(c, v)
	if c.trouble != 0 {
		tr := t.trouble.at(c.trouble - 1)
		v.Retransmits, v.Duplicates, v.OutOfOrder, v.Gaps = tr.retransmits, tr.duplicates, tr.outOfOrder, tr.gaps
		v.KeepAlives, v.ZeroWindowProbes, v.ChallengeACKs = tr.keepAlives, tr.zeroWindowProbes, tr.challengeACKs
	}
	if c.closing == 0 {
		return v
	}
	cl := t.closing.at(c.closing - 1)
	v.Teardown, v.Closer = t.finKind(c), t.closer(c)
	v.Complete = c.ends[Client].has(endFINAcked) && c.ends[Server].has(endFINAcked)
	if cl.reset {
		v.Teardown, v.WasReset, v.ResetBy, v.ResetAfter, v.Complete = Reset, true, cl.resetBy, cl.after, true
	}
	v.Steps, v.NumSteps = cl.steps, int(cl.n)
	if v.HasIdle = cl.idle >= 0; v.HasIdle {
		v.Idle = time.Duration(cl.idle)
	}
	v.HalfClose = t.halfClose(c, cl)
	for s := range cl.timeIn {
		if c.ends[s].has(endFIN) {
			v.FINSeen[s], v.FINAcked[s] = true, c.ends[s].has(endFINAcked)
			v.FINSeq[s], v.FINAck[s], v.FINLate[s] = cl.fin[s]-1, cl.finAck[s], cl.finLate[s]
		}
		for st := range cl.timeIn[s] {
			v.TimeIn[s][int(FinWait1)+st] = time.Duration(cl.timeIn[s][st])
		}
		if cl.since[s] != 0 && v.States[s] >= FinWait1 {
			v.TimeIn[s][v.States[s]] += max(0, c.last.Sub(cl.since[s])) // as far as it was captured
		}
		if v.States[s] == TimeWait {
			v.WaitLeft = max(0, cl.due.Sub(t.now))
		}
	}
	return v
}
