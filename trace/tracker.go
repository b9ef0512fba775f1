package trace

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"finack/decode"
)

// DefaultMaxConns is Config.MaxConns where that is not set.
const DefaultMaxConns = 1 << 20

// Config sets up a Tracker; nil and zero values mean the defaults.
type Config struct {
	// MaxConns bounds the connections and flows that are kept, and with them
	// the memory: at most about 256 bytes for an open connection, 500 more
	// for one that is closing, and 330 for one in which segments were lost or
	// came twice. Default DefaultMaxConns.
	MaxConns int
	// TimeWait is 2MSL, how long TIME_WAIT lasts. Default 60 s, what Linux
	// has built in (tcp(7): tcp_fin_timeout does not change it).
	TimeWait time.Duration
	// UDPTimeout is the silence that ends a UDP or ICMP echo flow. Default 60 s.
	UDPTimeout time.Duration
	Without    Kinds
	// All makes every segment and datagram an event, not just those that
	// open, close or go wrong.
	All bool

	broken *broken // nil but in tests
}

// Stats counts what a tracker had to do beside its work.
type Stats struct {
	Conns      uint64 // TCP connections seen
	Flows      uint64 // UDP and ICMP echo flows seen
	Open       int    // connections and flows kept now
	Evicted    uint64 // let go before their time because of MaxConns
	ClockSteps uint64 // packets stamped earlier than the one before
	Untracked  uint64 // packets that belong to no connection or flow: ARP, later fragments, other protocols
}

// duplicateWithin is how soon the same segment again is a copy of the same
// frame: retransmission timers are longer.
const duplicateWithin = 5 * time.Millisecond

// tick is the unit of end.when.
const tick = 100 * time.Microsecond

// Tracker follows connections. It is for one goroutine.
type Tracker struct {
	cfg     Config
	table   // embedded: the records
	closing slab[closing]
	trouble slab[trouble]
	lists   [numLists]list
	now     decode.Timestamp // never steps back; timers use it
	stamp   decode.Timestamp // of the last packet
	lastID  uint64
	stats   Stats
	out     []Event // being filled by Observe or Advance
	spare   []Conn  // verdicts to hand out
	given   []*Conn // verdicts that came back
	data    bool    // segments in order take the shortcut
	whole   bool    // openings and closings, too
	ahead   ahead
	wake    decode.Timestamp // no timer is due before
}

// New returns a Tracker.
func New(cfg *Config) *Tracker {
	t := &Tracker{}
	if cfg != nil {
		t.cfg = *cfg
	}
	if t.cfg.MaxConns <= 0 {
		t.cfg.MaxConns = DefaultMaxConns
	}
	if t.cfg.TimeWait <= 0 {
		t.cfg.TimeWait = 60 * time.Second
	}
	if t.cfg.UDPTimeout <= 0 {
		t.cfg.UDPTimeout = 60 * time.Second
	}
	t.data, t.whole = t.shortcuts()
	t.seed = [2]uint64{rand.Uint64(), rand.Uint64()}
	t.wake = math.MaxInt64
	t.now, t.stamp = math.MinInt64, math.MinInt64 // stamps before 1970 are stamps
	return t
}

// Stats returns totals since New.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Open = t.n
	return s
}

// Observe takes one packet and appends what it proves to dst. Timers that were
// due at the packet's time come first. The packet is not kept.
func (t *Tracker) Observe(p *decode.Packet, dst []Event) []Event {
	t.out = dst
	if p.Time < t.stamp {
		t.stats.ClockSteps++
	}
	t.stamp = p.Time
	t.now = max(t.now, p.Time)
	t.expire()
	switch {
	case p.Proto == decode.ProtoTCP:
		t.segment(p, false)
	case p.Proto == decode.ProtoUDP:
		t.datagram(p)
	case p.Proto == decode.ProtoICMP || p.Proto == decode.ProtoICMPv6:
		t.icmp(p)
	default:
		t.stats.Untracked++
	}
	dst, t.out = t.out, nil
	return dst
}

// Advance tells the tracker that it is now at least that late, and appends the
// timers that are due. A time before the last one changes nothing.
func (t *Tracker) Advance(now decode.Timestamp, dst []Event) []Event {
	t.out = dst
	t.now = max(t.now, now)
	t.expire()
	dst, t.out = t.out, nil
	return dst
}

// Next returns when the next timer is due; ok is false when there is none.
func (t *Tracker) Next() (due decode.Timestamp, ok bool) {
	if i := t.lists[listFinished].head; i != 0 {
		due, ok = t.closing.at(t.at(i-1).closing-1).due, true
	}
	if i := t.lists[listFlow].head; i != 0 {
		if d := t.at(i - 1).flowDue(t.cfg.UDPTimeout); !ok || d < due {
			due, ok = d, true
		}
	}
	return due, ok
}

// flowDue is when silence ends a flow. For flows, opened is the last
// datagram's time by the tracker's clock.
func (r *record) flowDue(timeout time.Duration) decode.Timestamp {
	return decode.Timestamp(r.opened).Add(timeout)
}

// expire fires the timers that are due.
func (t *Tracker) expire() {
	if t.now < t.wake {
		return
	}
	t.fire()
	t.wake = math.MaxInt64
	if due, ok := t.Next(); ok {
		t.wake = due
	}
}

// fire fires them.
func (t *Tracker) fire() {
	for i := t.lists[listFinished].head; i != 0; i = t.lists[listFinished].head {
		c := t.at(i - 1)
		due := t.closing.at(c.closing - 1).due
		if due > t.now {
			break
		}
		v := t.verdict(c)
		for s := Client; s <= Server; s++ {
			if c.ends[s].state == TimeWait {
				t.change(c, s, Closed, due, false, true)
			}
		}
		t.release(c, i-1, due, v, true)
	}
	for i := t.lists[listFlow].head; i != 0; i = t.lists[listFlow].head {
		c := t.at(i - 1)
		due := c.flowDue(t.cfg.UDPTimeout)
		if due > t.now {
			break
		}
		t.release(c, i-1, due, t.verdict(c), true)
	}
}

// release lets a connection go and gives its account.
func (t *Tracker) release(c *record, idx uint32, at decode.Timestamp, v *Conn, timer bool) {
	e := t.event(c, ConnReleased, at, Client)
	e.Verdict, e.Timer = v, timer
	t.out = append(t.out, e)
	if c.closing != 0 {
		t.closing.release(c.closing - 1)
	}
	if c.trouble != 0 {
		t.trouble.release(c.trouble - 1)
	}
	t.unlink(c)
	t.remove(idx, t.hash(&c.key))
}

// evict makes room: the oldest finished connection, else the oldest that never
// opened, else the quietest flow, else the oldest of all.
func (t *Tracker) evict() {
	for _, id := range [...]listID{listFinished, listHalfOpen, listFlow, listOpen} {
		if i := t.lists[id].head; i != 0 {
			c := t.at(i - 1)
			v := t.verdict(c)
			v.Evicted = true
			t.stats.Evicted++
			t.release(c, i-1, t.now, v, false)
			return
		}
	}
}

// Conns yields the account of every connection and flow that is still kept, in
// order of appearance. The tracker must not be used meanwhile.
func (t *Tracker) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		idx := make([]uint32, 0, t.n)
		for _, s := range t.slots {
			if s != 0 {
				idx = append(idx, uint32(s)-1)
			}
		}
		slices.SortFunc(idx, func(a, b uint32) int {
			if t.at(a).id < t.at(b).id {
				return -1
			}
			return 1
		})
		for _, i := range idx {
			if !yield(t.verdict(t.at(i))) {
				return
			}
		}
	}
}

// open adds a record for a packet's 4-tuple, its sender the client. If there is
// no room, the policy of evict makes some.
func (t *Tracker) open(k *key, h uint32, srcHi bool, list listID, p *decode.Packet) (*record, uint32) {
	if t.n >= t.cfg.MaxConns {
		t.evict()
	}
	c, idx := t.insert(k, h)
	t.lastID++
	c.id, c.start, c.clientHi = t.lastID, p.Time, srcHi
	t.push(list, c, idx)
	return c, idx
}

// count adds a packet to its sender's totals.
func (c *record) count(s Side, p *decode.Packet) {
	e := &c.ends[s]
	e.packets++
	e.bytes += uint64(p.Len)
	c.last = p.Time
}

// endpoint returns one of the two endpoints of a connection.
func (c *record) endpoint(hi bool) decode.Endpoint {
	if hi {
		return decode.Endpoint{Addr: c.hi, Port: c.hiPort, V6: c.v6}
	}
	return decode.Endpoint{Addr: c.lo, Port: c.loPort, V6: c.v6}
}

// side returns which side sent a packet whose source is, or is not, the higher endpoint.
func (c *record) side(srcHi bool) Side {
	if srcHi == c.clientHi {
		return Client
	}
	return Server
}

// event returns an event of a connection.
func (t *Tracker) event(c *record, k Kind, at decode.Timestamp, from Side) Event {
	return Event{
		Kind: k, Proto: c.proto, Time: at, Conn: c.id, From: from, Start: c.start,
		Client: c.endpoint(c.clientHi), Server: c.endpoint(!c.clientHi),
		States: [2]State{c.ends[Client].state, c.ends[Server].state},
	}
}

// closingOf returns what a closing connection needs beside its record.
func (t *Tracker) closingOf(c *record) *closing {
	if c.closing == 0 {
		i := t.closing.alloc()
		*t.closing.at(i) = closing{idle: -1}
		c.closing = i + 1
	}
	return t.closing.at(c.closing - 1)
}

// troubleOf returns what a connection needs beside its record in which
// something is not as it should be.
func (t *Tracker) troubleOf(c *record) *trouble {
	if c.trouble == 0 {
		i := t.trouble.alloc()
		*t.trouble.at(i) = trouble{}
		c.trouble = i + 1
	}
	return t.trouble.at(c.trouble - 1)
}
