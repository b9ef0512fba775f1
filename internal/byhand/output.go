package byhand

import (
	"fmt"
	"time"

	"finack/decode"
	"finack/trace"
)

// output sends what is to be sent: RFC 9293 section 3.8.
func (m *Machine) output(now time.Time) { m.send(now, false) }

// send is output; force sends a segment also where the peer's window has no
// room for one.
func (m *Machine) send(now time.Time, force bool) {
	if m.reset != nil {
		s := *m.reset
		m.reset = nil
		if !m.cfg.Quiet {
			m.emit(now, s, Refuses)
		}
	}
	if m.cfg.Quiet {
		m.answer = 0
		m.arm(now)
		return
	}
	switch m.state {
	case trace.SynSent, trace.SynReceived:
		if m.sndNxt == m.iss {
			m.sendSYN(now)
		}
	case trace.Established, trace.FinWait1, trace.CloseWait, trace.Closing, trace.LastAck:
		m.sendData(now, force)
	}
	if m.answer != 0 && m.state != trace.Closed {
		m.emit(now, Segment{Seq: m.sndMax, Ack: m.rcvNxt, Flags: decode.ACK}, m.answer)
	}
	m.answer = 0
	m.arm(now)
}

// sendSYN sends the SYN; in SYN_RECEIVED, where the peer's has crossed it, with ACK.
func (m *Machine) sendSYN(now time.Time) {
	s := Segment{Seq: m.iss, Flags: decode.SYN, MSS: m.cfg.MSS}
	if m.state == trace.SynReceived {
		s.Flags, s.Ack = decode.SYN|decode.ACK, m.rcvNxt
	}
	m.advance(now, s, 0, m.state)
}

// sendData sends what both windows let through, and the FIN behind it.
func (m *Machine) sendData(now time.Time, force bool) {
	for {
		off := int(m.sndNxt - m.outSeq)
		rest := len(m.out) - off
		if rest < 0 {
			return // the FIN, too, has been sent
		}
		room := int(int32(m.sndUna + min(m.sndWnd, m.cwnd) - m.sndNxt))
		why := Why(0)
		if force && room < 1 {
			room = 1
			if m.sndWnd == 0 {
				why = Probes
			}
		}
		n := max(0, min(rest, int(m.mss), room))
		fin := m.closing && n == rest && room > n
		if n == 0 && !fin {
			return
		}
		// RFC 9293 section 3.8.6.2.1: no small segments for a small window.
		if !force && n < rest && n < int(m.mss) && n < int(m.maxWnd/2) {
			return
		}
		force = false
		s := Segment{Seq: m.sndNxt, Ack: m.rcvNxt, Flags: decode.ACK, Payload: m.out[off : off+n]}
		if n > 0 && n == rest {
			s.Flags |= decode.PSH
		}
		from := m.state
		if fin {
			s.Flags |= decode.FIN
			m.sentFIN()
		}
		m.advance(now, s, why|m.answer, from)
		m.answer = 0 // it rode on this
	}
}

// sentFIN moves the state when the FIN is sent for the first time.
func (m *Machine) sentFIN() {
	m.finSent = true
	switch m.state {
	case trace.Established:
		m.state = trace.FinWait1
	case trace.CloseWait:
		m.state = trace.LastAck
	}
}

// advance sends what takes sequence numbers, from sndNxt on.
func (m *Machine) advance(now time.Time, s Segment, why Why, from trace.State) {
	m.sndNxt = s.Seq + s.Len()
	if before(s.Seq, m.sndMax) {
		why |= Again
		m.retransmits++
	} else if !m.timing {
		m.timing, m.timed, m.timedAt = true, m.sndNxt, now
	}
	if before(m.sndMax, m.sndNxt) {
		m.sndMax = m.sndNxt
	}
	m.emitFrom(now, s, why, from)
}

// emit gives s to the caller of Steps.
func (m *Machine) emit(now time.Time, s Segment, why Why) { m.emitFrom(now, s, why, m.state) }

// emitFrom is emit of a segment that has moved the state.
func (m *Machine) emitFrom(now time.Time, s Segment, why Why, from trace.State) {
	if why&ByHand == 0 && !s.Flags.Any(decode.RST) {
		s.Window = uint16(m.window())
	}
	if s.Flags.Has(decode.ACK) {
		m.rcvEdge = s.Ack + uint32(s.Window)
	}
	m.step(now, true, s, why, from)
}

// step notes what was sent or heard.
func (m *Machine) step(now time.Time, sent bool, s Segment, why Why, from trace.State) {
	if len(m.steps) >= maxSteps {
		return
	}
	m.steps = append(m.steps, Step{
		Time: now, Sent: sent, Segment: s, Why: why, Before: from, After: m.state,
		ISS: m.iss, IRS: m.irs, RcvNxt: m.rcvNxt, SndNxt: m.sndMax, Tries: m.tries,
	})
}

// arm sets the timer of what is under way, or of probes of a closed window.
func (m *Machine) arm(now time.Time) {
	waiting := m.synchronized() && m.state != trace.TimeWait && (m.unsent() > 0 || m.closing && !m.finSent)
	if m.state == trace.Closed || m.cfg.Quiet || m.sndUna == m.sndMax && !waiting {
		m.timer = time.Time{}
		return
	}
	if m.timer.IsZero() {
		m.timer = now.Add(m.rto)
	}
}

// Advance does what is due at now.
func (m *Machine) Advance(now time.Time) {
	if !m.linger.IsZero() && !now.Before(m.linger) {
		m.end(nil)
		return
	}
	if m.timer.IsZero() || now.Before(m.timer) {
		return
	}
	m.timer = time.Time{}
	if m.tries >= m.cfg.Tries {
		m.end(m.timeout())
		return
	}
	m.tries++
	m.rto = min(2*m.rto, m.cfg.MaxRTO) // RFC 6298 (5.5)
	m.timing = false                   // Karn: what was sent twice measures nothing
	m.sndNxt, m.cwnd = m.sndUna, m.mss // RFC 5681 section 3.1
	m.send(now, true)
}

// timeout says what was never acknowledged.
func (m *Machine) timeout() error {
	e := &TimeoutError{Seq: m.sndUna, Tries: m.tries + 1}
	switch n := m.sndMax - m.outSeq; {
	case m.sndUna == m.iss:
		e.What = "SYN"
	case m.sndUna == m.sndMax:
		e.What = "zero-window probe"
	case m.finSent && n == 1:
		e.What = "FIN"
	case m.finSent:
		e.What = fmt.Sprintf("%d bytes and FIN", n-1)
	default:
		e.What = fmt.Sprintf("%d bytes", n)
	}
	return e
}

// measure takes a round trip into the timeout: RFC 6298 section 2.
func (m *Machine) measure(r time.Duration) {
	if m.srtt == 0 {
		m.srtt, m.rttvar = r, r/2
	} else {
		m.rttvar = (3*m.rttvar + (m.srtt - r).Abs()) / 4
		m.srtt = (7*m.srtt + r) / 8
	}
}

// restart sets the timeout to what the measured round trips say.
func (m *Machine) restart() {
	m.tries = 0
	m.rto = min(max(m.cfg.RTO, m.srtt+4*m.rttvar), m.cfg.MaxRTO)
}
