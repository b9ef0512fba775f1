package render

import (
	"strconv"

	"finack/trace"
)

// Totals is the end of a run: what was read, what was found, what was lost.
type Totals struct {
	Frames    uint64 // read or captured
	Malformed uint64 // of them: headers that contradict themselves
	Truncated uint64 // of them: cut off inside a header by the snaplen
	Unknown   uint64 // of them: of a link type that is not decoded
	Copies    uint64 // the same packet on a second interface, not counted again
	LoCopies  uint64 // the loopback's second copies, left out
	Dropped   uint64 // lost by the capture
	BadStamps uint64 // frames with an impossible timestamp
	Written   uint64 // frames written with -w
	Writing   bool   // -w was given
	Live      bool
	Tracker   trace.Stats
	Summary   trace.Summary
}

// AppendTotals appends the summary: outcomes, then whatever was not as it should be.
func (t *Text) AppendTotals(dst []byte, s *Totals) []byte {
	dst = appendCount(dst, s.Frames, "frame", "frames")
	dst = append(dst, ", "...)
	dst = appendCount(dst, uint64(s.Summary.Conns), "TCP connection", "TCP connections")
	dst = append(dst, ", "...)
	dst = appendCount(dst, uint64(s.Summary.Flows), "UDP flow", "UDP flows")
	if s.Live {
		dst = append(dst, ", "...)
		dst = appendCount(dst, s.Dropped, "frame lost", "frames lost")
	}
	dst = append(dst, '\n')
	if s.Summary.Conns > 0 {
		dst = appendOutcomes(dst, "opened", s.Summary.Handshakes[:], func(i int) string { return trace.HandshakeKind(i).String() })
		dst = appendOutcomes(dst, "closed", s.Summary.Teardowns[:], func(i int) string {
			if k := trace.TeardownKind(i); k != trace.NoTeardown {
				return k.String()
			}
			return "not at all"
		})
		dst = appendOutcomes(dst, "closed by", s.Summary.Closers[:], func(i int) string { return trace.Closer(i).String() })
	}
	for i, x := range s.losses() {
		if x.n == 0 || i == 0 && s.Live {
			continue // the first line has it
		}
		dst = appendCount(append(dst, "  "...), x.n, x.one, x.many)
		dst = append(dst, '\n')
	}
	if s.Writing {
		dst = appendCount(append(dst, "  "...), s.Written, "frame written", "frames written")
		dst = append(dst, '\n')
	}
	return dst
}

// appendOutcomes appends "  closed: 3 four-step, 1 reset" without what is zero.
func appendOutcomes(dst []byte, title string, n []int, name func(int) string) []byte {
	any := false
	for i, v := range n {
		if v == 0 {
			continue
		}
		if !any {
			dst = append(dst, "  "...)
			dst = append(append(dst, title...), ": "...)
			any = true
		} else {
			dst = append(dst, ", "...)
		}
		dst = strconv.AppendInt(dst, int64(v), 10)
		dst = append(append(dst, ' '), name(i)...)
	}
	if any {
		dst = append(dst, '\n')
	}
	return dst
}

func appendCount(dst []byte, n uint64, one, many string) []byte {
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, ' ')
	if n == 1 {
		return append(dst, one...)
	}
	return append(dst, many...)
}

// AppendTotals appends the "summary" object, the last line of a run.
func (j *JSON) AppendTotals(dst []byte, s *Totals) []byte {
	dst = append(dst, `{"type":"summary","frames":`...)
	dst = strconv.AppendUint(dst, s.Frames, 10)
	dst = append(dst, `,"connections":`...)
	dst = strconv.AppendInt(dst, int64(s.Summary.Conns), 10)
	dst = append(dst, `,"datagram_flows":`...)
	dst = strconv.AppendInt(dst, int64(s.Summary.Flows), 10)
	dst = appendObject(dst, "handshakes", s.Summary.Handshakes[:], func(i int) string { return trace.HandshakeKind(i).String() })
	dst = appendObject(dst, "teardowns", s.Summary.Teardowns[:], func(i int) string { return trace.TeardownKind(i).String() })
	dst = appendObject(dst, "active_closers", s.Summary.Closers[:], func(i int) string { return trace.Closer(i).String() })
	for _, x := range [...]struct {
		key string
		n   uint64
	}{
		{"dropped", s.Dropped},
		{"malformed", s.Malformed},
		{"truncated", s.Truncated},
		{"unknown_link_type", s.Unknown},
		{"copies", s.Copies},
		{"loopback_copies", s.LoCopies},
		{"bad_timestamps", s.BadStamps},
		{"clock_steps", s.Tracker.ClockSteps},
		{"evicted", s.Tracker.Evicted},
		{"untracked", s.Tracker.Untracked},
	} {
		dst = strconv.AppendUint(appendKey(dst, x.key), x.n, 10)
	}
	if s.Writing {
		dst = strconv.AppendUint(appendKey(dst, "written"), s.Written, 10)
	}
	return append(dst, "}\n"...)
}

func appendObject(dst []byte, key string, n []int, name func(int) string) []byte {
	dst = append(appendKey(dst, key), '{')
	first := true
	for i, v := range n {
		if v == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, name(i))
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(v), 10)
	}
	return append(dst, '}')
}

// loss is one way in which a run did not see, or not use, what there was.
type loss struct {
	n         uint64
	one, many string
}

// losses lists them, what the capture lost first.
func (s *Totals) losses() [8]loss {
	return [8]loss{
		{s.Dropped, "frame lost by the capture", "frames lost by the capture"},
		{s.Malformed, "malformed frame", "malformed frames"},
		{s.Truncated, "frame cut off inside its headers (snaplen)", "frames cut off inside their headers (snaplen)"},
		{s.Unknown, "frame of an unknown link type", "frames of an unknown link type"},
		{s.Copies, "copy of a packet seen on another interface, not counted again", "copies of packets seen on another interface, not counted again"},
		{s.BadStamps, "impossible timestamp", "impossible timestamps"},
		{s.Tracker.ClockSteps, "step back in time", "steps back in time"},
		{s.Tracker.Evicted, "connection or flow evicted to make room", "connections or flows evicted to make room"},
	}
}

// AppendLosses appends in one line what a run lost or could not use, nothing
// when there was none of it.
func AppendLosses(dst []byte, s *Totals) []byte {
	for _, x := range s.losses() {
		if x.n == 0 {
			continue
		}
		if len(dst) > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendCount(dst, x.n, x.one, x.many)
	}
	return dst
}
