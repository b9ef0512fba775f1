package trace

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"finack/decode"
	"finack/internal/craft"
)

// A sim is one connection between two small TCP endpoints, seen by a tap in the
// middle of the path. It knows what no capture knows: the endpoints' true
// states, and which segments were lost on which side of the tap. The seed alone
// decides what happens. Both ends follow RFC 9293, with Linux's habits where it
// leaves a choice; a path keeps the order of segments.
type sim struct {
	simPlan
	rnd     *rand.Rand
	now     time.Duration
	queue   simQueue
	events  int
	ends    [2]*simEnd
	passed  [2][2]time.Duration // the last arrival of each side's segments, at the tap and at the peer
	tap     []simFrame
	missed  []simFrame    // lost before the tap
	resetAt time.Duration // when the first RST was sent; 0: none was
}

// simFrame is a segment as it passed the tap.
type simFrame struct {
	from    Side
	at      time.Duration // at the tap
	sent    time.Duration
	arrives time.Duration // at the peer; 0: lost beyond the tap
	packet  decode.Packet
}

// simPlan is what the network and the programs at both ends will do.
type simPlan struct {
	way        [2]time.Duration // from client and server to the tap
	lossBefore float64          // of a segment on its way to the tap
	lossBeyond float64          // and from there to its receiver
	opening    simOpening
	wscale     uint8 // 0: not offered
	mss        uint32
	program    [2]simProgram
}

type simOpening uint8

const (
	simNormal simOpening = iota
	simFastOpen
	simCrossing // simultaneous open
	simRefused
	simUnanswered
	simGivenUp // the client's program aborts before the SYN-ACK
)

// simProgram is what the program at one end does, in time since its end was
// ESTABLISHED; zero: never.
type simProgram struct {
	writes    [3]time.Duration
	size      [3]uint32
	close     time.Duration
	closeAll  bool          // close, not shutdown: data that comes later is answered by RST
	onEOF     time.Duration // closes so long after the peer's FIN has come
	writesEOF bool          // and writes once more before it does
	abort     time.Duration
	stall     time.Duration // stops reading then, for a second
	keepAlive time.Duration
}

// simEnd is one end.
type simEnd struct {
	*sim
	side    Side
	addr    decode.Endpoint
	state   State
	history []simState
	ipid    uint32

	iss, una, nxt, top uint32 // top: one past the highest number sent
	written            uint32 // one past the last byte that the program wrote
	closed             bool   // by the program: a FIN follows what was written
	finSent            bool
	fin                uint32 // the number after the FIN
	finAt              time.Duration
	closedSecond       bool   // had the peer's FIN when it sent its own
	wnd                uint32 // the peer's

	rcv, irs uint32
	late     []decode.Packet // arrived before what precedes them
	unread   uint32
	buffer   uint32
	stalled  bool
	deaf     bool
	silent   bool // gone to CLOSED without a segment that says so
	ackDue   bool

	armed, tries int // the timer's number, and how often it has fired
}

type simState struct {
	at    time.Duration
	state State
}

// simulate runs the connection of a seed until nothing is in flight and no
// timer runs.
func simulate(seed uint64, plan simPlan) *sim {
	s := &sim{simPlan: plan, rnd: rand.New(rand.NewPCG(seed, 1))}
	for i := range s.ends {
		e := &simEnd{sim: s, side: Side(i), iss: s.rnd.Uint32(), buffer: 64240 >> 7 << 7, ipid: s.rnd.Uint32() & 0xffff}
		e.addr = decode.Endpoint{Addr: [16]byte{10, 0, 0, byte(1 + i)}, Port: [2]uint16{40000, 80}[i]}
		e.una, e.nxt, e.top, e.written = e.iss, e.iss+1, e.iss, e.iss+1
		if plan.program[i].stall != 0 {
			e.buffer = 3000
		}
		s.ends[i] = e
	}
	client, server := s.ends[Client], s.ends[Server]
	client.become(Closed)
	switch plan.opening {
	case simRefused:
		server.become(Closed)
	case simCrossing:
		server.become(Closed)
		s.after(s.upTo(plan.way[0]+plan.way[1]), server.connect)
	default:
		server.become(Listen)
	}
	client.connect()
	if plan.opening == simGivenUp {
		s.after(plan.way[0], client.abort)
	}
	for len(s.queue) > 0 && s.events < 20_000 {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
	}
	if len(s.queue) > 0 {
		panic(fmt.Sprintf("seed %d does not come to rest", seed))
	}
	return s
}

// randomPlan draws what happens to a connection, with segments lost before and
// beyond the tap or not.
func randomPlan(seed uint64, before, beyond bool) simPlan {
	r := rand.New(rand.NewPCG(seed, 2))
	ms := func(lo, hi int) time.Duration { return time.Duration(lo*1000+r.IntN((hi-lo)*1000)) * time.Microsecond }
	p := simPlan{
		way: [2]time.Duration{ms(0, 15), ms(0, 15)}, mss: []uint32{536, 1460, 8960}[r.IntN(3)], wscale: []uint8{0, 7}[r.IntN(2)],
	}
	if before {
		p.lossBefore = 0.02 + 0.2*r.Float64()
	}
	if beyond {
		p.lossBeyond = 0.02 + 0.2*r.Float64()
	}
	switch n := r.IntN(40); {
	case n < 5:
		p.opening = simFastOpen
	case n < 9:
		p.opening = simCrossing
	case n < 14:
		p.opening = simRefused + simOpening(n%3)
	}
	for i := range p.program {
		pr := &p.program[i]
		for j := range r.IntN(len(pr.writes) + 1) {
			pr.writes[j], pr.size[j] = ms(0, 200), uint32(1+r.IntN(4000))
		}
		if r.IntN(10) == 0 {
			pr.keepAlive = ms(500, 900)
		}
		if r.IntN(10) == 0 && p.wscale == 0 {
			pr.stall = ms(0, 50)
		}
	}
	first := Side(r.IntN(2))
	one, two := &p.program[first], &p.program[first.Peer()]
	one.close = ms(0, 300)
	one.onEOF, two.onEOF = time.Microsecond, time.Microsecond
	switch r.IntN(16) {
	case 0, 1, 2:
		two.onEOF = ms(0, 100)
	case 3, 4: // a half-close, with data the other way
		two.onEOF, two.writesEOF = ms(1, 300), true
	case 5, 6, 7, 8: // both close, on their own
		two.close = max(1, one.close+ms(0, 40)-20*time.Millisecond)
	case 9: // nobody closes
		one.close = 0
	case 10: // the other side never closes
		two.onEOF = 0
	case 11:
		one.abort = ms(0, 300)
	case 12:
		two.abort = one.close + ms(0, 60)
		two.onEOF = ms(0, 100)
	case 13:
		one.closeAll = true
		two.onEOF, two.writesEOF = ms(1, 100), true
	}
	return p
}

// The clock: things to do, in order of time.

type simEvent struct {
	at time.Duration
	n  int
	do func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].n, q[j].n)) < 0
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (s *sim) after(d time.Duration, do func()) {
	s.events++
	heap.Push(&s.queue, simEvent{s.now + d, s.events, do})
}

func (s *sim) upTo(d time.Duration) time.Duration {
	return time.Duration(s.rnd.Int64N(int64(d/time.Microsecond)+1)) * time.Microsecond
}

// The path.

// carry takes a segment from one end past the tap to the other.
func (s *sim) carry(from Side, p decode.Packet) {
	f := simFrame{from: from, sent: s.now, packet: p}
	f.at = max(s.now+s.way[from]+s.upTo(100*time.Microsecond), s.passed[from][0]+time.Microsecond)
	f.packet.Time = storyStart.Add(f.at)
	if s.rnd.Float64() < s.lossBefore {
		s.missed = append(s.missed, f)
		return
	}
	s.passed[from][0] = f.at
	lost := s.rnd.Float64() < s.lossBeyond || s.opening == simUnanswered
	if !lost {
		f.arrives = max(f.at+s.way[from.Peer()]+s.upTo(100*time.Microsecond), s.passed[from][1]+time.Microsecond)
		s.passed[from][1] = f.arrives
	}
	s.after(f.at-s.now, func() {
		s.tap = append(s.tap, f)
		if !lost {
			s.after(f.arrives-s.now, func() { s.ends[from.Peer()].receive(p) })
		}
	})
}

// An end sends.

func (e *simEnd) become(state State) {
	e.state = state
	e.history = append(e.history, simState{e.now, state})
	if state == Closed {
		e.armed++
	}
}

func (e *simEnd) window() uint32 { return e.buffer - min(e.unread, e.buffer) }

// transmit sends n bytes from seq on; a reset that answers a segment has its
// acknowledgment for a number and none of its own.
func (e *simEnd) transmit(f decode.Flags, seq, n uint32) {
	p := decode.Packet{Version: 4, Proto: decode.ProtoTCP, Src: e.addr, Dst: e.ends[e.side.Peer()].addr, Len: int(n)}
	e.ipid++
	p.IPID = e.ipid & 0xffff
	p.Segment = decode.Segment{Flags: f, Seq: seq, Window: uint16(e.window() >> e.wscale)}
	if f.Has(decode.SYN) {
		p.Segment.Window = uint16(e.window())
		p.Segment.Opts, p.Segment.MSS = decode.OptMSS, uint16(e.mss)
		if e.wscale != 0 {
			p.Segment.Opts |= decode.OptWScale
			p.Segment.WScale = e.wscale
		}
	}
	if f.Has(decode.ACK) {
		p.Segment.Ack, e.ackDue = e.rcv, false
	}
	if end := seq + p.SeqLen(); seqLT(e.top, end) && !f.Has(decode.RST) {
		e.top = end
	}
	if f.Has(decode.RST) && e.resetAt == 0 {
		e.resetAt = e.now
	}
	e.carry(e.side, p)
}

func (e *simEnd) ack() { e.transmit(decode.ACK, e.nxt, 0) }

func (e *simEnd) connect() {
	if e.state != Closed {
		return
	}
	e.become(SynSent)
	n := uint32(0)
	if e.opening == simFastOpen {
		n = 1 + e.rnd.Uint32N(400)
		e.written += n
	}
	e.transmit(decode.SYN, e.iss, n)
	e.nxt += n
	e.arm()
}

func (e *simEnd) abort() {
	switch e.state {
	case Closed, TimeWait, Listen:
	case SynSent, Closing, LastAck: // no RST (RFC 9293 section 3.10.5)
		e.become(Closed)
		e.silent = true
	default:
		e.transmit(decode.RST|decode.ACK, e.nxt, 0)
		e.become(Closed)
	}
}

// refuse answers a segment that finds no connection (RFC 9293 section 3.10.7.1).
func (e *simEnd) refuse(p *decode.Packet) {
	if p.Segment.Flags.Has(decode.ACK) {
		e.transmit(decode.RST, p.Segment.Ack, 0)
		return
	}
	rcv := e.rcv
	e.rcv = p.Segment.Seq + p.SeqLen()
	e.transmit(decode.RST|decode.ACK, 0, 0)
	e.rcv = rcv
}

// output sends what the program has written and the window allows.
func (e *simEnd) output() {
	if e.state != Established && e.state != CloseWait {
		return
	}
	for !e.finSent {
		room := e.una + e.wnd - e.nxt
		if int32(room) <= 0 {
			break
		}
		n := min(e.mss, e.written-e.nxt, room)
		last := e.nxt+n == e.written
		fin := last && e.closed && n < room
		if n == 0 && !fin {
			break
		}
		f := decode.ACK
		if last && n > 0 {
			f |= decode.PSH
		}
		seq := e.nxt
		e.nxt += n
		if fin {
			f |= decode.FIN
			e.nxt++
			e.finSent, e.fin, e.finAt, e.closedSecond = true, e.nxt, e.now, e.state == CloseWait
			if e.closedSecond {
				e.become(LastAck)
			} else {
				e.become(FinWait1)
			}
		}
		e.transmit(f, seq, n)
	}
	e.arm()
}

// arm starts the retransmission timer, which also probes a closed window. Its
// time is far above the round-trip time, so it never fires in vain.
func (e *simEnd) arm() {
	e.armed++
	waiting := e.una != e.top || e.written != e.nxt && !e.finSent || e.closed && !e.finSent
	if !waiting || e.state == Closed || e.state == TimeWait {
		return
	}
	this := e.armed
	e.after(min(200*time.Millisecond<<e.tries, time.Second), func() {
		if this == e.armed && e.tries < 30 {
			e.tries++
			e.timeout()
			e.arm()
		}
	})
}

func (e *simEnd) timeout() {
	switch {
	case e.state == SynSent && e.opening == simUnanswered && e.tries > 3:
		e.tries = 30
	case e.state == SynSent:
		e.transmit(decode.SYN, e.iss, 0)
	case e.state == SynReceived:
		e.transmit(decode.SYN|decode.ACK, e.iss, 0)
	case e.una == e.top && e.side == Client: // the window is closed: probe as Linux does
		e.transmit(decode.ACK, e.nxt-1, 0)
	case e.una == e.top && e.written != e.nxt: // or with a byte (RFC 9293 section 3.8.6.1)
		e.transmit(decode.ACK, e.nxt, 1)
	case e.una == e.top:
		e.ack()
	default:
		n := min(e.mss, e.written-e.una, e.top-e.una)
		f := decode.ACK
		if e.finSent && e.una+n+1 == e.fin {
			f |= decode.FIN
		}
		e.transmit(f, e.una, n)
	}
}

// The program.

func (e *simEnd) established() {
	e.become(Established)
	p := &e.program[e.side]
	for i, at := range p.writes {
		if at != 0 {
			e.after(at, func() { e.write(p.size[i]) })
		}
	}
	if p.close != 0 {
		e.after(p.close, e.shut)
	}
	if p.abort != 0 {
		e.after(p.abort, e.abort)
	}
	if p.stall != 0 {
		e.after(p.stall, func() { e.stalled = true })
		e.after(p.stall+time.Second, func() {
			e.stalled, e.unread = false, 0
			if e.state == Established || e.state == FinWait1 || e.state == FinWait2 {
				e.ack() // a window update
			}
		})
	}
	if p.keepAlive != 0 {
		e.after(p.keepAlive, func() {
			if e.state == Established && e.una == e.top {
				e.transmit(decode.ACK, e.nxt-1, e.rnd.Uint32N(2))
			}
		})
	}
}

func (e *simEnd) write(n uint32) {
	if !e.closed && (e.state == Established || e.state == CloseWait) {
		e.written += n
		e.output()
	}
}

func (e *simEnd) shut() {
	e.closed, e.deaf = true, e.program[e.side].closeAll
	e.output()
}

func (e *simEnd) eof() {
	p := &e.program[e.side]
	if p.writesEOF {
		e.after(p.onEOF/2, func() { e.write(500) })
	}
	if p.onEOF != 0 {
		e.after(p.onEOF, e.shut)
	}
}

// An end receives, in the order of RFC 9293 section 3.10.7.

func (e *simEnd) receive(p decode.Packet) {
	seg := &p.Segment
	f := seg.Flags
	switch e.state {
	case Closed:
		if !f.Has(decode.RST) {
			e.refuse(&p)
		}
		return
	case Listen:
		if f.Has(decode.SYN) {
			e.accept(&p)
		} else if f.Has(decode.ACK) && !f.Has(decode.RST) {
			e.refuse(&p)
		}
		return
	case SynSent:
		e.answered(&p)
		return
	}
	end := seg.Seq + p.SeqLen()
	switch {
	case f.Has(decode.RST):
		switch {
		case seg.Seq == e.rcv:
			e.become(Closed)
		case seqLT(e.rcv, seg.Seq) && seqLT(seg.Seq, e.rcv+e.window()):
			e.ack() // a challenge (RFC 5961 section 3.2)
		}
		return
	case f.Has(decode.SYN|decode.ACK) && e.state == SynReceived:
		e.acknowledged(seg) // the SYNs crossed: figure 7
		return
	case f.Has(decode.SYN) && e.state == SynReceived:
		e.transmit(decode.SYN|decode.ACK, e.iss, 0)
		return
	case f.Has(decode.SYN):
		e.ack()
		return
	case seqLT(end, e.rcv), end != seg.Seq && seqLEQ(e.rcv+e.window(), seg.Seq):
		if e.window() == 0 { // "special allowance should be made to accept valid ACKs"
			e.acknowledged(seg)
		}
		e.ack()
		return
	}
	if !e.acknowledged(seg) {
		return
	}
	if end == seg.Seq {
		e.output()
		return
	}
	if end == e.rcv { // sent again: Linux drops it only after its acknowledgment has been used
		e.ack()
		e.output()
		return
	}
	if p.Len > 0 && e.deaf {
		e.refuse(&p)
		e.become(Closed)
		return
	}
	if seqLT(e.rcv, seg.Seq) {
		e.late = append(e.late, p)
		e.ack()
		e.output()
		return
	}
	e.take(&p)
	for i := 0; i < len(e.late); i++ {
		if l := &e.late[i]; seqLEQ(l.Segment.Seq, e.rcv) && seqLT(e.rcv, l.Segment.Seq+l.SeqLen()) {
			e.take(l)
			i = -1
		}
	}
	e.output()
}

// accept takes the SYN that a listening end gets, data on it included.
func (e *simEnd) accept(p *decode.Packet) {
	e.irs, e.rcv = p.Segment.Seq, p.Segment.Seq+p.SeqLen()
	e.wnd = uint32(p.Segment.Window)
	e.become(SynReceived)
	e.transmit(decode.SYN|decode.ACK, e.iss, 0)
	e.arm()
}

// answered is SYN_SENT.
func (e *simEnd) answered(p *decode.Packet) {
	seg := &p.Segment
	f := seg.Flags
	acks := f.Has(decode.ACK) && seqLT(e.iss, seg.Ack) && seqLEQ(seg.Ack, e.top)
	switch {
	case f.Has(decode.RST):
		if acks {
			e.become(Closed)
		}
		return
	case f.Has(decode.ACK) && !acks:
		e.refuse(p)
		return
	case !f.Has(decode.SYN):
		return
	}
	e.irs, e.rcv, e.wnd = seg.Seq, seg.Seq+p.SeqLen(), uint32(seg.Window)
	if !acks {
		e.become(SynReceived)
		e.transmit(decode.SYN|decode.ACK, e.iss, 0)
		return
	}
	e.una, e.nxt, e.tries = seg.Ack, seg.Ack, 0
	e.established()
	e.ack()
	e.output()
}

// acknowledged takes an acknowledgment and reports whether it is acceptable.
func (e *simEnd) acknowledged(seg *decode.Segment) bool {
	if seqLT(e.top, seg.Ack) {
		e.ack()
		return false
	}
	if seqLT(e.una, seg.Ack) {
		e.una, e.tries = seg.Ack, 0
		if seqLT(e.nxt, e.una) {
			e.nxt = e.una // a probe was taken
		}
		e.arm()
	}
	e.wnd = uint32(seg.Window)
	if !seg.Flags.Has(decode.SYN) {
		e.wnd <<= e.wscale
	}
	if e.state == SynReceived && seqLT(e.iss, e.una) {
		e.established()
	}
	if e.finSent && e.una == e.fin {
		switch e.state {
		case FinWait1:
			e.become(FinWait2)
		case Closing:
			e.become(TimeWait)
		case LastAck:
			e.become(Closed)
		}
	}
	return true
}

// take takes data and FIN that come next.
func (e *simEnd) take(p *decode.Packet) {
	end := p.Segment.Seq + p.SeqLen()
	if e.stalled {
		e.unread += end - e.rcv
	}
	e.rcv = end
	delay := e.upTo(40 * time.Millisecond)
	if p.Segment.Flags.Has(decode.FIN) {
		delay = e.upTo(time.Millisecond)
		switch e.state {
		case Established:
			e.become(CloseWait)
			e.eof()
		case FinWait1:
			e.become(Closing)
		case FinWait2:
			e.become(TimeWait)
			e.armed++
		}
	}
	if e.ackDue || e.rnd.IntN(2) == 0 {
		e.ack()
		return
	}
	e.ackDue = true
	e.after(delay, func() {
		if e.ackDue && e.state != Closed {
			e.ack()
		}
	})
}

// closer is who truly closed first.
func (s *sim) closer() Closer {
	client, server := s.ends[Client], s.ends[Server]
	switch {
	case !client.finSent && !server.finSent:
		return NoCloser
	case !server.finSent || server.closedSecond:
		return ClosedByClient
	case !client.finSent || client.closedSecond:
		return ClosedByServer
	default:
		return ClosedByBoth
	}
}

// lines are the tap's frames as a story.
func (s *sim) lines() []storyLine {
	lines := make([]storyLine, len(s.tap))
	for i := range s.tap {
		lines[i] = storyLine{time: s.tap[i].packet.Time, packet: s.tap[i].packet}
	}
	return lines
}

// String tells a sim as the segments of a story, with what was lost and the
// ends' true states, for a failing test.
func (s *sim) String() string {
	text := s.segments(s.lines())
	for _, f := range s.missed {
		text += fmt.Sprintf("# lost before the tap: %s", s.segment(&f.packet))
	}
	for _, f := range s.tap {
		if f.arrives == 0 {
			text += fmt.Sprintf("# lost beyond the tap: %s", s.segment(&f.packet))
		}
	}
	for _, e := range s.ends {
		text += fmt.Sprintf("# %s:", e.side)
		for _, h := range e.history {
			text += fmt.Sprintf(" %.6f %s", h.at.Seconds(), h.state)
		}
		text += "\n"
	}
	return text + fmt.Sprintf("# closed by %s\n", s.closer())
}

func (s *sim) segments(lines []storyLine) (text string) {
	for i := range lines {
		text += s.segment(&lines[i].packet)
	}
	return text
}

func (s *sim) segment(p *decode.Packet) string {
	from := Client
	if p.Src != s.ends[Client].addr {
		from = Server
	}
	me, peer := s.ends[from], s.ends[from.Peer()]
	seg := &p.Segment
	seq := seg.Seq - me.iss
	text := fmt.Sprintf("%.6f %s > %s %s %d:%d(%d)", time.Duration(p.Time-storyStart).Seconds(), from, from.Peer(), craft.AppendFlagLetters(nil, seg.Flags), seq, seq+uint32(p.Len), p.Len)
	if seg.Flags.Has(decode.ACK) {
		text += fmt.Sprintf(" ack %d", seg.Ack-peer.iss)
	}
	text += fmt.Sprintf(" win %d", seg.Window)
	if seg.Opts&decode.OptWScale != 0 {
		text += fmt.Sprintf(" <wscale %d>", seg.WScale)
	}
	return text + "\n"
}
