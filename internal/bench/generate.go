package bench

import "io"

// generator writes one capture.
type generator struct {
	spec       Spec
	out        file
	truth      Truth
	random     uint64
	payload    [maxMSS + 1]byte
	payloadSum [maxMSS + 1]uint32 // of the payload's first n bytes
	conns      []conn
	queue      queue
	life       int // ns between an answer and the close, on average
}

func newGenerator(w io.Writer, spec Spec) *generator {
	g := &generator{
		spec:   spec,
		out:    file{w: w, buf: make([]byte, 0, bufSize), micros: spec.Micros},
		random: spec.Seed,
	}
	g.makePayload()
	g.out.header()
	return g
}

// short lets connections begin at a steady rate. Which plan each follows is
// drawn by the weights.
func (g *generator) short() {
	all := plans()
	var drawn [weights]*plan
	at := 0
	for i := range all {
		for range all[i].weight {
			drawn[at] = &all[i]
			at++
		}
	}
	// Arrivals that are open at a time: the pause is what is left of a life.
	g.life = g.spec.Concurrency * (second / rate)
	begins := int64(epoch)
	for n := 0; n < g.spec.Conns; {
		if at, ok := g.queue.due(); ok && at <= begins {
			g.next()
			continue
		}
		g.start(n, drawn[g.upTo(weights)], begins)
		n++
		begins += int64(g.upTo(2 * second / rate))
	}
	g.drain()
}

// start begins connection number n with its first packet.
func (g *generator) start(n int, p *plan, now int64) {
	i := g.slot()
	g.begin(&g.conns[i], n, p)
	g.queue.push(event{at: now, conn: i})
}

// slot returns the index of a conn that is not in use.
func (g *generator) slot() int32 {
	if n := len(g.queue.free); n > 0 {
		i := g.queue.free[n-1]
		g.queue.free = g.queue.free[:n-1]
		return i
	}
	g.conns = append(g.conns, conn{})
	return int32(len(g.conns) - 1)
}

// next sends the packet that is due first.
func (g *generator) next() {
	e := g.queue.pop()
	c := &g.conns[e.conn]
	g.send(c, &c.plan.steps[c.step], e.at)
	if !g.advance(c) {
		g.queue.free = append(g.queue.free, e.conn)
		return
	}
	g.queue.push(event{at: e.at + g.wait(c), conn: e.conn})
}

func (g *generator) drain() {
	for {
		if _, ok := g.queue.due(); !ok {
			return
		}
		g.next()
	}
}

// advance moves a connection to its next step, if it has one.
func (g *generator) advance(c *conn) bool {
	if c.plan.steps[c.step].repeat {
		if c.again++; int(c.again) < g.spec.Segments/2 {
			c.step -= 2
			return true
		}
	}
	c.step++
	return int(c.step) < len(c.plan.steps)
}

// wait returns how long it takes until a connection's step.
func (g *generator) wait(c *conn) int64 {
	some := int64(5*microsecond + g.upTo(50*microsecond))
	switch c.plan.steps[c.step].wait {
	case trip:
		return int64(c.rtt) + some
	case pause:
		return int64(g.life/2+g.upTo(g.life+1)) + some
	case later:
		return int64(g.upTo(g.life/4+1)) + some
	case resend:
		return 200*millisecond + some
	case resend1:
		return second + some
	case resend2:
		return 2*second + some
	default:
		return some
	}
}

// bulk lets all connections begin within a second.
func (g *generator) bulk() {
	p := bulkPlan()
	for n := range g.spec.Conns {
		g.start(n, p, epoch+int64(g.upTo(second)))
	}
	g.drain()
}

// open sends the next packet of a connection chosen at random, until none has
// any left. What takes turns is at most Concurrency connections.
func (g *generator) open() {
	now := int64(epoch)
	g.conns = make([]conn, min(g.spec.Concurrency, g.spec.Conns))
	left := make([]int32, len(g.conns))
	for n := 0; n < g.spec.Conns; n += len(left) {
		left = left[:min(len(left), g.spec.Conns-n)]
		p := openPlan()
		if n+len(left) < g.spec.Conns {
			p = resetPlan()
		}
		for i := range left {
			left[i] = int32(i)
			g.begin(&g.conns[i], n+i, p)
		}
		g.shuffle(left, &now)
		left = left[:cap(left)]
	}
}

func (g *generator) shuffle(left []int32, now *int64) {
	step := 60 * second / (len(left) * len(g.conns[0].plan.steps))
	for len(left) > 0 {
		i := g.upTo(len(left))
		c := &g.conns[left[i]]
		*now += int64(1 + g.upTo(2*step))
		g.send(c, &c.plan.steps[c.step], *now)
		if !g.advance(c) {
			left[i] = left[len(left)-1]
			left = left[:len(left)-1]
		}
	}
}

// flood lets the guests begin in its first second; they close after its end.
func (g *generator) flood() {
	silent, answered, guest := floodPlans()
	const apart = 4 * microsecond // 250,000 SYNs a second
	g.life = g.spec.Conns*apart*2 + 2*second
	for n := range g.spec.Concurrency {
		g.start(n, guest, epoch+int64(g.upTo(second)))
	}
	begins := int64(epoch + second)
	for n := 0; n < g.spec.Conns; {
		if at, ok := g.queue.due(); ok && at <= begins {
			g.next()
			continue
		}
		p := silent
		if g.upTo(4) == 0 {
			p = answered
		}
		g.start(g.spec.Concurrency+n, p, begins)
		n++
		begins += apart
	}
	g.drain()
}

// event is when a connection's next packet is due.
type event struct {
	at   int64
	conn int32
}

// queue holds events, the first one at its root: a binary heap.
type queue struct {
	heap []event
	free []int32 // conns that are over
}

func (q *queue) due() (at int64, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

// before orders events; of one time, by connection, so that there is one order.
func (e event) before(o event) bool {
	return e.at < o.at || e.at == o.at && e.conn < o.conn
}

func (q *queue) push(e event) {
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(q.heap[up]) {
			break
		}
		q.heap[i] = q.heap[up]
		i = up
	}
	q.heap[i] = e
}

func (q *queue) pop() event {
	first := q.heap[0]
	n := len(q.heap) - 1
	e := q.heap[n]
	q.heap = q.heap[:n]
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && q.heap[down+1].before(q.heap[down]) {
			down++
		}
		if !q.heap[down].before(e) {
			break
		}
		q.heap[i] = q.heap[down]
		i = down
	}
	if n > 0 {
		q.heap[i] = e
	}
	return first
}
