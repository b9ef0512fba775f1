package byhand

import (
	"time"

	"finack/decode"
	"finack/trace"
)

// Receive takes a packet from the peer: RFC 9293 section 3.10.7. Packets of
// other connections are not taken: it returns false.
func (m *Machine) Receive(now time.Time, p *decode.Packet) bool {
	if p.Proto != decode.ProtoTCP || p.Src != decode.EndpointOf(m.cfg.Remote) || p.Dst != decode.EndpointOf(m.cfg.Local) {
		return false
	}
	s := Segment{
		Seq: p.Segment.Seq, Ack: p.Segment.Ack, Flags: p.Segment.Flags, Window: p.Segment.Window, Payload: p.Payload,
	}
	if p.Segment.Opts&decode.OptMSS != 0 {
		s.MSS = p.Segment.MSS
	}
	from, why := m.state, Damaged
	if !p.BadSum && !p.Fragment && p.Len == len(p.Payload) {
		taken := s // what lies outside the window is cut off of it
		why = m.segment(now, &taken)
	}
	if why&refused != 0 {
		m.ignored++
	}
	m.step(now, false, s, why, from)
	m.output(now)
	return true
}

// segment has the state act on s and says what came of it. An ACK or a RST that
// must be sent is noted in answer and reset.
func (m *Machine) segment(now time.Time, s *Segment) Why {
	switch m.state {
	case trace.Closed:
		return Late
	case trace.SynSent:
		return m.segmentSynSent(now, s)
	}
	why, ok := m.acceptable(now, s)
	if !ok {
		return why
	}
	if s.Flags.Has(decode.RST) {
		return m.segmentRST(s)
	}
	if s.Flags.Has(decode.SYN) && why&CrossedSYN == 0 {
		m.answer |= Challenges // RFC 9293 section 3.10.7.4, fourth step: RFC 5961
		return SYNInside
	}
	if !s.Flags.Has(decode.ACK) {
		return NoACK
	}
	acked, ok := m.segmentACK(now, s)
	if !ok {
		return acked
	}
	why |= acked
	if m.state == trace.Closed {
		return why // LAST_ACK has ended
	}
	return why | m.segmentText(now, s)
}

// segmentSynSent is section 3.10.7.3.
func (m *Machine) segmentSynSent(now time.Time, s *Segment) Why {
	ack := s.Flags.Has(decode.ACK)
	if ack && (!before(m.iss, s.Ack) || before(m.sndMax, s.Ack)) {
		if !s.Flags.Has(decode.RST) {
			m.reset = &Segment{Seq: s.Ack, Flags: decode.RST}
		}
		return BadAck
	}
	if s.Flags.Has(decode.RST) {
		if !ack {
			return StrayRST
		}
		m.end(ErrRefused)
		return Resets
	}
	if !s.Flags.Has(decode.SYN) {
		return NoSYN
	}
	m.irs, m.synced = s.Seq, true
	m.rcvNxt = s.Seq + 1
	m.rcvEdge = m.rcvNxt + m.window() // a peer that knows our SYN knows its window
	mss := uint32(peerMSS)
	if s.MSS != 0 {
		mss = max(uint32(s.MSS), leastMSS)
	}
	m.mss = min(mss, uint32(m.cfg.MSS))
	m.cwnd = initialWindow * m.mss
	m.setWindow(s)
	if !ack {
		// Both have sent a SYN: section 3.5, figure 7. What is on it will come again.
		m.state, m.sndNxt = trace.SynReceived, m.iss
		return TakesSYN
	}
	why := TakesSYN | m.acked(now, s.Ack)
	m.establish()
	m.ackedFIN(now)
	m.answer |= AcksSYN
	return why | m.segmentText(now, s)
}

// establish ends the handshake.
func (m *Machine) establish() {
	m.state = trace.Established
	if m.finSent { // by hand
		m.sentFIN()
	}
}

// acceptable is the first step of section 3.10.7.4: the sequence number. What
// lies outside the window is cut off.
func (m *Machine) acceptable(now time.Time, s *Segment) (why Why, ok bool) {
	if m.state == trace.SynReceived && s.Flags.Has(decode.SYN|decode.ACK) && s.Seq == m.irs {
		// The peer's SYN has crossed ours, and this repeats it to acknowledge
		// ours (figure 7): by its number it is old, by its ACK it is not.
		s.Seq, s.Flags = s.Seq+1, s.Flags&^decode.SYN
		return CrossedSYN, true
	}
	n, wnd := s.Len(), m.window()
	first, last := s.Seq, s.Seq+n-1
	switch {
	case n == 0 && wnd == 0:
		ok = first == m.rcvNxt
	case n == 0:
		ok = m.within(first, wnd)
	case wnd > 0:
		ok = m.within(first, wnd) || m.within(last, wnd)
	}
	switch {
	case ok:
		return 0, true
	case s.Flags.Has(decode.RST):
		return StrayRST, false
	case n > 0 && wnd == 0 && first == m.rcvNxt && !s.Flags.Has(decode.SYN):
		// No room for its data, but its ACK counts ("special allowance").
		s.Payload, s.Flags = nil, s.Flags&^decode.FIN
		m.answer |= AnswersProbe
		return NoRoom, true
	}
	m.answer |= Repeats
	if !before(last, m.rcvNxt) {
		return Outside, false
	}
	if m.state == trace.TimeWait && s.Flags.Has(decode.FIN) {
		m.wait(now) // its FIN again: our last ACK was lost
	}
	if m.state == trace.SynReceived && s.Flags.Has(decode.SYN) && s.Seq == m.irs {
		m.sndNxt, m.answer = m.iss, 0 // its SYN again: our SYN-ACK was lost
	}
	return Repeated, false
}

// within reports whether seq lies in the receive window of wnd bytes.
func (m *Machine) within(seq, wnd uint32) bool { return seq-m.rcvNxt < wnd }

// segmentRST is the second step: only an exact one counts (RFC 5961 section 3).
func (m *Machine) segmentRST(s *Segment) Why {
	if s.Seq != m.rcvNxt {
		m.answer |= Challenges
		return StrayRST
	}
	switch m.state {
	case trace.SynReceived:
		m.end(ErrRefused)
	case trace.Closing, trace.LastAck, trace.TimeWait:
		m.end(nil)
	default:
		m.end(ErrReset)
	}
	return Resets
}

// segmentACK is the fifth step; ok means that what s carries is to be looked at.
func (m *Machine) segmentACK(now time.Time, s *Segment) (why Why, ok bool) {
	switch {
	case m.state == trace.SynReceived && (!before(m.sndUna, s.Ack) || before(m.sndMax, s.Ack)):
		m.reset = &Segment{Seq: s.Ack, Flags: decode.RST}
		return BadAck, false
	case before(m.sndMax, s.Ack), before(s.Ack, m.sndUna-m.maxWnd): // RFC 5961 section 5
		m.answer |= Challenges
		return BadAck, false
	case before(s.Ack, m.sndUna):
		return OldAck, true
	case before(m.sndUna, s.Ack):
		why = m.acked(now, s.Ack)
	}
	if m.state == trace.SynReceived {
		m.setWindow(s)
		m.establish()
	}
	if before(m.sndWl1, s.Seq) || m.sndWl1 == s.Seq && !before(s.Ack, m.sndWl2) {
		was := m.sndWnd
		m.setWindow(s)
		switch {
		case m.sndWnd == 0:
			m.tries = 0 // MUST-37: a closed window that is acknowledged is no end
		case was == 0 && m.sndUna != m.sndMax:
			m.sndNxt, m.timer = m.sndUna, time.Time{} // the probe's byte found no room
		}
	}
	m.ackedFIN(now)
	return why, true
}

// ackedFIN moves the state when our FIN is acknowledged.
func (m *Machine) ackedFIN(now time.Time) {
	if !m.finSent || m.sndUna != m.sndMax {
		return
	}
	switch m.state {
	case trace.FinWait1:
		m.state = trace.FinWait2
	case trace.Closing:
		m.wait(now)
	case trace.LastAck:
		m.end(nil)
	}
}

// setWindow notes the window that s offers.
func (m *Machine) setWindow(s *Segment) {
	m.sndWnd, m.sndWl1, m.sndWl2 = uint32(s.Window), s.Seq, s.Ack
	m.maxWnd = max(m.maxWnd, m.sndWnd)
}

// acked moves SND.UNA to ack and says what was acknowledged.
func (m *Machine) acked(now time.Time, ack uint32) Why {
	var why Why
	if m.sndUna == m.iss {
		why |= GetsSYN
	}
	if n := min(int(int32(ack-m.outSeq)), len(m.out)); n > 0 {
		why |= GetsData
		m.out, m.outSeq = m.out[n:], m.outSeq+uint32(n)
	}
	if m.finSent && ack == m.sndMax {
		why |= GetsFIN
	}
	m.cwnd = min(m.cwnd+min(ack-m.sndUna, m.mss), maxOut)
	m.sndUna = ack
	if before(m.sndNxt, ack) {
		m.sndNxt = ack
	}
	if m.timing && !before(ack, m.timed) {
		m.timing = false
		m.measure(now.Sub(m.timedAt))
	}
	m.restart()
	m.timer = time.Time{} // RFC 6298 (5.2), (5.3)
	return why
}

// segmentText is the seventh and eighth step: payload and FIN, in order only.
func (m *Machine) segmentText(now time.Time, s *Segment) Why {
	if s.Flags.Has(decode.SYN) { // of a SYN-ACK: what is on it follows it
		s.Seq, s.Flags = s.Seq+1, s.Flags&^decode.SYN
	}
	payload, fin := s.Payload, s.Flags.Has(decode.FIN)
	if len(payload) == 0 && !fin {
		return 0
	}
	if before(m.rcvNxt, s.Seq) {
		m.answer |= Repeats
		return OutOfOrder
	}
	old := m.rcvNxt - s.Seq // what has come before; acceptable has seen that there is more
	if old > uint32(len(payload)) || old == uint32(len(payload)) && !fin || m.fin {
		m.answer |= Repeats
		return Repeated
	}
	payload = payload[old:]
	if room := m.window(); uint32(len(payload)) > room {
		payload, fin = payload[:room], false
	}
	var why Why
	if len(payload) > 0 {
		if !m.discard {
			m.in = append(m.in, payload...)
		}
		m.rcvNxt += uint32(len(payload))
		m.answer |= AcksData
		why |= TakesData
	}
	if fin {
		m.rcvNxt++
		m.fin = true
		m.answer |= AcksFIN
		why |= TakesFIN
		m.receivedFIN(now)
	}
	return why
}

// receivedFIN moves the state when the peer has finished.
func (m *Machine) receivedFIN(now time.Time) {
	switch m.state {
	case trace.Established:
		m.state = trace.CloseWait
	case trace.FinWait1:
		m.state = trace.Closing // our FIN is not acknowledged, else it were FIN_WAIT_2
	case trace.FinWait2:
		m.wait(now)
	}
}
