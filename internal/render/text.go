package render

import (
	"strconv"
	"time"
	"unicode/utf8"

	"finack/decode"
	"finack/trace"
)

// Text renders events as lines for people. The zero value writes plain text in UTC.
type Text struct {
	Color    bool
	Absolute bool           // sequence numbers as on the wire, not relative
	Verbose  bool           // timers, too, the steps of each teardown, TTLs and interfaces
	Location *time.Location // of the times of day; nil: UTC
	// Interface returns an interface's name, in printable ASCII, by what
	// Event.Iface has; nil, or "": it is not known. Only Verbose asks for it.
	Interface func(uint32) string

	second int64 // whose time of day clock holds
	clock  [8]byte
}

// Columns of a segment's line; it ends before column 80.
const (
	colFlags  = 23
	colNumber = 32
	colClient = 55
	colServer = 68
)

// AppendEvent appends the lines that an event is worth, if any.
func (t *Text) AppendEvent(dst []byte, e *trace.Event) []byte {
	switch e.Kind {
	case trace.SegmentSeen:
		return t.segment(dst, e)
	case trace.StateChanged:
		return t.transition(dst, e)
	case trace.AnomalySeen:
		dst = t.begin(dst, e)
		dst = t.paint(dst, red, "! ")
		dst = append(dst, e.Anomaly.String()...)
		dst = append(append(dst, ": "...), e.Anomaly.Rule()...)
		return append(dst, '\n')
	case trace.DatagramSeen:
		at := len(dst)
		dst, at = t.intro(dst, at, e)
		dst = t.begin(dst, e)
		dst = t.arrow(dst, e.From)
		dst = appendDatagramName(dst, e)
		dst = pad(dst, at, colNumber)
		dst = append(dst, "len="...)
		dst = strconv.AppendInt(dst, int64(e.Len), 10)
		if !e.First { // the line before it has told
			dst = t.hop(dst, e)
		}
		return append(dst, '\n')
	case trace.ICMPSeen:
		return t.icmp(dst, e)
	case trace.ConnClosed:
		return t.AppendConn(dst, e.Verdict)
	case trace.ConnReleased:
		if e.Verdict.Announced {
			return dst
		}
		return t.AppendConn(dst, e.Verdict)
	default:
		return dst
	}
}

// begin appends the time of day and the connection's number.
func (t *Text) begin(dst []byte, e *trace.Event) []byte {
	dst = t.time(dst, e.Time)
	at := len(dst)
	if e.Conn != 0 {
		dst = append(dst, " #"...)
		dst = strconv.AppendUint(dst, e.Conn, 10)
	}
	dst = pad(dst, at, colFlags-2-15-1)
	return append(dst, ' ')
}

// intro appends the line that says who a connection's ends are, before its
// first packet. It returns where the next line begins.
func (t *Text) intro(dst []byte, at int, e *trace.Event) ([]byte, int) {
	if !e.First {
		return dst, at
	}
	dst = t.begin(dst, e)
	dst = t.color(dst, bold)
	dst = appendEnds(dst, e.Proto, e.Client, e.Server)
	dst = t.color(dst, plain)
	dst = t.hop(dst, e)
	dst = append(dst, '\n')
	return dst, len(dst)
}

// hop appends how many hops a packet had left, and where it was captured.
func (t *Text) hop(dst []byte, e *trace.Event) []byte {
	if !t.Verbose {
		return dst
	}
	dst = append(dst, " ttl="...)
	dst = strconv.AppendUint(dst, uint64(e.TTL), 10)
	if name := interfaceName(t.Interface, e.Iface); name != "" {
		dst = append(append(dst, " on "...), name...)
	}
	return dst
}

// interfaceName returns what name says of an interface, "" where nobody knows.
func interfaceName(name func(uint32) string, iface uint32) string {
	if name == nil {
		return ""
	}
	return name(iface)
}

func (t *Text) arrow(dst []byte, from trace.Side) []byte {
	if from == trace.Client {
		return append(dst, "→ "...)
	}
	return append(dst, "← "...)
}

// segment appends a segment: direction, flags, numbers, and the state that it
// proves for each end.
func (t *Text) segment(dst []byte, e *trace.Event) []byte {
	at := len(dst)
	dst, at = t.intro(dst, at, e)
	dst = t.begin(dst, e)
	dst = t.arrow(dst, e.From)
	dst = t.flags(dst, e.Flags)
	dst = pad(dst, at, colNumber)
	dst = t.numbers(dst, e)
	for s, col := range [...]int{colClient, colServer} {
		if e.Changed[s] {
			dst = pad(dst, at, col)
			dst = t.state(dst, e.States[s])
		}
	}
	if e.Note != 0 {
		dst = appendNotes(dst, e.Note, ", ")
	}
	return append(dst, '\n')
}

// numbers appends "seq=1 ack=1 len=5", relative to the first number seen.
func (t *Text) numbers(dst []byte, e *trace.Event) []byte {
	dst = append(dst, "seq="...)
	dst = t.number(dst, e.Seq, e.SeqBase)
	if e.Flags.Has(decode.ACK) {
		dst = append(dst, " ack="...)
		dst = t.number(dst, e.Ack, e.AckBase)
	}
	if e.Len > 0 {
		dst = append(dst, " len="...)
		dst = strconv.AppendInt(dst, int64(e.Len), 10)
	}
	return dst
}

func (t *Text) number(dst []byte, n, base uint32) []byte {
	return appendNumber(dst, n, base, t.Absolute)
}

// appendNumber appends a sequence number: n as on the wire, or n−base, which
// is negative for what lies before the base.
func appendNumber(dst []byte, n, base uint32, absolute bool) []byte {
	if absolute {
		return appendUint(dst, uint64(n))
	}
	return appendInt(dst, int64(int32(n-base)))
}

// transition appends what the segments' lines do not show: timers and revisions.
func (t *Text) transition(dst []byte, e *trace.Event) []byte {
	if !e.Revised && (!e.Timer || !t.Verbose) {
		return dst
	}
	dst = t.begin(dst, e)
	dst = append(dst, e.Side.String()...)
	dst = append(dst, ' ')
	dst = t.state(dst, e.Old)
	dst = append(dst, " → "...)
	dst = t.state(dst, e.New)
	if e.Revised {
		dst = append(dst, ", revised: what was taken as said did not arrive"...)
	} else {
		dst = append(dst, ", 2MSL is over"...)
	}
	return append(dst, '\n')
}

func (t *Text) icmp(dst []byte, e *trace.Event) []byte {
	dst = t.begin(dst, e)
	dst = appendICMPWords(append(dst, "! "...), e)
	if e.Conn != 0 {
		dst = append(dst, ": answers a packet of the "...)
		dst = append(dst, e.From.String()...)
	} else {
		dst = append(dst, ", "...)
		dst = e.Client.AddrPort().Addr().AppendTo(dst)
		dst = append(dst, " → "...)
		dst = e.Server.AddrPort().Addr().AppendTo(dst)
	}
	return append(t.hop(dst, e), '\n')
}

// AppendConn appends the closing line of a connection or flow; with Verbose,
// of a connection, the steps of its teardown follow.
func (t *Text) AppendConn(dst []byte, c *trace.Conn) []byte {
	dst = t.color(dst, bold)
	dst = append(dst, '#')
	dst = strconv.AppendUint(dst, c.ID, 10)
	dst = append(dst, ' ')
	dst = appendEnds(dst, c.Proto, c.Client, c.Server)
	dst = t.color(dst, plain)
	dst = append(dst, ' ')
	if c.Proto != decode.ProtoTCP {
		return t.flow(dst, c)
	}
	dst = t.AppendOutcome(dst, c)
	dst = append(dst, "; "...)
	dst = strconv.AppendUint(dst, c.Packets[0], 10)
	dst = append(dst, '+')
	dst = strconv.AppendUint(dst, c.Packets[1], 10)
	dst = append(dst, " segments, "...)
	dst = appendBoth(dst, c.Bytes)
	if c.DataUnseen {
		dst = append(dst, " by sequence numbers"...)
	}
	dst = appendOddities(dst, c)
	dst = appendTimes(dst, c)
	dst = append(dst, "; "...)
	dst = append(dst, c.ConnState.String()...)
	dst = append(dst, ' ')
	dst = c.History.AppendTo(dst)
	if c.Role == trace.RoleGuess {
		dst = append(dst, "; joined midstream, who is the client is a guess"...)
	}
	if c.Evicted {
		dst = append(dst, "; evicted to make room"...)
	}
	dst = append(dst, '\n')
	if t.Verbose {
		dst = t.steps(dst, c)
	}
	return dst
}

// appendOddities appends the counts of segments that change no verdict, both
// sides together.
func appendOddities(dst []byte, c *trace.Conn) []byte {
	for _, x := range [...]struct {
		n         [2]uint32
		one, many string
	}{
		{[2]uint32{uint32(c.SYNRetransmits)}, "SYN again", "SYNs again"},
		{c.Retransmits, "retransmitted", "retransmitted"},
		{c.OutOfOrder, "out of order", "out of order"},
		{c.Gaps, "gap", "gaps"},
		{c.Duplicates, "duplicate", "duplicates"},
		{c.KeepAlives, "keep-alive", "keep-alives"},
		{c.ZeroWindowProbes, "zero-window probe", "zero-window probes"},
		{c.ChallengeACKs, "challenge ACK", "challenge ACKs"},
	} {
		if n := uint64(x.n[0]) + uint64(x.n[1]); n > 0 {
			dst = appendCount(append(dst, ", "...), n, x.one, x.many)
		}
	}
	return dst
}

// appendTimes appends how long the handshake's round trip took, how long
// nothing was sent before the close, and how long one direction was closed.
func appendTimes(dst []byte, c *trace.Conn) []byte {
	sep := "; "
	if c.HasRTT {
		dst = append(append(dst, sep...), "rtt "...)
		dst = appendDuration(dst, c.RTT)
		sep = ", "
	}
	if c.HasIdle {
		dst = append(append(dst, sep...), "idle "...)
		dst = appendDuration(dst, c.Idle)
		dst = append(dst, " before the close"...)
		sep = ", "
	}
	if h := &c.HalfClose; h.Seen {
		dst = append(append(dst, sep...), "half-closed "...)
		dst = appendDuration(dst, h.Duration)
		if h.Bytes > 0 {
			dst = append(dst, " with "...)
			dst = appendBytes(dst, h.Bytes)
		}
	}
	return dst
}

// AppendOutcome appends who closed a TCP connection first and how, how long it
// lasted, and where each end stands.
func (t *Text) AppendOutcome(dst []byte, c *trace.Conn) []byte {
	dst = appendOutcome(dst, c)
	dst = append(dst, ", "...)
	dst = appendDuration(dst, c.Duration())
	for s := trace.Client; s <= trace.Server; s++ {
		dst = append(dst, [...]string{"; ", ", "}[s]...)
		dst = append(dst, s.String()...)
		dst = append(dst, ' ')
		dst = t.state(dst, c.States[s])
		if c.States[s] == trace.TimeWait {
			dst = append(dst, " ("...)
			dst = appendDuration(dst, c.WaitLeft.Round(time.Second))
			dst = append(dst, " left)"...)
		}
	}
	return dst
}

// appendOutcome appends who closed first and how, or how far the connection came.
func appendOutcome(dst []byte, c *trace.Conn) []byte {
	switch {
	case c.Client == c.Server && c.Proto == decode.ProtoTCP:
		return append(dst, "one address at both ends"...) // nothing tells whose segment is whose
	case c.Handshake == trace.Refused:
		return append(dst, "refused by server"...)
	case c.WasReset:
		dst = append(dst, "reset by "...)
		dst = append(dst, c.ResetBy.String()...)
		switch {
		case c.ResetAfter != trace.NoTeardown:
			dst = append(dst, " after "...)
			dst = append(dst, c.ResetAfter.String()...)
			return appendCloser(append(dst, " close"...), c)
		case c.Handshake == trace.IncompleteHandshake:
			dst = append(dst, " during the handshake"...)
		}
		return dst
	}
	switch c.Teardown {
	case trace.NoTeardown:
		switch {
		case c.Handshake == trace.IncompleteHandshake && c.Packets[trace.Server] == 0:
			return append(dst, "unanswered SYN"...)
		case c.Handshake == trace.IncompleteHandshake:
			return append(dst, "handshake incomplete"...)
		default:
			return append(dst, "no close seen"...)
		}
	case trace.UnknownTeardown:
		return append(appendCloser(append(dst, "closed"...), c), ", how is unknown: data was not captured"...)
	case trace.HalfClosed:
		return appendCloser(append(dst, "half-closed"...), c)
	case trace.Unacknowledged:
		return append(appendCloser(append(dst, "closed"...), c), ", FIN not acknowledged"...)
	}
	dst = appendCloser(append(dst, "closed"...), c)
	dst = append(dst, ", "...)
	dst = append(dst, c.Teardown.String()...)
	if !c.Complete {
		dst = append(dst, ", last ACK not seen"...)
	}
	return dst
}

func appendCloser(dst []byte, c *trace.Conn) []byte {
	switch c.Closer {
	case trace.ClosedByBoth:
		return append(dst, " by both at once"...)
	case trace.ClosedUnknown:
		return append(dst, " by unknown"...)
	default:
		return append(append(dst, " by "...), c.Closer.String()...)
	}
}

// appendBoth appends payload totals: "64 B each way" or "102 B →, 302 B ←".
func appendBoth(dst []byte, n [2]uint64) []byte {
	dst = appendBytes(dst, n[0])
	if n[0] == n[1] {
		return append(dst, " each way"...)
	}
	dst = append(dst, " →, "...)
	dst = appendBytes(dst, n[1])
	return append(dst, " ←"...)
}

func (t *Text) flow(dst []byte, c *trace.Conn) []byte {
	name, what := "UDP, ", " datagrams, "
	if echo(c.Proto) {
		name, what = "ICMP echo, ", " messages, "
	}
	dst = append(dst, name...)
	dst = strconv.AppendUint(dst, c.Packets[0], 10)
	dst = append(dst, '+')
	dst = strconv.AppendUint(dst, c.Packets[1], 10)
	dst = append(dst, what...)
	dst = appendBoth(dst, c.Bytes)
	switch {
	case c.HasRTT:
		dst = append(dst, ", first response after "...)
		dst = appendDuration(dst, c.RTT)
	case !c.Unreachable:
		dst = append(dst, ", no response"...)
	}
	if c.Unreachable {
		dst = append(dst, "; ICMP says: "...)
		if m := icmpMeaning(unreachable(c.Client.V6), c.ICMPCode, c.Client.V6); m != "" {
			dst = append(dst, m...)
		} else {
			dst = append(dst, "unreachable"...)
		}
	}
	if c.Evicted {
		dst = append(dst, "; evicted to make room"...)
	}
	return append(dst, '\n')
}

// time appends the time of day with microseconds.
func (t *Text) time(dst []byte, ts decode.Timestamp) []byte {
	sec, nsec := int64(ts)/1e9, int64(ts)%1e9
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	if sec != t.second || t.clock[0] == 0 {
		loc := t.Location
		if loc == nil {
			loc = time.UTC
		}
		time.Unix(sec, 0).In(loc).AppendFormat(t.clock[:0], "15:04:05")
		t.second = sec
	}
	dst = append(dst, t.clock[:]...)
	dst = append(dst, '.')
	return appendPadded(dst, nsec/1000, 6)
}

// pad appends spaces until the line begun at at is col columns wide, at least
// one. Escape sequences have no width.
func pad(dst []byte, at, col int) []byte {
	n := width(dst[at:])
	for {
		dst = append(dst, ' ')
		n++
		if n >= col {
			return dst
		}
	}
}

// width is the number of columns that b takes.
func width(b []byte) (n int) {
	for i := 0; i < len(b); {
		if b[i] == 0x1b {
			for i < len(b) && b[i] != 'm' {
				i++
			}
			i++
			continue
		}
		_, size := utf8.DecodeRune(b[i:])
		i += size
		n++
	}
	return n
}
