package trace

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"finack/decode"
)

// What must hold for every capture of a connection, tried on the stories and on
// simulated connections, whose truth is known.

var simConfig = Config{All: true, TimeWait: time.Hour} // a simulated TIME_WAIT has no end

// simOf returns the connection of a seed: of four in turn one lossless, one
// with loss before the tap, one with loss beyond it, one with both.
func simOf(seed uint64) *sim { return simulate(seed, randomPlan(seed, seed&1 != 0, seed&2 != 0)) }

// checkSeeds runs a check, which returns what is wrong, over simulated connections.
func checkSeeds(t *testing.T, seeds uint64, check func(seed uint64) string) {
	t.Helper()
	for seed := range seeds {
		if wrong := check(seed); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}

// accountOf returns the one account of a simulated connection's frames, its
// client the simulation's, whoever the capture says it is.
func (s *sim) accountOf(t *testing.T, lines []storyLine) (*Conn, string) {
	t.Helper()
	_, conns := play(t, simConfig, lines)
	if len(conns) != 1 {
		return nil, fmt.Sprintf("%d connections, not 1", len(conns))
	}
	return seenFrom(s.ends[Client].addr, conns[0]), ""
}

// differs says how the account of the same segments, captured in another way,
// has another verdict.
func (s *sim) differs(t *testing.T, want *Conn, lines []storyLine) string {
	t.Helper()
	got, wrong := s.accountOf(t, lines)
	if wrong == "" && verdictText(got) != verdictText(want) {
		wrong = fmt.Sprintf("%s\nbecomes %s\n%s", verdictText(want), verdictText(got), s.segments(lines))
	}
	return wrong
}

// seenFrom returns an account with the end at client as its client.
func seenFrom(client decode.Endpoint, c *Conn) *Conn {
	if c.Client == client {
		return c
	}
	v := *c
	v.Client, v.Server = v.Server, v.Client
	swap(&v.States)
	v.ResetBy = v.ResetBy.Peer()
	if v.Closer == ClosedByClient || v.Closer == ClosedByServer {
		v.Closer = ClosedByClient + ClosedByServer - v.Closer
	}
	return &v
}

// verdictText is what design calls the verdict of an account, with who and how.
func verdictText(c *Conn) string {
	text := fmt.Sprintf("%s; %s", c.Handshake, c.Teardown)
	if c.WasReset {
		text += fmt.Sprintf(" by %s after %s", c.ResetBy, c.ResetAfter)
	}
	return text + fmt.Sprintf(", closer %q, complete %v; %s %s", c.Closer, c.Complete, c.States[Client], c.States[Server])
}

// lost reports whether a segment with a flag was lost before the tap, of any
// side or of some.
func (s *sim) lost(f decode.Flags, of ...Side) bool {
	return slices.ContainsFunc(s.missed, func(m simFrame) bool {
		return m.packet.Segment.Flags.Has(f) && (len(of) == 0 || slices.Contains(of, m.from))
	})
}

// At the end, when nothing is in flight, the tracker says what is true, or as
// much of it as passed the tap.
func TestTruth(t *testing.T) {
	checkSeeds(t, 2000, func(seed uint64) string {
		s := simOf(seed)
		if len(s.tap) == 0 {
			return ""
		}
		c, wrong := s.accountOf(t, s.lines())
		if wrong != "" {
			return wrong
		}
		lossy := s.lossBefore+s.lossBeyond > 0
		for i, e := range s.ends {
			switch got := c.States[i]; {
			case got == e.state:
			case got == Unknown && len(e.history) == 1: // it was never heard of
			case got == Unknown && s.lost(decode.FIN): // only a retransmission was seen
			case e.silent && got == e.history[len(e.history)-2].state:
			case lossy && (s.ends[0].silent || s.ends[1].silent): // so what was lost was never sent again
			case c.Closer != s.closer() && c.Closer == apparentCloser(s.lines()):
			case lossy && (c.WasReset || c.RST != [2]uint32{} || s.lost(decode.RST)): // a reset that is lost, or comes after something lost, is taken as said
			default:
				wrong += fmt.Sprintf("%s is %s, not %s; ", e.side, e.state, got)
			}
		}
		switch want := s.closer(); {
		case c.Closer == want:
		case c.Closer == ClosedUnknown && len(s.missed) > 0: // which may have been a FIN
		case c.Closer == apparentCloser(s.lines()) && s.lost(decode.FIN): // a retransmission looks like the original
		case c.Closer == NoCloser && c.FIN == [2]uint32{}:
		default:
			wrong += fmt.Sprintf("closed by %q, not %q", want, c.Closer)
		}
		return wrong
	})
}

// apparentCloser is who closed first if the first FINs of each side that were
// captured were the first that were sent.
func apparentCloser(lines []storyLine) Closer {
	var fin [2]*decode.Packet
	for i := range lines {
		p := &lines[i].packet
		side := Client
		if p.Src.Port == 80 {
			side = Server
		}
		if p.Segment.Flags.Has(decode.FIN) && fin[side] == nil {
			fin[side] = p
		}
	}
	if fin[Client] == nil || fin[Server] == nil {
		return ClosedUnknown
	}
	covers := func(s Side) bool {
		first := fin[s.Peer()]
		return seqLEQ(first.Segment.Seq+first.SeqLen(), fin[s].Segment.Ack)
	}
	switch {
	case covers(Client):
		return ClosedByServer
	case covers(Server):
		return ClosedByClient
	default:
		return ClosedByBoth
	}
}

// At every step, until a reset is sent, an end's state is one that it truly
// has: between the sending of its last segment that passed the tap and the
// arrival of the last segment that passed it on its way to that end. Where
// something was lost before the tap, it may be UNKNOWN; an end whose FIN was
// lost there may be behind its last segment, but never where it never is.
func TestEveryStep(t *testing.T) {
	checkSeeds(t, 2000, func(seed uint64) string {
		s := simOf(seed)
		if s.lossBeyond > 0 { // what is taken as said may not be true for a while
			return ""
		}
		tr := New(&simConfig)
		var sent, arrives [2]time.Duration // the last segment of each end, and the last one to it
		var events []Event
		for i := range s.tap {
			f := &s.tap[i]
			sent[f.from], arrives[f.from.Peer()] = f.sent, f.arrives
			if s.resetAt != 0 && s.resetAt < max(arrives[Client], arrives[Server]) {
				break
			}
			events = tr.Observe(&f.packet, events[:0])
			if s.lossBefore == 0 && slices.ContainsFunc(events, func(e Event) bool { return e.Revised }) {
				return fmt.Sprintf("nothing was lost, but %s takes something back%s", s.segment(&f.packet), s)
			}
			for c := range tr.Conns() {
				c = seenFrom(s.ends[Client].addr, c)
				for side, e := range s.ends {
					from := sent[side]
					if s.lost(decode.FIN, e.side) {
						from = 0
					}
					switch got := c.States[side]; {
					case e.was(got, from, max(arrives[side], f.at)):
					case got == Unknown && (len(s.missed) > 0 || e.was(e.history[0].state, sent[side], f.at)):
					case got == FinWait2 && s.closer() == ClosedByBoth && len(s.missed) > 0: // its peer sent the FIN again: that it was processed is taken back
					case c.Closer != s.closer() && c.Closer == apparentCloser(s.lines()[:i+1]): // a retransmission looks like the original
					case got == CloseWait && s.lost(decode.FIN, e.side) && !s.shows(s.tap[:i+1], e.side): // like one that never sent a FIN
					default:
						return fmt.Sprintf("%s is said to be %s after %s%s", e.side, got, s.segment(&f.packet), s)
					}
				}
			}
		}
		return ""
	})
}

// What was taken as said and was not received is taken back: a SYN-ACK or FIN,
// also one that is sent again, shows its sender where it was when it sent it,
// if nothing was on its way to it then.
func TestTakenBack(t *testing.T) {
	checkSeeds(t, 2000, func(seed uint64) string {
		s := simOf(seed)
		if s.lossBefore > 0 {
			return ""
		}
		tr := New(&simConfig)
		var events []Event
		for i := range s.tap {
			f := &s.tap[i]
			events = tr.Observe(&f.packet, events[:0])
			flags := f.packet.Segment.Flags
			if !flags.Has(decode.FIN) && !flags.Has(decode.SYN|decode.ACK) || s.resetAt != 0 || slices.ContainsFunc(s.tap[:i], func(g simFrame) bool {
				return g.from != f.from && g.at+s.way[f.from]+200*time.Microsecond > f.sent
			}) {
				continue
			}
			for c := range tr.Conns() {
				e := s.ends[f.from]
				got := seenFrom(s.ends[Client].addr, c).States[f.from]
				if got != Unknown && !e.was(got, f.sent, f.at) {
					return fmt.Sprintf("%s is said to be %s after %s%s", e.side, got, s.segment(&f.packet), s)
				}
			}
		}
		return ""
	})
}

// was reports whether an end was in a state at some time in an interval.
func (e *simEnd) was(state State, from, to time.Duration) bool {
	for i, h := range e.history {
		if h.at > to || i+1 < len(e.history) && e.history[i+1].at < from {
			continue
		}
		if h.state == state {
			return true
		}
	}
	return false
}

// A capture that begins late, ends early, misses a direction or any frames
// claims no more than what is true.
//
// What can be demanded of it: a state is one that the end has had by then, or
// UNKNOWN, for the segment that moved it on may be missing; so may be what
// shows the first of two closers, but not so that the other is named. Kinds of
// handshake and teardown may lose what was not captured, and gain nothing.
// Nothing can be demanded where a retransmitted FIN stands for the first one,
// which may have acknowledged less and looks the same, and little after a reset,
// which counts if it could be exact.
func TestCutCaptures(t *testing.T) {
	checkSeeds(t, 300, func(seed uint64) string {
		s := simOf(seed)
		if len(s.tap) == 0 {
			return ""
		}
		rnd := rand.New(rand.NewPCG(seed, 6))
		whole, _ := s.accountOf(t, s.lines())
		for n := range 10 {
			frames := slices.Clone(s.tap)
			switch at := rnd.IntN(len(frames)); n {
			case 0, 1:
				frames = frames[at:]
			case 2, 3:
				frames = frames[:at+1]
			case 4, 5:
				frames = slices.DeleteFunc(frames, func(f simFrame) bool { return f.from == Side(n&1) })
			default:
				share := []float64{0.05, 0.2, 0.5, 0.2}[n-6]
				frames = slices.DeleteFunc(frames, func(f simFrame) bool { return rnd.Float64() < share })
			}
			if len(frames) == 0 {
				continue
			}
			var lines []storyLine
			for _, f := range frames {
				lines = append(lines, storyLine{time: f.packet.Time, packet: f.packet})
			}
			cut, wrong := s.accountOf(t, lines)
			if wrong == "" {
				wrong = s.overclaimed(frames, cut, whole)
			}
			if wrong != "" {
				return fmt.Sprintf("%s\n%s\nof\n%s", wrong, s.segments(lines), s)
			}
		}
		return ""
	})
}

// overclaimed says what the account of some frames claims that is not true.
func (s *sim) overclaimed(frames []simFrame, cut, whole *Conn) (wrong string) {
	if !s.firstFINs(frames) || whole.RST != [2]uint32{} || s.lost(decode.RST) {
		return ""
	}
	var end time.Duration
	for _, f := range frames {
		end = max(end, f.at, f.arrives)
	}
	for side, e := range s.ends {
		got := cut.States[side]
		behind := (got == FinWait2 || got == Closing) && e.was(TimeWait, 0, end) || // which came about in the other order
			got == CloseWait && e.finSent && !s.shows(frames, e.side) // like one that never sent a FIN
		if got != Unknown && !behind && !e.was(got, 0, end) && (s.lossBeyond == 0 || !asSaid(got)) {
			wrong += fmt.Sprintf("%s is said to be %s; ", e.side, got)
		}
	}
	switch truth := s.closer(); {
	case cut.Closer == truth || cut.Closer == ClosedUnknown || cut.Closer == NoCloser:
	case truth == ClosedByBoth && cut.Closer == ClosedByClient && !s.shows(frames, Server):
	case truth == ClosedByBoth && cut.Closer == ClosedByServer && !s.shows(frames, Client):
	default:
		wrong += fmt.Sprintf("closed by %q, not %q; ", truth, cut.Closer)
	}
	switch cut.Handshake {
	case whole.Handshake, Midstream, IncompleteHandshake:
	case ThreeWay:
		if whole.Handshake != SimultaneousOpen && whole.Handshake != FastOpen {
			wrong += "three-way"
		}
	default:
		wrong += fmt.Sprintf("handshake %s", cut.Handshake)
	}
	if cut.Complete && !whole.Complete {
		wrong += "complete"
	}
	switch cut.Teardown {
	case whole.Teardown, NoTeardown, Unacknowledged, HalfClosed:
	case ThreeStep:
		if whole.Teardown != FourStep {
			wrong += "three-step"
		}
	default:
		wrong += fmt.Sprintf("teardown %s", cut.Teardown)
	}
	return wrong
}

// asSaid reports whether a state may be one that an end is in only if it got
// what was lost beyond the tap.
func asSaid(s State) bool {
	return s == Established || s == FinWait2 || s == TimeWait || s == Closed
}

// shows reports whether frames show that a side has sent a FIN, be it by what
// comes after it.
func (s *sim) shows(frames []simFrame, side Side) bool {
	fin := s.ends[side].fin
	return slices.ContainsFunc(frames, func(f simFrame) bool {
		seg := &f.packet.Segment
		return f.from == side && seqLEQ(fin, seg.Seq+f.packet.SeqLen()) || f.from != side && seg.Flags.Has(decode.ACK) && seqLEQ(fin, seg.Ack)
	})
}

// firstFINs reports whether the first FIN of each side among frames, if there
// is one, is the first that was sent.
func (s *sim) firstFINs(frames []simFrame) bool {
	for _, e := range s.ends {
		i := slices.IndexFunc(frames, func(f simFrame) bool { return f.from == e.side && f.packet.Segment.Flags.Has(decode.FIN) })
		if i >= 0 && frames[i].sent != e.finAt {
			return false
		}
	}
	return true
}

// A frame that is captured twice, at a mirror port or a second tap, within
// 5 ms, changes no verdict: all of them, or some.
func TestCopiesChangeNothing(t *testing.T) {
	checkSeeds(t, 400, func(seed uint64) string {
		s := simOf(seed)
		if len(s.tap) == 0 {
			return ""
		}
		rnd := rand.New(rand.NewPCG(seed, 3))
		want, _ := s.accountOf(t, s.lines())
		for _, share := range []float64{1, 0.3, 0.1} {
			lines := copied(rnd, s.lines(), share, duplicateWithin-tick)
			if wrong := s.differs(t, want, lines); wrong != "" {
				return wrong
			}
		}
		return ""
	})
}

// changing tries the stories of one connection, but for one, in changed order,
// or with copies.
func changing(t *testing.T, except string, change func(rnd *rand.Rand, lines []storyLine) []storyLine) {
	t.Helper()
	tested := 0
	for _, s := range readStories(t) {
		_, want := play(t, s.config, s.lines)
		if s.name == except || len(want) > 1 || want[0].Proto != decode.ProtoTCP || slices.ContainsFunc(s.lines, func(l storyLine) bool { return l.advance || l.packet.Proto != decode.ProtoTCP }) {
			continue
		}
		tested++
		rnd := rand.New(rand.NewPCG(1, 7))
		for range 20 {
			lines := change(rnd, s.lines)
			if _, got := play(t, s.config, lines); len(got) != 1 || verdictText(seenFrom(want[0].Client, got[0])) != verdictText(want[0]) {
				t.Errorf("%s: %s\nbut changed %s%v", s.name, verdictText(want[0]), verdictText(got[0]), lines)
				break
			}
		}
	}
	if tested < 30 {
		t.Errorf("only %d stories", tested)
	}
}

func TestCopiesChangeNoStory(t *testing.T) {
	changing(t, "", func(rnd *rand.Rand, lines []storyLine) []storyLine {
		return copied(rnd, lines, 0.5, duplicateWithin-tick)
	})
}

func TestInterleavedStories(t *testing.T) {
	// What a FIN that is sent again denies, it denies only of what comes before it.
	changing(t, "fin-again-denies", func(rnd *rand.Rand, lines []storyLine) []storyLine {
		return interleaved(rnd, lines, rnd.IntN(2) == 0)
	})
}

// copied returns lines with a share of the packets twice, the copy up to most later.
func copied(rnd *rand.Rand, lines []storyLine, share float64, most time.Duration) []storyLine {
	var out []storyLine
	for _, l := range lines {
		out = append(out, l)
		if !l.advance && rnd.Float64() < share {
			l.time = l.time.Add(time.Duration(rnd.Int64N(int64(most))))
			l.packet.Time = l.time
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b storyLine) int { return cmp.Compare(a.time, b.time) })
	return out
}

// However the two directions of a connection are interleaved in a file, if only
// each keeps its order and nothing comes before what it acknowledges, the
// verdict is the same.
func TestInterleavings(t *testing.T) {
	checkSeeds(t, 400, func(seed uint64) string {
		s := simOf(seed)
		if len(s.tap) == 0 {
			return ""
		}
		rnd := rand.New(rand.NewPCG(seed, 4))
		want, _ := s.accountOf(t, s.lines())
		for n := range 5 {
			lines := interleaved(rnd, s.lines(), n&1 == 0)
			if wrong := s.differs(t, want, lines); wrong != "" {
				return wrong
			}
		}
		return ""
	})
}

// interleaved returns lines in another order: each direction's is kept, and
// each segment still comes after those of its peer that it acknowledges. A
// reset and the other direction keep their order, because it interrupts what
// came before it, and so do two SYNs, whose first says who the client is. The
// segments keep their stamps, as from two clocks, or get those of their places.
func interleaved(rnd *rand.Rand, lines []storyLine, stamps bool) []storyLine {
	bias := []float64{0.05, 0.5, 0.95}[rnd.IntN(3)]
	after := func(i, j int) bool { // whether line j must come after line i
		a, b := &lines[i].packet, &lines[j].packet
		f := a.Segment.Flags | b.Segment.Flags
		return f.Has(decode.RST) || a.Segment.Flags&b.Segment.Flags&decode.SYN != 0 ||
			b.Segment.Flags.Has(decode.ACK) && seqLEQ(a.Segment.Seq+a.SeqLen(), b.Segment.Ack)
	}
	var dirs [2][]int
	for i := range lines {
		d := 0
		if lines[i].packet.Src != lines[0].packet.Src {
			d = 1
		}
		dirs[d] = append(dirs[d], i)
	}
	var out []storyLine
	for len(dirs[0])+len(dirs[1]) > 0 {
		d := 0
		if rnd.Float64() < bias {
			d = 1
		}
		if len(dirs[d]) == 0 {
			d ^= 1
		}
		next := dirs[d][0]
		if slices.ContainsFunc(dirs[d^1], func(i int) bool { return i < next && after(i, next) }) {
			continue
		}
		l := lines[next]
		if !stamps {
			l.time = lines[len(out)].time
			l.packet.Time = l.time
		}
		out, dirs[d] = append(out, l), dirs[d][1:]
	}
	return out
}

// Two taps on one path, whose clocks differ, in one file, one after the other
// or merged: the verdict is that of either.
func TestTwoTaps(t *testing.T) {
	checkSeeds(t, 400, func(seed uint64) string {
		s := simOf(4 * seed) // without loss
		want, _ := s.accountOf(t, s.lines())
		if want.RST != [2]uint32{} { // what a reset interrupts is not the same at both taps
			return ""
		}
		if want.Handshake == SimultaneousOpen && want.Packets == [2]uint64{2, 2} { // the copies of its SYN-ACKs are the last word
			return ""
		}
		rnd := rand.New(rand.NewPCG(seed, 5))
		skew := time.Duration(rnd.Int64N(int64(100*time.Millisecond))) - 50*time.Millisecond
		near := [2][]storyLine{s.linesNear(Client, 0), s.linesNear(Server, skew)}
		byTime := slices.Concat(near[0], near[1])
		slices.SortStableFunc(byTime, func(a, b storyLine) int { return cmp.Compare(a.time, b.time) })
		for name, lines := range map[string][]storyLine{
			"client's": near[0], "server's": near[1], "client's, server's": slices.Concat(near[0], near[1]),
			"server's, client's": slices.Concat(near[1], near[0]), "merged": byTime,
		} {
			if wrong := s.differs(t, want, lines); wrong != "" {
				return name + ": " + wrong
			}
		}
		return ""
	})
}

// linesNear is what a tap beside one end sees.
func (s *sim) linesNear(side Side, skew time.Duration) []storyLine {
	var lines []storyLine
	for _, f := range s.tap {
		at := f.sent
		if f.from != side {
			at = f.arrives
		}
		f.packet.Time = storyStart.Add(at + skew)
		lines = append(lines, storyLine{time: f.packet.Time, packet: f.packet})
	}
	slices.SortStableFunc(lines, func(a, b storyLine) int { return cmp.Compare(a.time, b.time) })
	return lines
}
