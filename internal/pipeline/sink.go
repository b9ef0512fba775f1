package pipeline

import (
	"cmp"
	"errors"
	"slices"

	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// sink is where events end: in the summary, and rendered in the output.
type sink struct {
	*Config
	summary trace.Summary
	buf     []byte
	closed  map[uint64]bool // connections that Where has chosen when they closed, until they are released
}

// emit renders events and hands them on. The accounts in them go back to their
// tracker, unless somebody may have kept them.
func (s *sink) emit(events []trace.Event, from *trace.Tracker) error {
	if len(events) == 0 {
		return nil
	}
	sortTimers(events)
	s.buf = s.buf[:0]
	for i := range events {
		e := &events[i]
		if e.Verdict != nil && !s.chosen(e) {
			continue
		}
		if e.Kind == trace.ConnReleased {
			s.summary.Add(e.Verdict)
		}
		if s.Renderer != nil && !s.Hide.Has(e.Kind) {
			s.render(e)
		}
	}
	if s.Events != nil {
		s.Events(events)
	} else if from != nil {
		recycle(events, from)
	}
	return s.write()
}

// chosen reports whether Where chooses the account in e. What it has chosen when
// the connection closed stays chosen, whatever came later: who is shown is
// counted, and the other way round.
func (s *sink) chosen(e *trace.Event) bool {
	return s.Where == nil || e.Kind == trace.ConnReleased && s.closed[e.Conn] || s.Where(e.Verdict)
}

// render appends an event that is to be shown.
func (s *sink) render(e *trace.Event) {
	switch {
	case s.Where == nil || e.Verdict == nil:
	case e.Kind == trace.ConnClosed:
		if s.closed == nil {
			s.closed = make(map[uint64]bool)
		}
		s.closed[e.Conn] = true
	case !s.closed[e.Conn]: // it was not chosen when it closed, and thus not shown
		s.buf = s.Renderer.AppendConn(s.buf, e.Verdict)
		return
	default:
		delete(s.closed, e.Conn)
	}
	s.buf = s.Renderer.AppendEvent(s.buf, e)
}

// recycle gives the accounts in events back to their tracker.
func recycle(events []trace.Event, from *trace.Tracker) {
	for i := range events {
		if v := events[i].Verdict; v != nil {
			from.Recycle(v)
		}
	}
}

func (s *sink) write() error {
	if len(s.buf) == 0 || s.Out == nil {
		return nil
	}
	if _, err := s.Out.Write(s.buf); err != nil {
		return errors.Join(ErrOutput, err)
	}
	return nil
}

func (s *sink) flush() error {
	if s.Flush == nil {
		return nil
	}
	if err := s.Flush(); err != nil {
		return errors.Join(ErrOutput, err)
	}
	return nil
}

// totals renders the end of a run.
func (s *sink) totals(t *render.Totals) error {
	var err error
	if s.Renderer != nil {
		s.buf = s.Renderer.AppendTotals(s.buf[:0], t)
		err = s.write()
	}
	if ferr := s.flush(); err == nil {
		err = ferr
	}
	return err
}

// sortTimers puts timers that fired together, which come first in events, in
// an order that does not depend on how many trackers there are: connections
// before flows, by the time that they were due, then by their number.
func sortTimers(events []trace.Event) {
	n, conns := 0, 0
	for n < len(events) && events[n].Timer {
		if events[n].Kind == trace.ConnReleased {
			conns++
		}
		n++
	}
	if conns < 2 {
		return
	}
	flow := func(e *trace.Event) int {
		if e.Proto != decode.ProtoTCP {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(events[:n], func(a, b trace.Event) int {
		return cmp.Or(flow(&a)-flow(&b), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Conn, b.Conn))
	})
}
