package render

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

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
	// Interrupted is set when the run was ended before its source was.
	Interrupted bool
	// Chosen is set when Summary has only some of the connections and flows;
	// Tracker tells how many there were.
	Chosen  bool
	Tracker trace.Stats
	Summary trace.Summary
}

// AppendTotals appends the summary: outcomes, then whatever was not as it should be.
func (t *Text) AppendTotals(dst []byte, s *Totals) []byte {
	if s.Interrupted {
		dst = append(dst, "interrupted after "...)
	}
	dst = appendCount(dst, s.Frames, "frame", "frames")
	dst = append(dst, ", "...)
	conns, flows := uint64(s.Summary.Conns), uint64(s.Summary.Flows)
	if s.Chosen {
		dst = append(strconv.AppendUint(dst, conns, 10), " of "...)
		conns = s.Tracker.Conns
	}
	dst = appendCount(dst, conns, "TCP connection", "TCP connections")
	if s.Chosen {
		dst = append(dst, " and "...)
		dst = append(strconv.AppendUint(dst, flows, 10), " of "...)
		flows = s.Tracker.Flows
	} else {
		dst = append(dst, ", "...)
	}
	dst = appendCount(dst, flows, "datagram flow", "datagram flows")
	if s.Chosen {
		dst = append(dst, " match"...)
	}
	if s.Live {
		dst = append(dst, ", "...)
		dst = appendCount(dst, s.Dropped, "frame lost", "frames lost")
	}
	dst = append(dst, '\n')
	if s.Summary.Conns > 0 {
		dst = appendOutcomes(dst, "opened", s.Summary.Handshakes[:], func(i int) string { return trace.HandshakeKind(i).String() })
		dst = appendOutcomes(dst, "closed", s.Summary.Teardowns[:], func(i int) string {
			if k := trace.TeardownKind(i); k != trace.NoTeardown {
				return k.String() + closedBy(s.Summary.TeardownsBy[k][:])
			}
			return "not at all"
		})
		if severalKinds(&s.Summary) { // else the line above has it
			dst = appendOutcomes(dst, "closed by", s.Summary.Closers[:], closerName)
		}
		dst = appendPercentiles(dst, &s.Summary)
		dst = appendTimeouts(dst, &s.Summary)
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

// appendOutcomes appends "  closed: 3 four-step, 1 reset" without what is zero,
// in as many lines as it takes.
func appendOutcomes(dst []byte, title string, n []int, name func(int) string) []byte {
	line, items := len(dst), 0
	indent := len("  : ") + len(title)
	for i, v := range n {
		if v == 0 {
			continue
		}
		if items++; items == 1 {
			dst = append(append(append(dst, "  "...), title...), ": "...)
		} else {
			dst = append(dst, ", "...)
		}
		at := len(dst)
		dst = strconv.AppendInt(dst, int64(v), 10)
		dst = append(append(dst, ' '), name(i)...)
		if items > 1 && width(dst[line:]) >= 80 { // a comma may follow
			dst = slices.Insert(dst, at, bytes.Repeat([]byte{' '}, indent)...)
			dst[at-1] = '\n'
			line = at
		}
	}
	if items > 0 {
		dst = append(dst, '\n')
	}
	return dst
}

// severalKinds reports whether connections ended in more than one way.
func severalKinds(s *trace.Summary) bool {
	kinds := 0
	for i, n := range s.Teardowns {
		if n > 0 && trace.TeardownKind(i) != trace.NoTeardown {
			kinds++
		}
	}
	return kinds > 1
}

// closedBy returns who closed: " (by client)", " (38 by server, 2 by client)", or "".
func closedBy(n []int) string {
	var order []int
	for by, v := range n {
		if v > 0 {
			order = append(order, by)
		}
	}
	switch len(order) {
	case 0:
		return ""
	case 1:
		return " (by " + closerName(order[0]) + ")"
	}
	slices.SortStableFunc(order, func(a, b int) int { return n[b] - n[a] })
	parts := make([]string, len(order))
	for i, by := range order {
		parts[i] = strconv.Itoa(n[by]) + " by " + closerName(by)
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// durations is one row of a summary: how long something took.
type durations struct {
	name, key string // in text and in JSON
	*trace.Distribution
}

func durationsOf(s *trace.Summary) [5]durations {
	return [...]durations{
		{"handshake RTT", "handshake_rtt", &s.RTT},
		{"half-open", "half_open", &s.HalfOpen},
		{"idle before close", "idle_before_close", &s.Idle},
		{"half-close", "half_close", &s.HalfClose},
		{"lifetime", "lifetime", &s.Lifetime},
	}
}

// appendPercentiles appends a table, if there is more than one connection to compare.
func appendPercentiles(dst []byte, s *trace.Summary) []byte {
	if s.Conns < 2 {
		return dst
	}
	dst = append(dst, "                           n       p50       p90       p99       max\n"...)
	for _, row := range durationsOf(s) {
		if row.N == 0 {
			continue
		}
		line := len(dst)
		dst = append(append(dst, "  "...), row.name...)
		dst = pad(dst, line, 20)
		at := len(dst)
		dst = alignRight(strconv.AppendInt(dst, int64(row.N), 10), at, 8)
		for _, d := range [...]time.Duration{row.Percentile(50), row.Percentile(90), row.Percentile(99), row.Max} {
			at = len(dst)
			dst = alignRight(appendDuration(append(dst, ' '), d), at, 10)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// alignRight moves what begins at at to the right, to be col columns wide.
func alignRight(dst []byte, at, col int) []byte {
	n := max(0, col-width(dst[at:]))
	return slices.Insert(dst, at, bytes.Repeat([]byte{' '}, n)...)
}

// maxTimeouts is how many idle timeouts are told in text.
const maxTimeouts = 10

// appendTimeouts appends a sentence for each idle timeout.
func appendTimeouts(dst []byte, s *trace.Summary) []byte {
	all := s.IdleTimeouts()
	for _, x := range all[:min(len(all), maxTimeouts)] {
		dst = append(dst, "  "...)
		dst = strconv.AppendInt(dst, int64(x.N), 10)
		dst = append(dst, " of "...)
		dst = strconv.AppendInt(dst, int64(x.Of), 10)
		dst = append(dst, " closes by "...)
		if x.By == trace.Client {
			dst = append(dst, "clients of "...)
		}
		dst = append(x.Server.AppendTo(dst), " came "...)
		dst = appendSpread(dst, x.Idle, x.Spread)
		dst = append(dst, " after the last data: an idle timeout\n"...)
	}
	if more := len(all) - maxTimeouts; more > 0 {
		dst = appendCount(append(dst, "  and "...), uint64(more), "more idle timeout", "more idle timeouts")
		dst = append(dst, ", which --json lists\n"...)
	}
	if s.IdleLeftOut > 0 {
		dst = appendCount(append(dst, "  "...), uint64(s.IdleLeftOut), "close", "closes")
		dst = append(dst, " not looked at for idle timeouts: too many endpoints or times\n"...)
	}
	return dst
}

// appendSpread appends "5.00 ± 0.02 s": the spread with one digit, but as whole
// milliseconds at least, and the mean to the same place.
func appendSpread(dst []byte, mean, spread time.Duration) []byte {
	prec, unit := 0, time.Second
	for prec < 3 && spread < unit*95/100 {
		prec, unit = prec+1, unit/10
	}
	dst = strconv.AppendFloat(dst, mean.Seconds(), 'f', prec, 64)
	dst = append(dst, " ± "...)
	dst = strconv.AppendFloat(dst, max(spread, time.Millisecond).Seconds(), 'f', prec, 64)
	return append(dst, " s"...)
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
	if s.Interrupted {
		dst = append(dst, `,"interrupted":true`...)
	}
	if s.Chosen {
		dst = strconv.AppendUint(append(dst, `,"seen":{"connections":`...), s.Tracker.Conns, 10)
		dst = strconv.AppendUint(appendKey(dst, "datagram_flows"), s.Tracker.Flows, 10)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"connections":`...)
	dst = strconv.AppendInt(dst, int64(s.Summary.Conns), 10)
	dst = append(dst, `,"datagram_flows":`...)
	dst = strconv.AppendInt(dst, int64(s.Summary.Flows), 10)
	dst = appendObject(appendKey(dst, "handshakes"), s.Summary.Handshakes[:], func(i int) string { return trace.HandshakeKind(i).String() })
	dst = appendObject(appendKey(dst, "teardowns"), s.Summary.Teardowns[:], func(i int) string { return trace.TeardownKind(i).String() })
	dst = appendTeardownsBy(appendKey(dst, "teardowns_by"), &s.Summary)
	dst = appendObject(appendKey(dst, "active_closers"), s.Summary.Closers[:], closerName)
	for _, row := range durationsOf(&s.Summary) {
		if row.N > 0 {
			dst = appendDistribution(appendKey(dst, row.key), row.Distribution)
		}
	}
	dst = appendIdleTimeouts(dst, &s.Summary)
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

func appendObject(dst []byte, n []int, name func(int) string) []byte {
	dst = append(dst, '{')
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

func closerName(i int) string { return trace.Closer(i).String() }

// appendTeardownsBy appends who closed, for each kind of teardown that had a closer.
func appendTeardownsBy(dst []byte, s *trace.Summary) []byte {
	dst = append(dst, '{')
	first := true
	for k, by := range s.TeardownsBy {
		if by == [len(by)]int{} {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, trace.TeardownKind(k).String())
		dst = appendObject(append(dst, ':'), by[:], closerName)
	}
	return append(dst, '}')
}

// appendDistribution appends percentiles in seconds.
func appendDistribution(dst []byte, d *trace.Distribution) []byte {
	dst = append(dst, `{"n":`...)
	dst = strconv.AppendInt(dst, int64(d.N), 10)
	dst = appendSeconds(appendKey(dst, "p50"), d.Percentile(50))
	dst = appendSeconds(appendKey(dst, "p90"), d.Percentile(90))
	dst = appendSeconds(appendKey(dst, "p99"), d.Percentile(99))
	dst = appendSeconds(appendKey(dst, "max"), d.Max)
	return append(dst, '}')
}

// appendIdleTimeouts appends all idle timeouts, and how many closes were left
// out of the search, unless there are none.
func appendIdleTimeouts(dst []byte, s *trace.Summary) []byte {
	sep := `,"idle_timeouts":[`
	all := s.IdleTimeouts()
	for _, x := range all {
		dst = append(append(dst, sep...), `{"server":"`...)
		dst = append(x.Server.AppendTo(dst), '"')
		dst = appendString(appendKey(dst, "closed_by"), x.By.String())
		dst = strconv.AppendInt(appendKey(dst, "n"), int64(x.N), 10)
		dst = strconv.AppendInt(appendKey(dst, "of"), int64(x.Of), 10)
		dst = appendSeconds(appendKey(dst, "idle"), x.Idle)
		dst = appendSeconds(appendKey(dst, "spread"), x.Spread)
		dst = append(dst, '}')
		sep = ","
	}
	if len(all) > 0 {
		dst = append(dst, ']')
	}
	if s.IdleLeftOut > 0 {
		dst = strconv.AppendInt(appendKey(dst, "idle_left_out"), int64(s.IdleLeftOut), 10)
	}
	return dst
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
