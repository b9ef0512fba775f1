package pipeline

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"sync/atomic"

	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

const (
	// batchSize is the number of packets that are handed over at once: enough
	// to make that cheap, few enough to stay in a core's cache.
	batchSize = 512
	// ahead is how many batches may be on their way.
	ahead = 6
)

// errStopped ends the reading when the merger has an error, which is the run's.
var errStopped = errors.New("stopped")

// shards are trackers on goroutines of their own, above the ordinary chain: the
// run's goroutine reads and decodes, each shard observes the packets of its
// connections, and a merger puts what they tell in the order in which one
// tracker would have told it, and renders it. Where only the summary is wanted,
// there is no merger: each shard adds up its own.
type shards struct {
	cfg   *Config
	list  []*shard
	free  chan *batch
	order chan *batch // to the merger
	fill  *batch      // the reader's

	stamp  decode.Timestamp // of the last packet
	steps  uint64           // packets stamped earlier than the one before
	failed atomic.Bool      // the merger has an error

	merger
	done chan struct{} // closed when the merger has ended
}

// batch is a stretch of the capture. The reader fills it, all shards read it,
// and the merger, or the last shard, gives it back.
type batch struct {
	n       int
	readers atomic.Int32 // shards that have not read it, where there is no merger
	flush   bool         // the source has nothing more at hand
	owner   [batchSize]uint8
	packets [batchSize]decode.Packet // without Payload
}

// newShards starts n trackers and the merger; finish ends them.
func newShards(cfg *Config, n int) *shards {
	n = min(n, math.MaxUint8)
	s := &shards{
		cfg: cfg, free: make(chan *batch, ahead), order: make(chan *batch, ahead),
		stamp: math.MinInt64, done: make(chan struct{}),
	}
	for range ahead {
		s.free <- new(batch)
	}
	tracker := cfg.trackerConfig()
	if tracker.MaxConns <= 0 {
		tracker.MaxConns = trace.DefaultMaxConns
	}
	tracker.MaxConns = (tracker.MaxConns + n - 1) / n
	for i := range n {
		s.list = append(s.list, newShard(uint8(i), cfg, tracker, s.free))
	}
	s.merger = newMerger(cfg, s.list)
	for _, sh := range s.list {
		go sh.work()
	}
	if cfg.shown() {
		go s.mergeAll()
	} else {
		close(s.done)
	}
	s.fill = <-s.free
	return s
}

// next returns where the next packet goes.
func (s *shards) next() *decode.Packet { return &s.fill.packets[s.fill.n] }

// take hands over what was put there.
func (s *shards) take(p *decode.Packet) error {
	if p.Time < s.stamp {
		s.steps++
	}
	s.stamp = p.Time
	p.Payload = nil // it is the frame's
	b := s.fill
	b.owner[b.n] = uint8(spread(p) % uint32(len(s.list)))
	if b.n++; b.n < batchSize {
		return nil
	}
	return s.send(false)
}

// send hands the batch over, full or not.
func (s *shards) send(flush bool) error {
	if s.failed.Load() {
		return errStopped
	}
	b := s.fill
	b.flush = flush
	b.readers.Store(int32(len(s.list)))
	for _, sh := range s.list {
		sh.in <- b
	}
	if s.cfg.shown() {
		s.order <- b
	}
	s.fill = <-s.free
	s.fill.n = 0
	return nil
}

// finish waits for all shards and adds up what they counted.
func (s *shards) finish(t *render.Totals) error {
	if s.fill.n > 0 {
		_ = s.send(false)
	}
	for _, sh := range s.list {
		close(sh.in)
	}
	close(s.order)
	<-s.done
	for _, sh := range s.list {
		<-sh.done
	}
	t.Summary = s.sink.summary
	for _, sh := range s.list {
		t.Summary.Merge(&sh.sink.summary)
		st := sh.tracker.Stats()
		t.Tracker.Conns += st.Conns
		t.Tracker.Flows += st.Flows
		t.Tracker.Open += st.Open
		t.Tracker.Evicted += st.Evicted
		t.Tracker.Untracked += st.Untracked
	}
	t.Tracker.ClockSteps = s.steps
	return s.err
}

// mergeAll is the merger's goroutine.
func (s *shards) mergeAll() {
	defer close(s.done)
	for b := range s.order {
		s.merge(b.flush)
		if s.err != nil {
			s.failed.Store(true)
		}
		s.free <- b
	}
	s.rest()
}

// spread returns a number that the packets of a connection or flow share, in
// both directions, and those ICMP errors that quote one of them.
func spread(p *decode.Packet) uint32 {
	src, dst := &p.Src, &p.Dst
	if (p.Proto == decode.ProtoICMP || p.Proto == decode.ProtoICMPv6) && p.ICMP.QuotedProto != decode.ProtoNone {
		src, dst = &p.ICMP.QuotedSrc, &p.ICMP.QuotedDst
	}
	return spreadEnd(src) + spreadEnd(dst) // the sum is the same both ways
}

// spreadEnd mixes an address and a port.
func spreadEnd(e *decode.Endpoint) uint32 {
	le := binary.LittleEndian
	a := le.Uint64(e.Addr[:8]) ^ bits.RotateLeft64(le.Uint64(e.Addr[8:]), 32) ^ uint64(e.Port)<<40
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return uint32((hi ^ lo) >> 16)
}

// shard is one tracker and what goes to and comes from it.
type shard struct {
	number  uint8
	cfg     *Config
	tracker *trace.Tracker
	in      chan *batch
	free    chan *batch // where batches go back to
	done    chan struct{}
	out     chan *told
	spare   chan *told
	list    []*decode.Packet // its packets of the batch
	now     decode.Timestamp // of the whole capture; never steps back
	opened  uint64           // connections and flows so far
	sink    sink             // where only the summary is wanted, each shard adds up its own
}

// told is what a shard has to tell of a batch.
type told struct {
	groups []group
	opened []int32 // by which packet each new connection or flow began
	events []trace.Event
}

// group is what a packet caused: events[from:to]. The timers due at its time
// are a group of their own, before it.
type group struct {
	packet   int32
	timers   bool
	from, to int32
}

func newShard(number uint8, cfg *Config, tracker *trace.Config, free chan *batch) *shard {
	sh := &shard{
		number: number, cfg: cfg, tracker: trace.New(tracker), now: math.MinInt64,
		in: make(chan *batch, ahead), free: free, done: make(chan struct{}),
		out: make(chan *told, ahead), spare: make(chan *told, ahead),
		sink: sink{Config: cfg},
	}
	for range ahead {
		sh.spare <- new(told)
	}
	return sh
}

// work is a shard's goroutine.
func (sh *shard) work() {
	defer close(sh.done)
	if !sh.cfg.shown() {
		sh.addUp()
		return
	}
	defer close(sh.out)
	for b := range sh.in {
		t := sh.begin()
		sh.observe(b, t)
		sh.out <- t
	}
	t := sh.begin()
	for c := range sh.tracker.Conns() {
		t.events = append(t.events, trace.Event{Kind: trace.ConnReleased, Conn: c.ID, Verdict: c})
		if len(t.events) == batchSize {
			sh.out <- t
			t = sh.begin()
		}
	}
	sh.out <- t
}

// addUp is work where only the summary is wanted.
func (sh *shard) addUp() {
	var t told
	for b := range sh.in {
		sh.observe(b, &t)
		if b.readers.Add(-1) == 0 {
			sh.free <- b
		}
	}
	for c := range sh.tracker.Conns() {
		t.events = append(t.events, trace.Event{Kind: trace.ConnReleased, Conn: c.ID, Verdict: c})
		sh.count(&t, 0)
	}
}

// begin returns a told to be filled. Its last accounts go back to the tracker.
func (sh *shard) begin() *told {
	t := <-sh.spare
	recycle(t.events, sh.tracker)
	t.groups, t.opened, t.events = t.groups[:0], t.opened[:0], t.events[:0]
	return t
}

// observe takes the shard's packets of a batch, and all packets' times: timers
// fire at the packet at which a lone tracker's would.
func (sh *shard) observe(b *batch, t *told) {
	due, armed := sh.tracker.Next()
	list := sh.list[:0]
	for i := range b.packets[:b.n] {
		if b.owner[i] == sh.number {
			list = append(list, &b.packets[i])
		}
	}
	sh.list = list
	for i := range b.packets[:b.n] {
		p := &b.packets[i]
		sh.now = max(sh.now, p.Time)
		own := b.owner[i] == sh.number
		if armed && due <= sh.now || own && p.Time < sh.now {
			from := len(t.events)
			t.events = sh.tracker.Advance(sh.now, t.events)
			sh.add(t, group{int32(i), true, int32(from), int32(len(t.events))})
			due, armed = sh.tracker.Next()
		}
		if !own {
			continue
		}
		if (len(sh.list)-len(list))%trace.Lookahead == 0 {
			sh.tracker.Expect(list)
		}
		list = list[1:]
		from := len(t.events)
		t.events = sh.tracker.Observe(p, t.events)
		sh.add(t, group{int32(i), false, int32(from), int32(len(t.events))})
		if sh.cfg.shown() {
			for st := sh.tracker.Stats(); sh.opened < st.Conns+st.Flows; sh.opened++ {
				t.opened = append(t.opened, int32(i))
			}
		}
		due, armed = sh.tracker.Next()
	}
}

// add notes what a packet caused.
func (sh *shard) add(t *told, g group) {
	switch {
	case g.from == g.to:
	case sh.cfg.shown():
		t.groups = append(t.groups, g)
	default:
		sh.count(t, int(g.from))
	}
}

// count adds up, where only the summary is wanted.
func (sh *shard) count(t *told, from int) {
	_ = sh.sink.emit(t.events[from:], sh.tracker) // nothing is written
	t.events = t.events[:from]
}
