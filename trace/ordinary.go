package trace

import "finack/decode"

// This file is a shortcut, and the only one. Nearly all segments are the very
// next ones in the life of a connection in which everything has come in order,
// once, and has been acknowledged: what the rest of this package makes of such
// a segment is known beforehand, and done here at once. A segment that is not
// exactly the next is not taken, and from then on nothing is taken of its
// connection's opening and closing. Tests compare all that is told with and
// without the shortcut.

// stage is how far an ordinary connection has come.
type stage uint8

const (
	stageNone   stage = iota // not ordinary: no shortcut
	stageSYN                 // the client's SYN
	stageSYNACK              // the server's
	stageOpen                // the handshake is complete
	stageFIN                 // one side's FIN
	stageAcked               // and a segment of its own that acknowledges it
	stageFINs                // both FINs, the first one acknowledged
	stageOver                // the last ACK
)

// control are the flags that tell what a segment is.
const control = decode.SYN | decode.FIN | decode.RST | decode.ACK

// What is known of an end in an ordinary life, but for endPayload.
const (
	ordinaryEnd = endSeen | endBase | endAck | endSYN | endSYNSeen | endSYNRcvd | endAlive
	// oddEnd is what keeps segments in between from being taken; it says that
	// there is something to be watched for.
	oddEnd = endUnseen | endSYNLost | endFIN | endFINRcvd | endFINAcked | endFINLost | endGap | endReset |
		endProbed | endTaken | endClosedWindow | endWants | endHole | endProvoked
)

// shortcuts says which are possible: an opening and a closing must be told to
// whoever wants to hear of segments and states.
func (t *Tracker) shortcuts() (data, whole bool) {
	data = t.cfg.broken == nil && !t.cfg.All
	told := t.cfg.Without & KindsOf(SegmentSeen, StateChanged, AnomalySeen)
	return data, data && told == KindsOf(SegmentSeen, StateChanged, AnomalySeen)
}

// ordinarySYN begins a connection if p is a plain SYN.
func (t *Tracker) ordinarySYN(k *key, h uint32, srcHi bool, p *decode.Packet) bool {
	seg := &p.Segment
	if !t.whole || seg.Flags&control != decode.SYN || p.Len != 0 || seg.Window == 0 || p.BadSum {
		return false
	}
	t.stats.Conns++
	c, _ := t.begin(k, h, srcHi, p)
	e := &c.ends[Client]
	e.opens(seg, endSeen|endBase|endSYN|endSYNSeen|endAlive|endPureSYN, SynSent, zeekEnd{state: zeekSYNSent, seen: 1 << zeekSYN})
	e.mark(p)
	c.history = zeekSYN + 1
	c.complete = sawSYN
	c.bits |= bitOpening
	c.opened = int64(p.Time)
	c.stage = stageSYN
	c.count(Client, p)
	return true
}

// opens sets what a SYN or SYN-ACK tells.
func (e *end) opens(seg *decode.Segment, flags uint32, state State, zeek zeekEnd) {
	e.base, e.nxt = seg.Seq, seg.Seq+1
	e.flags, e.state, e.zeek, e.syn = flags, state, zeek, 1
	if seg.Opts&decode.OptWScale != 0 {
		e.wscale = seg.WScale
	}
}

// ordinary takes a segment that is the next in an ordinary life, and reports
// whether it was.
func (t *Tracker) ordinary(c *record, idx uint32, s Side, p *decode.Packet) bool {
	seg := &p.Segment
	if seg.Window == 0 || p.BadSum {
		return false
	}
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	switch f := seg.Flags & control; {
	case f == decode.SYN|decode.ACK:
		return c.stage == stageSYN && s == Server && p.Len == 0 && seg.Ack == peer.nxt && t.ordinarySYNACK(c, p)
	case seg.Seq != me.nxt:
		return false
	case f == decode.ACK:
		if c.stage == stageOpen || c.stage == stageNone && t.between(c, me, peer) {
			return t.ordinaryData(c, s, p)
		}
		if p.Len != 0 || seg.Ack != peer.nxt {
			return false
		}
		switch {
		case c.stage == stageSYNACK && s == Client:
			t.ordinaryOpen(c, idx, p)
		case c.stage == stageFIN && s != t.firstFIN(c):
			t.ordinaryAck(c, s, p)
		case c.stage == stageFINs && s == t.firstFIN(c):
			t.ordinaryEnd(c, idx, s, p)
		default:
			return false
		}
		return true
	case f == decode.FIN|decode.ACK:
		if c.stage == stageOpen {
			return t.ordinaryFIN(c, s, p)
		}
		if c.stage != stageFIN && c.stage != stageAcked || p.Len != 0 || seg.Ack != peer.nxt || s == t.firstFIN(c) {
			return false
		}
		t.ordinarySecondFIN(c, s, p)
		return true
	default:
		return false
	}
}

// firstFIN returns who has closed first.
func (t *Tracker) firstFIN(c *record) Side { return t.closing.at(c.closing - 1).steps[0].From }

// between reports whether a connection, however it began, is open, with nothing
// in it that a segment in order could settle.
func (t *Tracker) between(c *record, me, peer *end) bool {
	return t.data && (me.flags|peer.flags)&oddEnd == 0 && me.flags&peer.flags&ordinaryEnd == ordinaryEnd &&
		c.closing == 0 && c.list == listOpen && c.bits&bitSYNACK == 0 && me.zeek.clean() && peer.zeek.clean() &&
		(c.trouble == 0 || t.trouble.at(c.trouble-1).finSet == [2]bool{})
}

// ordinaryData takes a segment in order, with payload or with an
// acknowledgment of something new.
func (t *Tracker) ordinaryData(c *record, s Side, p *decode.Packet) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if seg.Ack-me.acked > peer.nxt-me.acked || p.Len == 0 && seg.Ack == me.acked {
		return false
	}
	if p.Len > 0 {
		c.complete |= sawData
		c.lastData = p.Time
		t.zeekOnce(c, s, zeekData)
		me.nxt += uint32(p.Len)
		me.flags |= endPayload
	} else {
		c.complete |= sawACK
		t.zeekOnce(c, s, zeekACK)
	}
	me.took(p)
	c.count(s, p)
	return true
}

// took sets what every segment with an acknowledgment tells.
func (e *end) took(p *decode.Packet) {
	e.acked, e.win = p.Segment.Ack, p.Segment.Window
	e.mark(p)
}

// ordinarySYNACK: the server is in SYN_RECEIVED.
func (t *Tracker) ordinarySYNACK(c *record, p *decode.Packet) bool {
	client, server := &c.ends[Client], &c.ends[Server]
	client.flags |= endSYNRcvd
	client.zeek.move(zeekEstablished)
	server.opens(&p.Segment, ordinaryEnd&^endSYNRcvd, SynReceived, zeekEnd{seen: 1 << zeekSYN})
	server.zeek.move(zeekEstablished)
	server.took(p)
	t.zeekLetter(c, Server, zeekSYNACK)
	c.complete |= sawSYNACK
	c.bits = c.bits&^bitOpening | bitSYNACK
	if rtt := p.Time.Sub(decode.Timestamp(c.opened)); rtt >= 0 {
		c.bits |= bitRTT
		c.opened = int64(rtt)
	}
	c.halfOpen = int64(p.Time)
	c.stage = stageSYNACK
	c.count(Server, p)
	return true
}

// ordinaryOpen: the ACK of the SYN-ACK; both are ESTABLISHED.
func (t *Tracker) ordinaryOpen(c *record, idx uint32, p *decode.Packet) {
	client, server := &c.ends[Client], &c.ends[Server]
	client.flags |= endAck
	server.flags |= endSYNRcvd
	client.state, server.state = Established, Established
	client.took(p)
	t.zeekOnce(c, Client, zeekACK)
	c.complete |= sawACK
	c.bits = c.bits&^bitSYNACK | bitHalfOpen
	c.halfOpen = max(0, int64(p.Time)-c.halfOpen)
	c.stage = stageOpen
	c.count(Client, p)
	t.move(listOpen, c, idx)
}

// ordinaryFIN: the first FIN; its sender is in FIN_WAIT_1.
func (t *Tracker) ordinaryFIN(c *record, s Side, p *decode.Packet) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	if seg.Ack-me.acked > peer.nxt-me.acked {
		return false
	}
	cl := t.closingOf(c)
	if p.Len > 0 {
		c.complete |= sawData
		c.lastData = p.Time
	} else {
		c.complete |= sawACK
	}
	if c.lastData != 0 {
		cl.idle = int64(max(0, p.Time.Sub(c.lastData)))
	}
	me.state = FinWait1
	cl.since[s] = p.Time
	t.takeFIN(c, cl, s, p)
	c.stage = stageFIN
	return true
}

// takeFIN sets what both FINs tell.
func (t *Tracker) takeFIN(c *record, cl *closing, s Side, p *decode.Packet) {
	me, seg := &c.ends[s], &p.Segment
	end := seg.Seq + uint32(p.Len) + 1
	cl.fin[s], cl.finAck[s], cl.finTime[s] = end, seg.Ack, p.Time
	cl.add(Step{Time: p.Time, Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, From: s})
	t.zeekOnce(c, s, zeekFIN)
	cl.zeekFIN[s] = end - 1
	me.zeek.move(zeekClosed)
	more(&me.fin, true)
	me.nxt = end
	me.flags = me.flags&^endPayload | endFIN
	me.took(p)
	c.complete |= sawFIN
	c.count(s, p)
}

// ordinaryAck: an ACK of the first FIN that is no FIN: CLOSE_WAIT and FIN_WAIT_2.
func (t *Tracker) ordinaryAck(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg, cl := &p.Segment, t.closing.at(c.closing-1)
	t.finArrived(cl, peer, s, p)
	me.state = CloseWait
	cl.since[s] = p.Time
	cl.ackFirst[s] = true
	cl.add(Step{Time: p.Time, Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, From: s})
	me.took(p)
	t.zeekOnce(c, s, zeekACK)
	c.complete |= sawACK
	cl.half, cl.halfBy, cl.halfSince, cl.halfBytes = halfBegun, s.Peer(), p.Time, me.bytes
	c.stage = stageAcked
	c.count(s, p)
}

// finArrived: side s has acknowledged the first FIN, which its peer has sent.
func (t *Tracker) finArrived(cl *closing, peer *end, s Side, p *decode.Packet) {
	peer.flags |= endFINRcvd | endFINAcked
	cl.leave(s.Peer(), FinWait1, p.Time)
	peer.state = FinWait2
}

// ordinarySecondFIN: the other side's FIN, which acknowledges the first one;
// its sender is in LAST_ACK.
func (t *Tracker) ordinarySecondFIN(c *record, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	cl := t.closing.at(c.closing - 1)
	if c.stage == stageFIN {
		t.finArrived(cl, peer, s, p)
	}
	cl.leave(s, CloseWait, p.Time)
	me.state = LastAck
	t.takeFIN(c, cl, s, p)
	cl.brings[s], cl.bringsSet[s] = cl.fin[s], true
	if cl.half == halfBegun {
		cl.half, cl.halfTill, cl.halfBytes = halfOver, p.Time, cl.sentSince(me)
	}
	c.complete |= sawACK
	c.stage = stageFINs
}

// ordinaryEnd: the last ACK: TIME_WAIT and CLOSED.
func (t *Tracker) ordinaryEnd(c *record, idx uint32, s Side, p *decode.Packet) {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg, cl := &p.Segment, t.closing.at(c.closing-1)
	peer.flags |= endFINRcvd | endFINAcked
	cl.leave(s, FinWait2, p.Time)
	cl.leave(s.Peer(), LastAck, p.Time)
	me.state, peer.state = TimeWait, Closed
	cl.add(Step{Time: p.Time, Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, From: s})
	me.took(p)
	t.zeekOnce(c, s, zeekACK)
	c.complete |= sawACK
	c.stage = stageOver
	c.count(s, p)
	t.file(c, idx, false)
}
