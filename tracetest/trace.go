package tracetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/pipeline"
	"finack/internal/render"
	"finack/trace"
)

// Config says what a trace captures; nil and zero values mean the defaults.
type Config struct {
	// Interface is the interface's name; "any": all. Default "lo".
	Interface string
	// Filter is an expression in tcpdump's language, pcap-filter(7). Parallel
	// tests that send much are best kept out of each other's traces: "port 8080".
	Filter string
	// Patience is how long a method waits for what is not on the wire yet, at
	// most; and never past the test's own deadline. Default 10 s.
	Patience time.Duration
	// Snaplen is how many bytes of a frame are kept, at most. Default 2048: all
	// of a frame on Ethernet, and the headers of one of 64 KiB on lo.
	Snaplen int
}

const (
	defaultPatience = 10 * time.Second
	defaultSnaplen  = 2048
	ringSize        = 16 << 20
)

// Trace is a capture in progress, and what it has seen since it began. Its
// methods may be called from several goroutines, but with the t of the one that
// runs the test.
type Trace struct {
	cfg    Config
	marker *marker
	cancel context.CancelFunc
	done   chan struct{} // closed when the capture has ended; totals and err hold then
	totals render.Totals
	err    error

	mu      sync.Mutex
	changed chan struct{}     // closed and made anew when anything below changes
	marks   uint64            // read from the wire so far
	frames  []decode.Frame    // every one, in order
	conns   map[uint64]*story // by number
	order   []uint64          // their numbers, in order of appearance
	path    string            // of the capture file, once it was written
}

// story is what was seen of one connection or flow.
type story struct {
	events []trace.Event
	frames []int // in Trace.frames
	over   bool
}

// Start captures the loopback interface until the test ends. Frames that the
// capture loses fail the test. Where there is no private network and capturing
// is not permitted, it skips the test and says why.
func Start(t testing.TB) *Trace {
	t.Helper()
	return StartOn(t, nil)
}

// StartOn is Start with a choice of what is captured; cfg may be nil.
func StartOn(t testing.TB, cfg *Config) *Trace {
	t.Helper()
	tr := &Trace{done: make(chan struct{}), changed: make(chan struct{}), conns: map[uint64]*story{}}
	if cfg != nil {
		tr.cfg = *cfg
	}
	tr.cfg.defaults()
	tr.marker = openMarker(tr.cfg.Interface)
	opened := false
	defer func() { // openLive ends the test where it fails
		if !opened {
			tr.marker.close()
		}
	}()
	live := openLive(t, &capture.LiveConfig{
		Interface: tr.cfg.Interface, Filter: tr.marker.filter(tr.cfg.Filter),
		Snaplen: tr.cfg.Snaplen, Buffer: ringSize,
	})
	opened = true
	var ctx context.Context
	ctx, tr.cancel = context.WithCancel(context.Background())
	go tr.run(ctx, live)
	t.Cleanup(func() {
		t.Helper()
		tr.stop(t)
	})
	return tr
}

func (c *Config) defaults() {
	if c.Interface == "" {
		c.Interface = "lo"
	}
	if c.Patience <= 0 {
		c.Patience = defaultPatience
	}
	if c.Snaplen <= 0 {
		c.Snaplen = defaultSnaplen
	}
}

// run takes every frame along the whole way, until stop.
func (tr *Trace) run(ctx context.Context, live *capture.Live) {
	defer close(tr.done)
	tap := &tap{Live: live, marker: tr.marker, read: tr.marked}
	tr.totals, tr.err = pipeline.Run(ctx, pipeline.Config{
		Source: tap, Live: true, AllIfs: tr.cfg.Interface == "any",
		Tracker: &trace.Config{All: true},
		Events:  func(events []trace.Event) { tr.add(&tap.frame, events) },
	})
	var closing sync.WaitGroup
	closing.Go(tr.marker.close) // the kernel takes its time over either
	if err := live.Close(); tr.err == nil {
		tr.err = err
	}
	closing.Wait()
}

// add keeps a frame and the events that it led to; the frame is copied.
func (tr *Trace) add(f *decode.Frame, events []trace.Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	kept := false
	for i := range events {
		e := &events[i]
		if e.Conn == 0 {
			continue
		}
		s := tr.conns[e.Conn]
		if s == nil {
			s = &story{}
			tr.conns[e.Conn] = s
			tr.order = append(tr.order, e.Conn)
		}
		s.events = append(s.events, *e)
		s.over = s.over || e.Kind == trace.ConnClosed || e.Kind == trace.ConnReleased
		if isPacket(e) {
			if e.Time == f.Time && !kept {
				kept = true
				tr.keep(f)
			}
			s.frames = append(s.frames, tr.frameAt(e.Time))
		}
	}
	tr.change()
}

// isPacket reports whether an event tells of a packet.
func isPacket(e *trace.Event) bool {
	return e.Kind == trace.SegmentSeen || e.Kind == trace.DatagramSeen || e.Kind == trace.ICMPSeen
}

// keep appends a copy of a frame. The trace must be locked.
func (tr *Trace) keep(f *decode.Frame) {
	kept := *f
	kept.Data = append([]byte(nil), f.Data...)
	tr.frames = append(tr.frames, kept)
}

// frameAt returns the frame of that time, nearly always the last. The trace
// must be locked.
func (tr *Trace) frameAt(at decode.Timestamp) int {
	i := len(tr.frames) - 1
	for i > 0 && tr.frames[i].Time != at {
		i--
	}
	return i
}

// marked takes note that a mark was read: everything before it is in the trace.
func (tr *Trace) marked(n uint64) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.marks = max(tr.marks, n)
	tr.change()
}

// change wakes whoever waits. The trace must be locked.
func (tr *Trace) change() {
	close(tr.changed)
	tr.changed = make(chan struct{})
}

// stop ends the capture and fails the test if it was not whole.
func (tr *Trace) stop(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(delivery)
	for tr.marker.last() == nil && !tr.ended(again) && time.Now().Before(deadline) {
		continue // the mark was lost
	}
	tr.cancel() // where it was not read; that takes longer
	<-tr.done
	if tr.err != nil {
		t.Errorf("tracetest: capture on %s: %v", tr.cfg.Interface, tr.err)
	}
	if n := tr.totals.Dropped; n > 0 {
		t.Errorf("tracetest: capture on %s: %d frames lost: give Config a Filter, or a smaller Snaplen", tr.cfg.Interface, n)
	}
	if t.Failed() {
		told := tr.path != ""
		if line := tr.save(t); !told {
			t.Log(line)
		}
	}
}

// ended reports whether the capture ends within a time.
func (tr *Trace) ended(within time.Duration) bool {
	select {
	case <-tr.done:
		return true
	case <-time.After(within):
		return false
	}
}

// until waits until holds, which is asked with the trace locked whenever
// something has come, and calls nudge now and then, if that is not nil. It reports
// how long it has waited in vain, or why the capture has ended.
func (tr *Trace) until(t testing.TB, limit time.Duration, holds func() bool, nudge func()) error {
	t.Helper()
	limit = patience(t, limit)
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		tr.mu.Lock()
		ok, changed := holds(), tr.changed
		tr.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-tr.done:
			return fmt.Errorf("the capture on %s had ended before: %v", tr.cfg.Interface, tr.err)
		case <-tick.C:
			if nudge != nil {
				nudge()
			}
		case <-timeout.C:
			return fmt.Errorf("in %v", limit.Round(time.Millisecond))
		}
	}
}

// patience is limit, or less where the test's own deadline is near: a failure
// says more than the panic that would come then.
func patience(t testing.TB, limit time.Duration) time.Duration {
	if t, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := t.Deadline(); ok {
			left := time.Until(deadline)
			limit = min(limit, max(0, left-min(left/4, time.Second)))
		}
	}
	return limit
}
