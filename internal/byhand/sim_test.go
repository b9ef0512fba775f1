package byhand

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"finack/decode"
	"finack/trace"
)

// flight is a segment on its way.
type flight struct {
	at time.Time
	to int
	p  decode.Packet
}

// network carries segments between two machines, and loses, doubles and
// delays some, so that they overtake each other.
type network struct {
	rnd   *rand.Rand
	loss  float64
	ends  [2]*Machine
	way   []flight
	trace func(from int, s *Step)
}

// post takes what a machine sends.
func (n *network) post(now time.Time, from int) {
	n.ends[from].Steps(func(s *Step) {
		if n.trace != nil {
			n.trace(from, s)
		}
		if !s.Sent {
			return
		}
		copies := 1
		switch x := n.rnd.Float64(); {
		case x < n.loss:
			copies = 0
		case x < 2*n.loss:
			copies = 2
		}
		for range copies {
			cfg := &n.ends[from].cfg
			p := decode.Packet{
				Version: 4, Proto: decode.ProtoTCP, Src: decode.EndpointOf(cfg.Local), Dst: decode.EndpointOf(cfg.Remote),
				Segment: decode.Segment{Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: s.Window, MSS: s.MSS},
				Len:     len(s.Payload), Payload: bytes.Clone(s.Payload),
			}
			if s.MSS != 0 {
				p.Segment.Opts = decode.OptMSS
			}
			delay := time.Duration(1+n.rnd.IntN(5)) * time.Millisecond
			if n.rnd.Float64() < n.loss {
				delay += 20 * time.Millisecond
			}
			n.way = append(n.way, flight{now.Add(delay), 1 - from, p})
		}
	})
}

// next is when something happens, and to which flight: -1 for a timer.
func (n *network) next() (at time.Time, which int) {
	which = -1
	for i := range n.way {
		if at.IsZero() || n.way[i].at.Before(at) {
			at, which = n.way[i].at, i
		}
	}
	for _, m := range n.ends {
		if t := m.Next(); !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, which = t, -1
		}
	}
	return at, which
}

// TestTwoMachinesAgree has two machines open towards each other or one after
// the other, send random bytes both ways through a bad network, and close in
// either order: every byte arrives once and in order, and both ends get to
// their end without an error.
func TestTwoMachinesAgree(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := &network{rnd: rnd, loss: []float64{0, 0.02, 0.1, 0.25}[seed%4]}
		for i := range n.ends {
			cfg := MachineConfig{Local: ourEnd, Remote: theirEnd, ISS: rnd.Uint32(), RTO: 50 * time.Millisecond, Tries: 40, MaxRTO: time.Second}
			if seed%3 == 0 {
				cfg.ISS = -rnd.Uint32N(3000) // soon to wrap
			}
			if i == 1 {
				cfg.Local, cfg.Remote = theirEnd, ourEnd
			}
			if rnd.IntN(3) == 0 {
				cfg.Window = 1 + rnd.IntN(4000)
			}
			cfg.MSS = uint16(64 + rnd.IntN(1400))
			n.ends[i] = NewMachine(&cfg)
		}
		var data, got [2][]byte
		var written [2]int
		for i := range data {
			data[i] = make([]byte, rnd.IntN(20000)*rnd.IntN(3))
			for j := range data[i] {
				data[i][j] = byte(rnd.Uint32())
			}
		}
		closeFirst := rnd.IntN(3) // 2: both
		now := time.Unix(1000, 0)
		n.ends[0].Open(now)
		n.post(now, 0)
		n.ends[1].Open(now) // there is no LISTEN: every open is simultaneous, or nearly
		n.post(now, 1)
		end := now.Add(time.Hour)
		for {
			at, which := n.next()
			if at.IsZero() {
				break
			}
			if at.After(end) {
				t.Fatalf("seed %d: not over after an hour: %+v, %+v", seed, n.ends[0].Status(), n.ends[1].Status())
			}
			now = at
			if which < 0 {
				n.ends[0].Advance(now)
				n.ends[1].Advance(now)
			} else {
				f := n.way[which]
				n.way = append(n.way[:which], n.way[which+1:]...)
				if !n.ends[f.to].Receive(now, &f.p) {
					t.Fatalf("seed %d: not taken", seed)
				}
			}
			for i, m := range n.ends {
				written[i] += m.Write(now, data[i][written[i]:])
				b := make([]byte, 1+rnd.IntN(5000))
				got[1-i] = append(got[1-i], b[:m.Read(now, b)]...)
				st := m.Status()
				if written[i] == len(data[i]) && m.synchronized() && (closeFirst != 1-i || st.FINReceived) {
					m.CloseWrite(now)
				}
				n.post(now, i)
			}
		}
		for i, m := range n.ends {
			if st := m.Status(); st.State != trace.Closed || st.Err != nil || !bytes.Equal(got[i], data[i]) {
				t.Fatalf("seed %d, end %d: %v, error %v, %d of %d bytes", seed, i, st.State, st.Err, len(got[i]), len(data[i]))
			}
		}
	}
}

// follows are the arrows of RFC 9293 figure 5 that a machine without LISTEN
// goes, several at once where a FIN was sent by hand before the handshake's end;
// to CLOSED there is one from everywhere.
var follows = map[trace.State][]trace.State{
	trace.Closed:      {trace.SynSent},
	trace.SynSent:     {trace.SynReceived, trace.Established, trace.CloseWait, trace.FinWait1, trace.FinWait2, trace.Closing, trace.TimeWait},
	trace.SynReceived: {trace.Established, trace.CloseWait, trace.FinWait1, trace.FinWait2, trace.Closing, trace.TimeWait},
	trace.Established: {trace.FinWait1, trace.CloseWait},
	trace.FinWait1:    {trace.FinWait2, trace.Closing, trace.TimeWait},
	trace.FinWait2:    {trace.TimeWait},
	trace.Closing:     {trace.TimeWait},
	trace.CloseWait:   {trace.LastAck},
}

// checkMachine holds what must be true of every machine at any time.
func checkMachine(t *testing.T, m *Machine) {
	t.Helper()
	if len(m.in) > m.cfg.Window || len(m.out) > maxOut {
		t.Fatalf("%d bytes to be read, %d to be sent", len(m.in), len(m.out))
	}
	if m.state == trace.Closed {
		if m.timer != (time.Time{}) || m.linger != (time.Time{}) {
			t.Fatal("CLOSED, and a timer runs")
		}
		return
	}
	if before(m.sndMax, m.sndNxt) || before(m.sndNxt, m.sndUna) || int32(m.sndMax-m.sndUna) > maxOut+2 {
		t.Fatalf("SND.UNA %d, %d, SND.NXT %d", m.sndUna, m.sndNxt, m.sndMax)
	}
	if before(m.rcvNxt+m.window(), m.rcvEdge) && m.synced && !m.fin {
		t.Fatalf("the window that was told has been taken back by %d", m.rcvEdge-m.rcvNxt-m.window())
	}
	if m.sndUna != m.sndMax && m.timer.IsZero() && !m.cfg.Quiet {
		t.Fatalf("%v: %d numbers are not acknowledged, and no timer runs", m.state, m.sndMax-m.sndUna)
	}
	if m.state == trace.TimeWait && m.linger.IsZero() {
		t.Fatal("TIME_WAIT without end")
	}
}

// checkStep holds that a step moves the state along an arrow.
func checkStep(t *testing.T, s *Step) {
	t.Helper()
	if s.Before != s.After && s.After != trace.Closed && !slices.Contains(follows[s.Before], s.After) {
		t.Fatalf("from %v to %v: sent %v, %v, %v", s.Before, s.After, s.Sent, s.Flags, s.Why)
	}
	if s.Sent && (len(s.Payload) > defaultMSS || s.Why&ByHand == 0 && s.Flags.Has(decode.ACK) && s.Before == trace.SynSent) {
		t.Fatalf("sent %v with %d bytes, %v", s.Flags, len(s.Payload), s.Why)
	}
}

// FuzzReceive does with a machine what each six bytes say: a segment from the
// peer, with numbers near the right ones or not, a call, or a time that passes.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x10\x12\x00\x01\x00\x00" + "\x10\x10\x01\x01\x05\x00" + "\x10\x11\x06\x01\x00\x00"))
	f.Add([]byte("\x02\x02\x00\x00\x00\x00" + "\x01\x00\x00\x00\x40\x00" + "\x10\x04\x01\x00\x00\x00"))
	f.Add([]byte("\x10\x12\x00\x01\x00\x01" + "\x03\x00\x00\x00\x00\x00" + "\x10\x11\x01\x02\x00\x00" + "\x00\x07\x00\x00\x00\x00"))
	f.Fuzz(play)
}

// play is FuzzReceive's.
func play(t *testing.T, data []byte) {
	if len(data) == 0 {
		return
	}
	cfg := MachineConfig{Local: ourEnd, Remote: theirEnd, ISS: uint32(data[0]) - 128, Window: 1 + int(data[0])*50, Tries: 3, RTO: time.Millisecond}
	m := NewMachine(&cfg)
	now := time.Unix(1000, 0)
	irs := -uint32(data[0])
	m.Open(now)
	for ; len(data) >= 6; data = data[6:] {
		op := data[0]
		n := int(int8(data[4]))
		switch {
		case op >= 16:
			length := max(0, n) * int(op>>5)
			p := decode.Packet{
				Proto: decode.ProtoTCP, Src: decode.EndpointOf(theirEnd), Dst: decode.EndpointOf(ourEnd),
				Len: length, Payload: make([]byte, length), BadSum: data[5] == 77,
				Segment: decode.Segment{Flags: decode.Flags(data[1]), Window: uint16(data[5]) * 100, MSS: uint16(data[5]) * 6, Opts: decode.OptMSS},
			}
			p.Segment.Seq = irs + uint32(int8(data[2]))
			if op&1 != 0 && m.synced {
				p.Segment.Seq = m.rcvNxt + uint32(int8(data[2]))
			}
			p.Segment.Ack = m.iss + uint32(int8(data[3]))*uint32(op&8+1)
			if op&2 != 0 {
				p.Segment.Ack = m.sndMax + uint32(int8(data[3]))
			}
			m.Receive(now, &p)
		case op == 1:
			m.Write(now, make([]byte, int(data[4])*300))
		case op == 2:
			m.Read(now, make([]byte, int(data[4])*30))
		case op == 3:
			m.CloseWrite(now)
		case op == 4:
			m.Discard(now)
		case op == 5:
			m.Abort(now)
		case op == 6:
			m.Quiet(now, data[1]&1 != 0)
		case op == 7:
			s := m.Segment(decode.Flags(data[1]), make([]byte, data[4]))
			s.Seq += uint32(int8(data[2]))
			if len(s.Payload) <= int(m.cfg.MSS) {
				m.Send(now, s)
			}
		default:
			if next := m.Next(); !next.IsZero() {
				now = next
			}
			m.Advance(now)
		}
		m.Steps(func(s *Step) { checkStep(t, s) })
		checkMachine(t, m)
	}
}

// TestRandomSegments is FuzzReceive without a guide.
func TestRandomSegments(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		data := make([]byte, 6*(1+rnd.IntN(40)))
		for i := range data {
			data[i] = byte(rnd.Uint32())
			switch {
			case i%6 == 0 && rnd.IntN(3) == 0:
				data[i] = byte(rnd.IntN(10)) // a call
			case i%6 == 1 && rnd.IntN(2) == 0:
				data[i] = byte(decode.ACK) | byte(rnd.IntN(4)) // what carries on
			case (i%6 == 2 || i%6 == 3) && rnd.IntN(2) == 0:
				data[i] = byte(rnd.IntN(3))
			}
		}
		play(t, data)
	}
}
