package echo

import (
	"context"
	"sync"
	"time"

	"finack/trace"
)

// LoadConfig configures Load.
type LoadConfig struct {
	Conns   int           // connections, or datagram sockets, at once; 0: one
	Count   int           // messages in all, shared out evenly: at least one each; 0: one each
	Size    int           // bytes in a message; 0: 64
	Timeout time.Duration // of connecting and of each answer; 0: 5 s
}

// LoadResult sums up what Load did.
type LoadResult struct {
	Sent, Received, Lost, Late, Duplicates, Wrong int // as Result has them
	RTT                                           trace.Distribution
	Elapsed                                       time.Duration // from the first message to the last answer
}

// warmup messages of each connection find caches, routes and windows as the
// others will; they are not counted.
const warmup = 5

// Load has conversations with the server at ep, all at once: each sends its
// next message after the answer to the one before (a closed loop: the slower
// the server, the less it is asked). All begin together, once everybody is
// connected. An error is the first conversation's that broke; the result then
// holds what was done before.
func Load(ctx context.Context, ep Endpoint, cfg *LoadConfig) (LoadResult, error) {
	conns := max(1, cfg.Conns)
	count := max(conns, cfg.Count)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		workers = make([]worker, conns)
		start   = gate{left: conns, open: make(chan struct{})}
		wg      sync.WaitGroup
	)
	for i := range workers {
		n := count / conns
		if i < count%conns {
			n++
		}
		wg.Go(func() {
			w := &workers[i]
			if err := w.run(ctx, ep, cfg, n, &start); err != nil {
				cancel(err) // nobody waits for this one
			}
		})
	}
	wg.Wait()
	var res LoadResult
	for i := range workers {
		w := &workers[i]
		res.Sent += w.res.Sent
		res.Received += w.res.Received
		res.Lost += w.res.Lost
		res.Late += w.res.Late
		res.Duplicates += w.res.Duplicates
		res.Wrong += w.res.Wrong
		for _, d := range w.times {
			res.RTT.Add(d)
		}
		res.Elapsed = max(res.Elapsed, w.last.Sub(start.at))
	}
	return res, context.Cause(ctx)
}

// worker is one conversation of a load.
type worker struct {
	res   Result
	times []time.Duration
	last  time.Time // when its last message was done
}

func (w *worker) run(ctx context.Context, ep Endpoint, cfg *LoadConfig, n int, start *gate) error {
	c, err := newClient(ep, &ClientConfig{Count: n, Size: cfg.Size, Timeout: cfg.Timeout})
	if err != nil {
		return err
	}
	w.times = make([]time.Duration, 0, min(n, 1<<16))
	c.warmup = warmup
	c.begin = func() error {
		c.res = Result{}
		c.latency = func(d time.Duration) { w.times = append(w.times, d) }
		c.report = func(Reply) { w.last = time.Now() }
		return start.pass(ctx)
	}
	err = c.send(ctx)
	if c.report != nil { // it has begun
		w.res = c.res
	}
	return err
}

// gate opens when so many wait at it.
type gate struct {
	mu   sync.Mutex
	left int
	at   time.Time // when it opened
	open chan struct{}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	if g.left--; g.left == 0 {
		g.at = time.Now()
		close(g.open)
	}
	g.mu.Unlock()
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OneShots has count conversations of one message each, one after the other,
// and returns what each took as a whole: to connect, to have the message
// answered and to end. A datagram socket is opened, used and closed. Those
// whose datagram was not answered are only counted.
func OneShots(ctx context.Context, ep Endpoint, count int, cfg *ClientConfig) (d trace.Distribution, lost int, err error) {
	for range count {
		c, err := newClient(ep, cfg)
		if err != nil {
			return d, lost, err
		}
		begin := time.Now()
		if err := c.send(ctx); err != nil {
			return d, lost, err
		}
		if c.res.Received == 0 {
			lost++
			continue
		}
		d.Add(time.Since(begin))
	}
	return d, lost, nil
}
