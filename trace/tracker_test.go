package trace

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"finack/decode"
)

// A record has no pointer, and with its slot in the table an open connection
// stays within 256 bytes.
func TestRecordSize(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[record](), reflect.TypeFor[closing]()} {
		if p := pointerIn(typ); p != "" {
			t.Errorf("%s has a pointer: %s", typ, p)
		}
	}
	if n := reflect.TypeFor[record]().Size(); n > 232 {
		t.Errorf("a record has %d bytes, at most 232 are allowed", n)
	}
}

func pointerIn(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if p := pointerIn(t.Field(i).Type); p != "" {
				return t.Field(i).Name + "." + p
			}
		}
		return ""
	case reflect.Array:
		return pointerIn(t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.String, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return t.String()
	default:
		return ""
	}
}

// The table agrees with a map whatever is put in and taken out, also when every
// key has one of a few hashes.
func TestTableAgainstMap(t *testing.T) {
	for _, hashes := range []uint32{0, 7} {
		rnd := rand.New(rand.NewPCG(1, 2))
		tab := &table{seed: [2]uint64{3, 4}}
		want := map[key]uint32{}
		hash := func(k *key) uint32 {
			if hashes == 0 {
				return tab.hash(k)
			}
			return tab.hash(k) % hashes * 0x20000001
		}
		for i := range 200_000 {
			src := decode.Endpoint{Addr: [16]byte{10, byte(rnd.IntN(4)), byte(rnd.IntN(4))}, Port: uint16(rnd.IntN(50))}
			dst := decode.Endpoint{Addr: [16]byte{10, 9}, Port: 80}
			var k, back key
			if makeKey(&k, &src, &dst, decode.ProtoTCP) == makeKey(&back, &dst, &src, decode.ProtoTCP) || k != back {
				t.Fatalf("the two directions of %v have different keys", src)
			}
			h := hash(&k)
			r, idx := tab.find(&k, h)
			wantIdx, there := want[k]
			if (r != nil) != there || there && (idx != wantIdx || r.key != k) {
				t.Fatalf("step %d: found %v %d, want %v %d", i, r != nil, idx, there, wantIdx)
			}
			// Grow to begin with, shrink to end with.
			switch add := rnd.IntN(200_000) > i; {
			case !there && add:
				r, idx = tab.insert(&k, h)
				if r.key != k || r.id != 0 || r.ends != [2]end{} {
					t.Fatalf("a new record is not empty: %+v", r)
				}
				r.id = 1
				want[k] = idx
			case there && !add:
				tab.remove(idx, h)
				delete(want, k)
			}
			if tab.n != len(want) {
				t.Fatalf("step %d: %d records, want %d", i, tab.n, len(want))
			}
		}
		for k := range want {
			if r, _ := tab.find(&k, hash(&k)); r == nil {
				t.Fatalf("lost %v", k)
			}
		}
	}
}

// feeder makes packets of connections and flows for tests that need many.
type feeder struct {
	p decode.Packet
}

func newFeeder() *feeder {
	f := &feeder{}
	f.p.Time, f.p.Version, f.p.Proto = storyStart, 4, decode.ProtoTCP
	return f
}

// conn says which connection is meant: any number has its own client address.
func (f *feeder) segment(conn int, from Side, flags decode.Flags, seq, ack uint32, n int) *decode.Packet {
	client := decode.Endpoint{Addr: [16]byte{10, byte(conn >> 24), byte(conn >> 16), byte(conn >> 8)}, Port: 1024 + uint16(conn&0xff)}
	server := decode.Endpoint{Addr: [16]byte{192, 0, 2, 1}, Port: 80}
	f.p.Src, f.p.Dst = client, server
	if from == Server {
		f.p.Src, f.p.Dst = server, client
	}
	f.p.IPID++
	f.p.Len = n
	f.p.Segment = decode.Segment{Seq: seq, Ack: ack, Flags: flags, Window: 512}
	return &f.p
}

// open performs a handshake; both sides' next number is 1.
func (f *feeder) open(t *Tracker, conn int, out []Event) []Event {
	out = t.Observe(f.segment(conn, Client, decode.SYN, 0, 0, 0), out)
	out = t.Observe(f.segment(conn, Server, decode.SYN|decode.ACK, 0, 1, 0), out)
	return t.Observe(f.segment(conn, Client, decode.ACK, 1, 1, 0), out)
}

// close closes a connection in three steps, the client first.
func (f *feeder) close(t *Tracker, conn int, out []Event) []Event {
	out = t.Observe(f.segment(conn, Client, decode.FIN|decode.ACK, 1, 1, 0), out)
	out = t.Observe(f.segment(conn, Server, decode.FIN|decode.ACK, 1, 2, 0), out)
	return t.Observe(f.segment(conn, Client, decode.ACK, 2, 2, 0), out)
}

// A SYN flood does not push out what is established: the oldest half-open
// connections go, and each eviction is counted and told.
func TestFloodKeepsEstablished(t *testing.T) {
	const established, flood, room = 100, 200_000, 1000
	tr, f := New(&Config{MaxConns: room}), newFeeder()
	var events []Event
	for i := range established {
		events = f.open(tr, i, events[:0])
	}
	told := 0
	for i := range flood {
		f.p.Time = f.p.Time.Add(time.Microsecond)
		events = tr.Observe(f.segment(1000+i, Client, decode.SYN, uint32(i), 0, 0), events[:0])
		for j := range events {
			if events[j].Kind == ConnReleased && events[j].Verdict.Evicted {
				told++
			}
		}
	}
	kept := 0
	for c := range tr.Conns() {
		if c.States == [2]State{Established, Established} {
			kept++
		}
	}
	s := tr.Stats()
	if want := established + flood - room; kept != established || s.Open != room || s.Evicted != uint64(want) || told != want {
		t.Errorf("kept %d established, told of %d evictions of %d; %+v", kept, told, want, s)
	}
	if n := len(tr.slab.chunks); n > room/chunkSize+1 {
		t.Errorf("%d chunks for %d connections", n, room)
	}
	// Half-open ones gone, a flow goes before an established connection.
	for i := range room - established - 1 {
		events = f.open(tr, 1_000_000+i, events[:0])
	}
	f.p.Proto = decode.ProtoUDP
	events = tr.Observe(f.segment(5, Client, 0, 0, 0, 5), events[:0])
	f.p.Proto = decode.ProtoTCP
	events = f.open(tr, 2_000_000, events[:0])
	for c := range tr.Conns() {
		if c.Proto != decode.ProtoTCP || c.States != [2]State{Established, Established} {
			t.Errorf("kept %v %v %v", c.Proto, c.Client, c.States)
		}
	}
	// No choice left: the oldest of all.
	events = f.open(tr, 2_000_001, events[:0])
	if v := events[0].Verdict; events[0].Kind != ConnReleased || v.ID != 1 || !v.Evicted {
		t.Errorf("evicted %+v, not the oldest", v)
	}
}

// Timers fire at their time, neither before nor late, whether a packet or
// Advance tells the time, and Next tells when.
func TestTimers(t *testing.T) {
	tr, f := New(&Config{TimeWait: 30 * time.Second, UDPTimeout: 10 * time.Second}), newFeeder()
	start := f.p.Time
	next := func(want time.Duration) {
		t.Helper()
		due, ok := tr.Next()
		if !ok || due != start.Add(want) {
			t.Errorf("next timer after %v %v, want %v", due.Sub(start), ok, want)
		}
	}
	if due, ok := tr.Next(); ok {
		t.Errorf("a timer without a connection: %v", due)
	}
	events := f.open(tr, 1, nil)
	if due, ok := tr.Next(); ok {
		t.Errorf("an open connection has a timer: %v", due)
	}
	events = f.close(tr, 1, events[:0])
	next(30 * time.Second)
	f.p.Proto, f.p.Time = decode.ProtoUDP, start.Add(time.Second)
	events = tr.Observe(f.segment(2, Client, 0, 0, 0, 5), events[:0])
	next(11 * time.Second)
	f.p.Time = start.Add(5 * time.Second)
	events = tr.Observe(f.segment(2, Server, 0, 0, 0, 5), events[:0])
	next(15 * time.Second)
	if events = tr.Advance(start.Add(15*time.Second-1), events[:0]); len(events) != 0 {
		t.Errorf("too early: %+v", events)
	}
	events = tr.Advance(start.Add(15*time.Second), events[:0])
	if len(events) != 1 || events[0].Kind != ConnReleased || events[0].Proto != decode.ProtoUDP || events[0].Time != start.Add(15*time.Second) {
		t.Errorf("not the flow's end: %+v", events)
	}
	next(30 * time.Second)
	// A packet of something else, much later: the timer's own time is told.
	f.p.Proto, f.p.Time = decode.ProtoTCP, start.Add(time.Hour)
	events = tr.Observe(f.segment(3, Client, decode.SYN, 0, 0, 0), events[:0])
	if len(events) < 3 || events[0].Kind != StateChanged || events[0].Old != TimeWait || events[0].New != Closed || !events[0].Timer ||
		events[0].Time != start.Add(30*time.Second) || events[1].Kind != ConnReleased || events[2].Kind != SegmentSeen {
		t.Fatalf("not TIME_WAIT's end: %+v", events)
	}
	if v := events[1].Verdict; v.States != [2]State{TimeWait, Closed} {
		t.Errorf("the account's states are those after the last segment, not %v", v.States)
	}
	if _, ok := tr.Next(); ok {
		t.Error("a timer is left")
	}
}

// A clock that steps back is counted once and neither ends nor prolongs TIME_WAIT.
func TestClockStepsBack(t *testing.T) {
	tr, f := New(nil), newFeeder()
	start := f.p.Time
	events := f.open(tr, 1, nil)
	events = f.close(tr, 1, events)
	due, _ := tr.Next()
	f.p.Time = start.Add(-time.Hour)
	for i := range 3 {
		f.p.Time++
		events = f.open(tr, 10+i, events)
	}
	if s := tr.Stats(); s.ClockSteps != 1 {
		t.Errorf("%d clock steps, want 1", s.ClockSteps)
	}
	if again, ok := tr.Next(); !ok || again != due || due != start.Add(60*time.Second) {
		t.Errorf("TIME_WAIT is due at %v, was %v", again.Sub(start), due.Sub(start))
	}
	if events = tr.Advance(start.Add(-time.Minute), events[:0]); len(events) != 0 {
		t.Errorf("a time before the last one: %+v", events)
	}
	// The same connection goes on before it began: no negative duration.
	f.p.Time = start.Add(-2 * time.Hour)
	events = tr.Observe(f.segment(10, Client, decode.FIN|decode.ACK, 1, 1, 0), events[:0])
	newChecker(t).events(events, tr)
	for c := range tr.Conns() {
		if c.Duration() < 0 {
			t.Errorf("#%d lasted %v", c.ID, c.Duration())
		}
	}
}

// No allocation for a segment of an open connection, at most one for sixteen
// whole connections: accounts come in blocks.
func TestAllocations(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all=%v", all), func(t *testing.T) {
			tr, f := New(&Config{All: all, TimeWait: time.Second}), newFeeder()
			events := f.open(tr, 1, nil)
			events = f.open(tr, 2, events)
			seq := uint32(1)
			data := testing.AllocsPerRun(1000, func() {
				for _, conn := range []int{1, 2} {
					events = tr.Observe(f.segment(conn, Client, decode.ACK|decode.PSH, seq, 1, 10), events[:0])
					events = tr.Observe(f.segment(conn, Server, decode.ACK, 1, seq+10, 0), events[:0])
				}
				seq += 10
			})
			if data != 0 {
				t.Errorf("%v allocations for four segments", data)
			}
			conn := 100
			round := func() {
				for range 160 {
					conn++
					f.p.Time = f.p.Time.Add(10 * time.Millisecond)
					events = f.open(tr, conn, events[:0])
					events = f.close(tr, conn, events[:0])
				}
			}
			for range 20 {
				round() // the slabs grow to what TIME_WAIT keeps
			}
			if whole := testing.AllocsPerRun(20, round); whole > 160/16 {
				t.Errorf("%v allocations for 160 connections, want at most 10", whole)
			}
		})
	}
}

// Who gives every account back gets the next one without an allocation.
func TestRecycledAccountsAllocateNothing(t *testing.T) {
	tr, f := New(&Config{TimeWait: time.Second, Without: AllKinds}), newFeeder()
	var events []Event
	conn, told := 0, 0
	round := func() {
		for range 160 {
			conn++
			f.p.Time = f.p.Time.Add(10 * time.Millisecond)
			events = f.open(tr, conn, events[:0])
			events = f.close(tr, conn, events)
			for i := range events {
				if v := events[i].Verdict; events[i].Kind != ConnReleased || v.Teardown != ThreeStep || v.Closer != ClosedByClient {
					t.Fatalf("told %+v", events[i])
				}
				tr.Recycle(events[i].Verdict)
				told++
			}
		}
	}
	for range 20 {
		round() // the slabs grow to what TIME_WAIT keeps
	}
	if n := testing.AllocsPerRun(20, round); n != 0 || told < conn/2 {
		t.Errorf("%v allocations for 160 connections; %d of %d told", n, told, conn)
	}
}

// What Expect announces changes nothing, whether it comes, or something else.
func TestExpectChangesNothing(t *testing.T) {
	var list []decode.Packet
	f := newFeeder()
	for conn := range 40 {
		list = append(list, *f.segment(conn, Client, decode.SYN, 0, 0, 0), *f.segment(conn, Server, decode.SYN|decode.ACK, 0, 1, 0))
	}
	for conn := range 40 {
		list = append(list, *f.segment(conn, Client, decode.ACK, 1, 1, 0), *f.segment(conn, Client, decode.FIN|decode.ACK, 1, 1, 0))
	}
	tell := func(expect func(tr *Tracker, next []*decode.Packet)) (events []Event) {
		tr := New(nil)
		for i := range list {
			var next []*decode.Packet
			for j := i; j < min(len(list), i+Lookahead); j++ {
				next = append(next, &list[j])
			}
			expect(tr, next)
			events = tr.Observe(&list[i], events)
		}
		return events
	}
	want := tell(func(*Tracker, []*decode.Packet) {})
	for name, expect := range map[string]func(*Tracker, []*decode.Packet){
		"what comes":   func(tr *Tracker, next []*decode.Packet) { tr.Expect(next) },
		"all but it":   func(tr *Tracker, next []*decode.Packet) { tr.Expect(next[1:]) },
		"the contrary": func(tr *Tracker, next []*decode.Packet) { slices.Reverse(next); tr.Expect(next) },
	} {
		if d := firstDifference(tell(expect), want); d != "" {
			t.Errorf("expected %s: %s", name, d)
		}
	}
}

// An open connection takes at most 256 bytes, its place in the table included.
func TestBytesOfAnOpenConnection(t *testing.T) {
	const conns = 300_000
	size := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := size()
	tr, f := New(nil), newFeeder()
	var events []Event
	for i := range conns {
		events = f.open(tr, i, events[:0])
	}
	if n := (size() - before) / conns; n > 256 {
		t.Errorf("%d bytes a connection", n)
	}
	if s := tr.Stats(); s.Open != conns {
		t.Errorf("%+v", s)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, conns := range []int{1000, 100_000, 4_000_000} {
		b.Run(fmt.Sprintf("data/conns=%d", conns), func(b *testing.B) {
			tr, f := New(&Config{MaxConns: conns, Without: AllKinds}), newFeeder()
			var events []Event
			for i := range conns {
				events = f.open(tr, i, events[:0])
			}
			// The packet is hot, as the one that Decode fills; the connections
			// come in an order that no cache foresees.
			order := make([]int, 1<<16)
			rnd := rand.New(rand.NewPCG(5, 6))
			for i := range order {
				order[i] = rnd.IntN(conns)
			}
			sent := make([]uint32, conns)
			b.ResetTimer()
			for i := range b.N {
				conn := order[i&(len(order)-1)]
				f.p.Time++
				if i&1 == 0 {
					events = tr.Observe(f.segment(conn, Client, decode.ACK, 1+sent[conn], 1, 100), events[:0])
					sent[conn] += 100
				} else {
					events = tr.Observe(f.segment(conn, Server, decode.ACK, 1, 1+sent[conn], 0), events[:0])
				}
			}
		})
	}
	for name, without := range map[string]Kinds{"whole": 0, "whole/untold": AllKinds} {
		b.Run(name, func(b *testing.B) {
			tr, f := New(&Config{TimeWait: time.Second, Without: without}), newFeeder()
			var events []Event
			b.ReportAllocs()
			for i := 0; i < b.N; i += 6 {
				f.p.Time = f.p.Time.Add(time.Millisecond)
				events = f.open(tr, i&0xffffff, events[:0])
				events = f.close(tr, i&0xffffff, events)
				for j := range events {
					if v := events[j].Verdict; v != nil {
						tr.Recycle(v)
					}
				}
			}
		})
	}
	b.Run("flood", func(b *testing.B) {
		tr, f := New(&Config{MaxConns: 100_000, Without: AllKinds}), newFeeder()
		var events []Event
		b.ReportAllocs()
		for i := range b.N {
			f.p.Time++
			events = tr.Observe(f.segment(i, Client, decode.SYN, uint32(i), 0, 0), events[:0])
			for j := range events {
				tr.Recycle(events[j].Verdict)
			}
		}
	})
}

// A verdict does not depend on when a connection was, nor on frames that are
// captured twice.
func TestVerdictIsInvariant(t *testing.T) {
	for _, s := range readStories(t) {
		_, want := play(t, s.config, s.lines)
		t.Run(s.name+"/shifted", func(t *testing.T) {
			for _, by := range []time.Duration{time.Nanosecond, 77 * time.Hour, -storyStart.Time().Sub(time.Unix(0, 0)) - 3*time.Second} {
				var lines []storyLine
				for _, l := range s.lines {
					l.time, l.packet.Time = l.time.Add(by), l.packet.Time.Add(by)
					lines = append(lines, l)
				}
				_, got := play(t, s.config, lines)
				sameVerdicts(t, want, got)
			}
		})
		t.Run(s.name+"/twice", func(t *testing.T) {
			var lines []storyLine
			for _, l := range s.lines {
				lines = append(lines, l)
				if !l.advance {
					lines = append(lines, l)
				}
			}
			_, got := play(t, s.config, lines)
			sameVerdicts(t, want, got)
			for i := range got {
				if got[i].Retransmits != want[i].Retransmits || got[i].SYNRetransmits != want[i].SYNRetransmits || got[i].HasRTT != want[i].HasRTT ||
					got[i].NumSteps != want[i].NumSteps || got[i].Gaps != want[i].Gaps {
					t.Errorf("#%d: copies count as something else: %+v, not %+v", got[i].ID, got[i], want[i])
				}
			}
		})
		if s.config.MaxConns != 0 {
			continue // a copy of an evicted connection's frame begins another
		}
		// Each frame a little later again, after the next one: two taps.
		t.Run(s.name+"/two-taps", func(t *testing.T) {
			var lines []storyLine
			for i, l := range s.lines {
				lines = append(lines, l)
				if i > 0 && !l.advance && !s.lines[i-1].advance && l.time.Sub(s.lines[i-1].time) < duplicateWithin {
					again := s.lines[i-1]
					again.time, again.packet.Time = l.time, l.packet.Time
					lines = append(lines, again)
				}
			}
			_, got := play(t, s.config, lines)
			sameVerdicts(t, want, got)
		})
	}
}

// Two neighbours of opposite directions may be captured in either order: two
// queues, two taps, one file. The verdict is that of what they say.
func TestNeighboursSwapped(t *testing.T) {
	tested := 0
	for _, s := range readStories(t) {
		_, want := play(t, s.config, s.lines)
		// What is retransmitted, reset or reused means another thing before what it follows.
		c := want[0]
		if len(want) > 1 || c.Proto != decode.ProtoTCP || c.Role != RoleSYN || c.Handshake != ThreeWay || !c.Complete || c.WasReset ||
			c.RST != [2]uint32{} || c.FIN != [2]uint32{1, 1} {
			continue
		}
		for i := 1; i < len(s.lines); i++ {
			a, b := s.lines[i-1], s.lines[i]
			if a.advance || b.advance || a.packet.Src == b.packet.Src {
				continue
			}
			tested++
			t.Run(fmt.Sprintf("%s/%d", s.name, i), func(t *testing.T) {
				lines := slices.Clone(s.lines)
				lines[i-1].packet, lines[i].packet = b.packet, a.packet
				lines[i-1].packet.Time, lines[i].packet.Time = a.time, b.time
				_, got := play(t, s.config, lines)
				sameVerdicts(t, want, got)
			})
		}
	}
	if tested < 50 {
		t.Errorf("only %d pairs of neighbours", tested)
	}
}

// A capture that begins late, or misses a direction, never says anything but
// what the whole one says, or that it does not know.
func TestCutCaptureClaimsNoMore(t *testing.T) {
	tested := 0
	for _, s := range readStories(t) {
		_, all := play(t, s.config, s.lines)
		whole := all[0]
		// A RST may be exact for who has not seen what it does not match, and
		// where each end has sent its FIN again, both may look like the first.
		if len(all) > 1 || whole.FIN[Client] > 1 && whole.FIN[Server] > 1 || whole.Proto != decode.ProtoTCP || !whole.Complete || whole.RST != [2]uint32{} {
			continue
		}
		check := func(name string, lines []storyLine, states bool) {
			tested++
			t.Run(s.name+"/"+name, func(t *testing.T) {
				_, conns := play(t, s.config, lines)
				for _, c := range conns {
					got, closer := c.States, c.Closer
					if c.Client != whole.Client { // another guess
						got[0], got[1] = got[1], got[0]
						if closer == ClosedByClient || closer == ClosedByServer {
							closer = ClosedByClient + ClosedByServer - closer
						}
					}
					if closer != whole.Closer && closer != ClosedUnknown && closer != NoCloser {
						t.Errorf("closed by %q, the whole says %q", closer, whole.Closer)
					}
					for side := range got {
						if states && got[side] != whole.States[side] && got[side] != Unknown {
							t.Errorf("%s in %s, the whole says %s", Side(side), got[side], whole.States[side])
						}
					}
				}
			})
		}
		for i := 1; i < len(s.lines); i++ {
			check(fmt.Sprintf("from %d", i), s.lines[i:], true)
		}
		for dir := range 2 {
			check(fmt.Sprintf("direction %d", dir), slices.DeleteFunc(slices.Clone(s.lines), func(l storyLine) bool {
				return !l.advance && (l.packet.Src == whole.Client) != (dir == 0)
			}), false)
		}
	}
	if tested < 100 {
		t.Errorf("only %d cuts", tested)
	}
}

// sameVerdicts compares what design section 5 calls the verdict, and who and how.
func sameVerdicts(t *testing.T, want, got []*Conn) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d accounts, want %d", len(got), len(want))
	}
	type verdict struct {
		client, server netip.AddrPort
		handshake      HandshakeKind
		teardown       TeardownKind
		closer         Closer
		complete       bool
		states         [2]State
		resetBy        Side
		resetAfter     TeardownKind
	}
	of := func(c *Conn) verdict {
		return verdict{c.Client.AddrPort(), c.Server.AddrPort(), c.Handshake, c.Teardown, c.Closer, c.Complete, c.States, c.ResetBy, c.ResetAfter}
	}
	for i := range want {
		if w, g := of(want[i]), of(got[i]); w != g {
			t.Errorf("#%d\n got %+v\nwant %+v", want[i].ID, g, w)
		}
	}
}

// Comparisons with the ISS end where numbers have gone around: a connection of
// more than 4 GiB each way has the account of a short one.
func TestSequenceNumbersGoAround(t *testing.T) {
	tr, f := New(nil), newFeeder()
	events := f.open(tr, 1, nil)
	check := newChecker(t)
	check.events(events, tr)
	const piece = 1 << 20
	seq := uint32(1)
	for range 5000 {
		events = tr.Observe(f.segment(1, Client, decode.ACK, seq, seq, piece), events[:0])
		events = tr.Observe(f.segment(1, Server, decode.ACK, seq, seq+piece, piece), events)
		seq += piece
		if check.events(events, tr); len(events) != 0 {
			t.Fatalf("after %d MiB: %s", seq/piece, describe(&events[0]))
		}
	}
	events = tr.Observe(f.segment(1, Server, decode.FIN|decode.ACK, seq, seq, 0), events[:0])
	events = tr.Observe(f.segment(1, Client, decode.ACK, seq, seq+1, 0), events)
	events = tr.Observe(f.segment(1, Client, decode.FIN|decode.ACK, seq, seq+1, 0), events)
	events = tr.Observe(f.segment(1, Server, decode.ACK, seq+1, seq+1, 0), events)
	check.events(events, tr)
	c := check.end(tr)[0]
	if c.Handshake != ThreeWay || c.Teardown != FourStep || c.Closer != ClosedByServer || c.States != [2]State{Closed, TimeWait} ||
		c.Retransmits != [2]uint32{} || c.Gaps != [2]uint32{} || c.Bytes != [2]uint64{5000 * piece, 5000 * piece} {
		t.Errorf("%+v", c)
	}
}

// SEG.LEN counts SYN and FIN.
func TestEventSeqLen(t *testing.T) {
	for _, tt := range []struct {
		flags decode.Flags
		n     int
		want  uint32
	}{{decode.ACK, 0, 0}, {decode.SYN, 0, 1}, {decode.FIN | decode.ACK, 3, 4}, {decode.RST, 2, 2}} {
		if got := (&Event{Flags: tt.flags, Len: tt.n}).SeqLen(); got != tt.want {
			t.Errorf("%v with %d bytes: %d, want %d", tt.flags, tt.n, got, tt.want)
		}
	}
}
