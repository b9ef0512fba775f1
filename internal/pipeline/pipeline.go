// Package pipeline moves frames along the one way they go: read, decode,
// observe, append, write.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// Renderer turns events into bytes; *render.Text and *render.JSON are two.
type Renderer interface {
	AppendEvent(dst []byte, e *trace.Event) []byte
	AppendConn(dst []byte, c *trace.Conn) []byte
	AppendTotals(dst []byte, s *render.Totals) []byte
}

// Config says what to run; Source is needed, the rest may be zero.
type Config struct {
	Source   capture.Source
	Live     bool            // the source's clock is this host's: timers fire while nothing comes, ctx drains what was captured
	AllIfs   bool            // several interfaces: copies of one packet count once
	Tracker  *trace.Config   // nil: its defaults
	Renderer Renderer        // nil: nothing is rendered
	Out      io.Writer       // where it goes; should be buffered, see Flush
	Flush    func() error    // called whenever the source may have to be waited for; nil: not
	Writer   *capture.Writer // also writes every frame
	Count    uint64          // stop after so many frames; 0: do not
	// Hide are the kinds of event that are not rendered. What nobody needs is
	// not even made.
	Hide trace.Kinds
	// Where chooses the connections and flows whose accounts are rendered and
	// counted in the summary, by the account when a teardown completes and by
	// that at the release; nil: all. Shards call it at the same time.
	Where func(*trace.Conn) bool
	// Shards is the number of trackers, each on a core of its own; connections
	// are shared out among them. 0 and 1: one, on Run's goroutine. It is for
	// captures that are not Live. What is told, and in which order, does not
	// depend on it, but each has its part of the tracker's MaxConns, so that
	// others may be evicted.
	Shards int
	// Events is given each frame's events, which are the callee's only during
	// the call; nil: nobody.
	Events func([]trace.Event)
	// Warn is told what goes wrong without ending the run; nil: nobody.
	Warn func(error)
}

// drainTime is how long a live capture is still read after ctx has ended: the
// kernel hands over what it has captured within a few milliseconds.
const drainTime = 20 * time.Millisecond

// ErrOutput marks an error of the output, as against one of the source.
var ErrOutput = errors.New("write output")

type run struct {
	Config
	tracker *trace.Tracker
	shards  *shards // instead of tracker
	sink    sink
	totals  render.Totals
	copies  copies
	frame   decode.Frame
	decoder decode.Decoder
	packets [trace.Lookahead]decode.Packet  // decoded and not yet observed, where there are no shards
	list    [trace.Lookahead]*decode.Packet // they
	n       int
	events  []trace.Event
	stop    decode.Timestamp // frames after it are not wanted any more; 0: all are
	err     error            // of the output: what comes is still counted
}

// Run reads until the source ends, fails, or ctx ends, and says at the end what
// became of every connection. The totals hold also when there is an error: the
// source's, or one of the output, which then is an ErrOutput. The end of ctx is
// no error.
func Run(ctx context.Context, cfg Config) (render.Totals, error) {
	r := &run{Config: cfg}
	r.sink = sink{Config: &r.Config}
	r.totals.Live, r.totals.Writing, r.totals.Chosen = cfg.Live, cfg.Writer != nil, cfg.Where != nil
	if cfg.Shards > 1 && !cfg.Live {
		r.shards = newShards(&r.Config, cfg.Shards)
	} else {
		r.tracker = trace.New(r.trackerConfig())
		for i := range r.packets {
			r.list[i] = &r.packets[i]
		}
	}
	interrupted := context.AfterFunc(ctx, func() {
		if r.Live {
			_ = r.Source.SetReadDeadline(time.Now().Add(drainTime))
		} else {
			_ = r.Source.Close()
		}
	})
	err := r.loop(ctx)
	interrupted()
	if werr := r.finish(); err == nil || err == errStopped {
		err = werr
	}
	return r.totals, err
}

// shown reports whether single events are needed, or only the summary.
func (cfg *Config) shown() bool {
	return cfg.Events != nil || cfg.Renderer != nil && cfg.Hide&trace.AllKinds != trace.AllKinds
}

// trackerConfig returns the tracker's configuration: what is hidden from
// everybody need not be made.
func (cfg *Config) trackerConfig() *trace.Config {
	var t trace.Config
	if cfg.Tracker != nil {
		t = *cfg.Tracker
	}
	if cfg.Events == nil {
		t.Without |= cfg.Hide
		if cfg.Renderer == nil {
			t.Without = trace.AllKinds
		}
		t.Without &^= trace.KindsOf(trace.ConnReleased) // the summary needs it
	}
	return &t
}

// loop takes frame after frame.
func (r *run) loop(ctx context.Context) error {
	buffered, _ := r.Source.(interface{ Buffered() bool })
	waits, ok := r.Source.(interface{ Waits() bool })
	never := ok && !waits.Waits()
	read := r.Source.ReadFrame
	if lending, ok := r.Source.(interface{ NextFrame(*decode.Frame) error }); ok {
		read = lending.NextFrame // no frame is needed when the next one is read
	}
	for r.Count == 0 || r.totals.Frames < r.Count {
		if !never && (buffered == nil || !buffered.Buffered()) {
			if err := r.idle(); err != nil {
				return err
			}
			r.arm(ctx)
		}
		err := read(&r.frame)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() != nil {
				return nil
			}
			r.events = r.tracker.Advance(decode.TimestampOf(time.Now()), r.events[:0])
			if err := r.sink.emit(r.events, r.tracker); err != nil {
				return err
			}
			continue
		case errors.Is(err, capture.ErrInterfaceDown):
			r.warn(err)
			continue
		case errors.Is(err, io.EOF) && !errors.Is(err, capture.ErrFormat):
			return nil
		case errors.Is(err, net.ErrClosed) && ctx.Err() != nil:
			r.totals.Interrupted = true
			return nil
		default:
			return err
		}
		if r.Live && ctx.Err() != nil {
			// What was captured before the end is still wanted, no more.
			if r.stop == 0 {
				r.stop = decode.TimestampOf(time.Now())
			}
			if r.frame.Time > r.stop {
				return nil
			}
		}
		if err := r.one(); err != nil {
			return err
		}
	}
	return nil
}

// arm makes the tracker's next timer the source's deadline.
func (r *run) arm(ctx context.Context) {
	if !r.Live {
		return
	}
	var deadline time.Time
	if due, ok := r.tracker.Next(); ok {
		deadline = due.Time()
	}
	_ = r.Source.SetReadDeadline(deadline)
	if ctx.Err() != nil { // it may have ended just before
		_ = r.Source.SetReadDeadline(time.Now().Add(drainTime))
	}
}

// one takes one frame along the way, up to the shards, or to where some packets
// wait for each other. None waits while the source has nothing at hand.
func (r *run) one() error {
	if r.shards != nil {
		if p := r.shards.next(); r.take(p) {
			return r.shards.take(p)
		}
		return nil
	}
	if r.take(&r.packets[r.n]) {
		if r.n++; r.n == len(r.packets) {
			return r.observe()
		}
	}
	return nil
}

// observe takes the packets that wait along the rest of the way.
func (r *run) observe() error {
	var err error
	r.tracker.Expect(r.list[:r.n])
	for i := range r.packets[:r.n] {
		r.events = r.tracker.Observe(&r.packets[i], r.events[:0])
		if eerr := r.sink.emit(r.events, r.tracker); err == nil {
			err = eerr
		}
	}
	r.n = 0
	return err
}

// take writes and decodes the frame at hand, and reports whether p is a packet
// for the tracker.
func (r *run) take(p *decode.Packet) bool {
	r.totals.Frames++
	if r.Writer != nil {
		if err := r.Writer.WriteFrame(&r.frame); err != nil {
			r.stopWriting(err, r.totals.Frames-1)
		}
	}
	if err := r.decoder.Decode(&r.frame, p); err != nil {
		switch {
		case errors.Is(err, decode.ErrTruncated):
			r.totals.Truncated++
		case errors.Is(err, decode.ErrLinkType):
			r.totals.Unknown++
		default:
			r.totals.Malformed++
		}
		return false
	}
	if r.AllIfs && r.copies.seen(p) {
		r.totals.Copies++
		return false
	}
	return true
}

// idle makes visible what was written, before the source may block.
func (r *run) idle() error {
	if r.Writer != nil && r.Live {
		if err := r.Writer.Flush(); err != nil {
			r.stopWriting(err, r.totals.Frames)
		}
	}
	if r.shards != nil {
		return r.shards.send(true)
	}
	err := r.observe()
	if ferr := r.sink.flush(); err == nil {
		err = ferr
	}
	return err
}

// stopWriting gives the copy of the frames up. Tracing goes on; the error is
// the run's at the end.
func (r *run) stopWriting(err error, written uint64) {
	r.warn(err)
	r.totals.Written, r.Writer, r.err = written, nil, errors.Join(ErrOutput, err)
}

// finish gives the account of what is still open, and the totals.
func (r *run) finish() error {
	var err error
	if r.shards != nil {
		err = r.shards.finish(&r.totals)
	} else {
		err = r.observe()
		for c := range r.tracker.Conns() {
			r.events = append(r.events[:0], trace.Event{Kind: trace.ConnReleased, Conn: c.ID, Verdict: c})
			if werr := r.sink.emit(r.events, r.tracker); err == nil {
				err = werr
			}
		}
		r.totals.Tracker, r.totals.Summary = r.tracker.Stats(), r.sink.summary
	}
	if r.Writer != nil {
		r.totals.Written = r.totals.Frames
		if werr := r.Writer.Flush(); werr != nil {
			r.stopWriting(werr, r.totals.Frames)
		}
	}
	if r.err != nil {
		err = r.err
	}
	stats, serr := r.Source.Stats()
	if serr != nil {
		r.warn(fmt.Errorf("read capture statistics: %w", serr))
	}
	r.totals.Dropped, r.totals.LoCopies, r.totals.BadStamps = stats.Dropped, stats.LoCopies, stats.BadStamps
	if werr := r.sink.totals(&r.totals); err == nil {
		err = werr
	}
	return err
}

func (r *run) warn(err error) {
	if r.Warn != nil {
		r.Warn(err)
	}
}
