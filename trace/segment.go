package trace

import (
	"slices"

	"finack/decode"
)

// segment takes a TCP segment: finds the connection that it belongs to, what
// its receiver would make of it, and what it proves. Reused is whether it is
// known to begin a new connection on a 4-tuple seen before.
func (t *Tracker) segment(p *decode.Packet, reused bool) {
	var own lookup
	l := t.ahead.expected(p)
	if l == nil {
		l = &own
		l.of(t, p)
	}
	k, h, srcHi := &l.key, l.hash, l.srcHi
	c, idx := t.find(k, h)
	switch {
	case c != nil && t.ordinary(c, idx, c.side(srcHi), p), c == nil && !reused && t.ordinarySYN(k, h, srcHi, p):
		return
	case c != nil:
		c.stage = stageNone
	}
	if c != nil && t.isNew(c, c.side(srcHi), p) {
		syn, last, times := t.takeSYN(c, c.side(srcHi), p)
		t.release(c, idx, t.now, t.verdict(c), false)
		c, reused = nil, times == 0
		for i := range times {
			t.segment(&syn, i == 0)
			c, idx = t.find(k, h)
			syn.Time = last
		}
	}
	first := c == nil
	if first {
		t.stats.Conns++
		c, idx = t.begin(k, h, srcHi, p)
	}
	s := t.roles(c, c.side(srcHi), p)

	at := len(t.out)
	before := [2]State{c.ends[Client].state, c.ends[Server].state}
	var anomaly Anomaly
	var note Note
	var step bool
	t.tally(c, s, p)
	t.completeness(c, p, first, reused)
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
			t.bring(c, s, p, note)
			t.prove(c, s, p, note&(Retransmission|OutOfOrder) != 0 && !soon)
			t.opening(c, s, p)
		case ResetAfterClose:
			step = t.step(c, s, p)
			t.proveLateReset(c, s, p)
		case OutOfWindow:
			t.holdFIN(c, s, p)
		}
	}
	c.count(s, p)
	if c.closing != 0 {
		t.halfClosed(c, s, p)
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
	if t.cfg.Without.Has(SegmentSeen) && (anomaly == NoAnomaly || t.cfg.Without.Has(AnomalySeen)) {
		return
	}
	seg := &p.Segment
	e := t.event(c, SegmentSeen, p.Time, s)
	e.TTL, e.Iface = p.TTL, p.Iface
	e.Flags, e.Seq, e.Ack, e.Len, e.Window = seg.Flags, seg.Seq, seg.Ack, p.Len, seg.Window
	e.SeqBase, e.AckBase = c.ends[s].base, c.ends[s.Peer()].base
	e.First, e.Note = first, note
	e.Changed = [2]bool{before[Client] != e.States[Client], before[Server] != e.States[Server]}
	if !t.cfg.Without.Has(SegmentSeen) {
		t.out = slices.Insert(t.out, at, e)
	}
	if anomaly != NoAnomaly && !t.cfg.Without.Has(AnomalySeen) {
		e.Kind, e.Anomaly = AnomalySeen, anomaly
		t.out = append(t.out, e)
	}
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
			due := t.now.Add(t.cfg.TimeWait)
			t.closingOf(c).due = due
			t.wake = min(t.wake, due)
			t.move(listFinished, c, idx)
		}
		if c.bits&bitReported == 0 {
			c.bits |= bitReported
			if t.cfg.Without.Has(ConnClosed) {
				return
			}
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
