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
	Flush    func() error    // called whenever the source has nothing more at hand; nil: not
	Writer   *capture.Writer // also writes every frame
	Count    uint64          // stop after so many frames; 0: do not
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
	totals  render.Totals
	copies  copies
	frame   decode.Frame
	packet  decode.Packet
	decoder decode.Decoder
	events  []trace.Event
	buf     []byte
	stop    decode.Timestamp // frames after it are not wanted any more; 0: all are
	err     error            // of the output: what comes is still counted
}

// Run reads until the source ends, fails, or ctx ends, and says at the end what
// became of every connection. The totals hold also when there is an error: the
// source's, or one of the output, which then is an ErrOutput. The end of ctx is
// no error.
func Run(ctx context.Context, cfg Config) (render.Totals, error) {
	r := &run{Config: cfg, tracker: trace.New(cfg.Tracker)}
	r.totals.Live, r.totals.Writing = cfg.Live, cfg.Writer != nil
	interrupted := context.AfterFunc(ctx, func() {
		if r.Live {
			_ = r.Source.SetReadDeadline(time.Now().Add(drainTime))
		} else {
			_ = r.Source.Close()
		}
	})
	err := r.loop(ctx)
	interrupted()
	if werr := r.finish(); err == nil {
		err = werr
	}
	return r.totals, err
}

// loop takes frame after frame.
func (r *run) loop(ctx context.Context) error {
	buffered, _ := r.Source.(interface{ Buffered() bool })
	for r.Count == 0 || r.totals.Frames < r.Count {
		if buffered == nil || !buffered.Buffered() {
			if err := r.flush(); err != nil {
				return err
			}
			r.arm(ctx)
		}
		err := r.Source.ReadFrame(&r.frame)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() != nil {
				return nil
			}
			r.events = r.tracker.Advance(decode.TimestampOf(time.Now()), r.events[:0])
			if err := r.emit(); err != nil {
				return err
			}
			continue
		case errors.Is(err, capture.ErrInterfaceDown):
			r.warn(err)
			continue
		case errors.Is(err, io.EOF) && !errors.Is(err, capture.ErrFormat):
			return nil
		case errors.Is(err, net.ErrClosed) && ctx.Err() != nil:
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

// one takes one frame along the whole way.
func (r *run) one() error {
	r.totals.Frames++
	if r.Writer != nil {
		if err := r.Writer.WriteFrame(&r.frame); err != nil {
			r.stopWriting(err, r.totals.Frames-1)
		}
	}
	if err := r.decoder.Decode(&r.frame, &r.packet); err != nil {
		switch {
		case errors.Is(err, decode.ErrTruncated):
			r.totals.Truncated++
		case errors.Is(err, decode.ErrLinkType):
			r.totals.Unknown++
		default:
			r.totals.Malformed++
		}
		return nil
	}
	if r.AllIfs && r.copies.seen(&r.packet) {
		r.totals.Copies++
		return nil
	}
	r.events = r.tracker.Observe(&r.packet, r.events[:0])
	return r.emit()
}

// emit renders and hands on the events at hand.
func (r *run) emit() error {
	if len(r.events) == 0 {
		return nil
	}
	r.buf = r.buf[:0]
	for i := range r.events {
		e := &r.events[i]
		if e.Kind == trace.ConnReleased {
			r.totals.Summary.Add(e.Verdict)
		}
		if r.Renderer != nil {
			r.buf = r.Renderer.AppendEvent(r.buf, e)
		}
	}
	if r.Events != nil {
		r.Events(r.events)
	}
	return r.write()
}

func (r *run) write() error {
	if len(r.buf) == 0 || r.Out == nil {
		return nil
	}
	if _, err := r.Out.Write(r.buf); err != nil {
		return errors.Join(ErrOutput, err)
	}
	return nil
}

// flush makes visible what was written, before the source may block.
func (r *run) flush() error {
	if r.Writer != nil && r.Live {
		if err := r.Writer.Flush(); err != nil {
			r.stopWriting(err, r.totals.Frames)
		}
	}
	return r.flushOut()
}

func (r *run) flushOut() error {
	if r.Flush == nil {
		return nil
	}
	if err := r.Flush(); err != nil {
		return errors.Join(ErrOutput, err)
	}
	return nil
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
	for c := range r.tracker.Conns() {
		r.events = append(r.events[:0], trace.Event{Kind: trace.ConnReleased, Conn: c.ID, Verdict: c})
		if werr := r.emit(); err == nil {
			err = werr
		}
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
	r.totals.Tracker = r.tracker.Stats()
	stats, serr := r.Source.Stats()
	if serr != nil {
		r.warn(fmt.Errorf("read capture statistics: %w", serr))
	}
	r.totals.Dropped, r.totals.LoCopies, r.totals.BadStamps = stats.Dropped, stats.LoCopies, stats.BadStamps
	if r.Renderer != nil {
		r.buf = r.Renderer.AppendTotals(r.buf[:0], &r.totals)
		if werr := r.write(); err == nil {
			err = werr
		}
	}
	if werr := r.flushOut(); err == nil {
		err = werr
	}
	return err
}

func (r *run) warn(err error) {
	if r.Warn != nil {
		r.Warn(err)
	}
}
