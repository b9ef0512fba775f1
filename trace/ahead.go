package trace

import "finack/decode"

// Lookahead is how many packets Expect takes at once.
const Lookahead = 16

// ahead are segments that Observe was told to expect.
type ahead struct {
	list    [Lookahead]lookup
	next, n int
	touched uint64 // keeps the compiler from leaving the loads out
}

// lookup is where a segment's record is looked for.
type lookup struct {
	p     *decode.Packet // nil: nothing is known
	key   key
	hash  uint32
	srcHi bool
}

func (l *lookup) of(t *Tracker, p *decode.Packet) {
	l.srcHi = makeKey(&l.key, &p.Src, &p.Dst, p.Proto)
	l.hash = t.hash(&l.key)
}

// Expect tells which packets Observe will be given next, in their order, at
// most Lookahead of them. It changes nothing but the time that they take: the
// table and the records that they need come from memory all at once, not one
// after the other. The packets must not change before they are observed.
func (t *Tracker) Expect(packets []*decode.Packet) {
	a := &t.ahead
	a.next, a.n = 0, min(len(packets), Lookahead)
	for i, p := range packets[:a.n] {
		l := &a.list[i]
		if l.p = nil; p.Proto == decode.ProtoTCP {
			l.of(t, p)
			l.p = p
		}
	}
	if len(t.slots) == 0 {
		return
	}
	// Loads that do not wait for each other.
	var slots [Lookahead]uint64
	mask := uint32(len(t.slots) - 1)
	for i := range slots {
		slots[i] = t.slots[a.list[i].hash&mask]
	}
	for i, s := range slots[:a.n] {
		if s != 0 && uint32(s>>32) == a.list[i].hash {
			c := t.at(uint32(s) - 1)
			a.touched += uint64(c.loPort) + uint64(c.last) + uint64(c.stage) + uint64(c.ends[Client].nxt) + uint64(c.ends[Server].state)
		}
	}
}

// expected returns the lookup of p if it is what Expect has announced as the next.
func (a *ahead) expected(p *decode.Packet) *lookup {
	for a.next < a.n {
		l := &a.list[a.next]
		if a.next++; l.p == p {
			return l
		}
	}
	return nil
}
