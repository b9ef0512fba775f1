package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"finack/internal/echo"
	"finack/internal/render"
	"finack/trace"
)

// show prints what was measured.
func (c *comparison) show(w io.Writer, interrupted bool) error {
	var buf []byte
	if c.JSON {
		var err error
		if buf, err = c.appendJSON(); err != nil {
			return err
		}
	} else {
		buf = c.appendText(interrupted)
	}
	_, err := w.Write(buf)
	return err
}

func (c *comparison) appendText(interrupted bool) []byte {
	b := fmt.Appendf(nil, `Messages of %d bytes, each sent after the answer to the one before (a closed
loop), between two processes on loopback; TCP_NODELAY is set, as Go does.
`, c.Size)
	conns, lost := 0, 0
	for _, l := range c.latencies {
		if l.res.Sent == 0 && l.err == nil {
			continue // interrupted before
		}
		lost += l.res.Lost
		if l.conns != conns {
			conns = l.conns
			b = append(b, "\n"+cell(plural(conns, "connection"), -16)...)
			for _, head := range []string{"p50", "p90", "p99", "p99.9"} {
				b = append(b, cell(head, 9)...)
			}
			b = append(b, cell("messages/s", 12)+cell("MB/s", 8)+cell("lost", 6)+"\n"...)
		}
		b = l.appendText(b, c.Size)
	}
	if lost > 0 {
		b = fmt.Appendf(b, "\nA lost datagram is waited for %s, which the rate includes.\n", render.Duration(datagramTimeout))
	}
	if c.Chart {
		b = c.appendChart(b)
	}
	b = c.appendFacts(b)
	b = c.appendLosses(b)
	if interrupted {
		b = append(b, "\nInterrupted: the rest was not measured.\n"...)
	}
	return b
}

func (l *latency) appendText(b []byte, size int) []byte {
	b = append(b, cell(" "+l.kind.title, -16)...)
	if l.err != nil {
		return append(b, "  a message is at most what the table below says: EMSGSIZE\n"...)
	}
	for _, p := range []float64{50, 90, 99, 99.9} {
		b = append(b, cell(render.Duration(l.res.RTT.Percentile(p)), 9)...)
	}
	rate := l.perSecond()
	return append(b, cell(thousands(int(rate+.5)), 12)+cell(figures(rate*float64(size)/1e6), 8)+cell(strconv.Itoa(l.res.Lost), 6)+"\n"...)
}

// appendFacts appends what one message costs, and what it is.
func (c *comparison) appendFacts(b []byte) []byte {
	if len(c.facts) == 0 {
		return b
	}
	b = append(b, "\n"+cell("a message:", -16)+cell("packets", 8)+cell("bytes", 8)+cell("boundaries", 12)+cell("at most", 12)+cell("the end is", 12)+"\n"...)
	for _, f := range c.facts {
		packets, bytes := "0", "0"
		switch {
		case f.wire != nil:
			n := float64(f.wire.messages)
			packets, bytes = figures(float64(f.wire.packets)/n), figures(float64(f.wire.bytes)/n)
		case f.kind.file == "":
			packets, bytes = "–", "–"
		}
		most, end := "–", f.end.String()
		if f.largest > 0 {
			most = thousands(f.largest) + " B"
		}
		if f.tooLong {
			end = "–"
		}
		b = append(b, cell(" "+f.kind.title, -16)+cell(packets, 8)+cell(bytes, 8)+cell(f.boundaries, 12)+cell(most, 12)+cell(end, 12)+"\n"...)
	}
	b = append(b, "\n"+cell("a conversation:", -16)+cell("handshake", 11)+cell("teardown", 11)+cell("connect, 1 message, close", 30)+"\n"...)
	for _, f := range c.facts {
		handshake, teardown, oneShot := "none", "none", "–"
		switch {
		case f.wire != nil && f.wire.handshake > 0:
			handshake, teardown = plural(f.wire.handshake, "packet"), plural(f.wire.teardown, "packet")
		case f.wire == nil && f.kind.file == "":
			handshake, teardown = "–", "–"
		}
		if !f.tooLong {
			oneShot = "p50 " + render.Duration(f.oneShot.Percentile(50)) + ", p99 " + render.Duration(f.oneShot.Percentile(99))
		}
		if f.oneShotsLost > 0 {
			oneShot += fmt.Sprintf(", %d lost", f.oneShotsLost)
		}
		b = append(b, cell(" "+f.kind.title, -16)+cell(handshake, 11)+cell(teardown, 11)+cell(oneShot, 30)+"\n"...)
	}
	if c.Private && c.onWire() > 0 {
		return append(b, `
Packets there and back between two hosts with an MTU of 1500 and no offloads;
bytes with IP headers.
`...)
	}
	return b
}

// appendLosses appends what became of messages on a bad wire.
func (c *comparison) appendLosses(b []byte) []byte {
	if len(c.losses) == 0 {
		return b
	}
	b = append(b, `
Over a wire that, each way, loses 1 % of the frames, brings 1 % twice and has
others overtake 1 %:
`...)
	for _, l := range c.losses {
		if l.kind.name == "tcp" {
			b = fmt.Appendf(b, ` TCP, one after the other: %d of %d answered, in order, none twice.
   What was lost cost time: %s sent again;
   round trip p50 %s, p99 %s, longest %s.
`, l.answered, l.sent, plural(l.retransmits, "segment"), render.Duration(l.rtt.P50), render.Duration(l.rtt.P99), render.Duration(l.rtt.Max))
		} else {
			b = fmt.Appendf(b, ` UDP, without waiting: %d of %d answered.
   Nobody sends again: %d missing, %d answered twice, %d out of order.
`, l.answered, l.sent, l.missing, l.duplicates, l.outOfOrder)
		}
		b = fmt.Appendf(b, "   The wire's own count: %s lost, %d twice, %d late.\n", plural(l.dropped, "frame"), l.twice, l.late)
	}
	return b
}

// chartWidth is how many columns the distributions are drawn in.
const chartWidth = 62

// appendChart draws each transport's round trips as a line of columns over one
// logarithmic axis: the higher, the more of them took so long.
func (c *comparison) appendChart(b []byte) []byte {
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for _, l := range c.latencies {
		for v := range l.res.RTT.All() {
			least, most = min(least, v), max(most, v)
		}
	}
	if most == 0 {
		return b
	}
	from, to := math.Log10(float64(least)), math.Log10(float64(most))
	to = max(to, from+.1)
	column := func(v time.Duration) int {
		return min(chartWidth-1, int((math.Log10(float64(v))-from)/(to-from)*chartWidth))
	}
	conns := 0
	for _, l := range c.latencies {
		if l.res.RTT.N == 0 {
			continue
		}
		if l.conns != conns {
			conns = l.conns
			b = append(b, "\n"+cell(plural(conns, "connection"), -16)+"  "+axis(from, to, column)+"\n"...)
		}
		b = append(b, cell(" "+l.kind.title, -16)+"  "+columns(&l.res.RTT, column)+"\n"...)
	}
	return b
}

// axis labels the columns with round times.
func axis(from, to float64, column func(time.Duration) int) string {
	line := []rune(strings.Repeat(" ", chartWidth+8))
	free := 0
	for exp := math.Floor(from); exp <= to; exp++ {
		for _, digit := range []float64{1, 2, 5} {
			v := time.Duration(digit * math.Pow(10, exp))
			if lg := math.Log10(float64(v)); lg < from || lg > to || column(v) < free {
				continue
			}
			label := []rune("╷" + render.Duration(v))
			if column(v)+len(label) > chartWidth {
				continue
			}
			copy(line[column(v):], label)
			free = column(v) + len(label) + 1
		}
	}
	return strings.TrimRight(string(line), " ")
}

// columns draws a distribution. What occurs at all shows.
func columns(d *trace.Distribution, column func(time.Duration) int) string {
	var counts [chartWidth]int64
	most := int64(1)
	for v, n := range d.All() {
		i := max(0, column(v))
		counts[i] += n
		most = max(most, counts[i])
	}
	heights := []rune(" ▁▂▃▄▅▆▇█")
	line := make([]rune, chartWidth)
	for i, n := range counts {
		h := int(math.Ceil(float64(n) / float64(most) * float64(len(heights)-1)))
		line[i] = heights[h]
	}
	return strings.TrimRight(string(line), " ")
}

// The lines of --json.
type (
	latencyLine struct {
		Type      string    `json:"type"`
		Transport string    `json:"transport"`
		Conns     int       `json:"connections"`
		Size      int       `json:"size"`
		Sent      int       `json:"sent"`
		Answered  int       `json:"answered"`
		Lost      int       `json:"lost"`
		Seconds   float64   `json:"duration"`
		Rate      float64   `json:"messages_per_second"`
		Bytes     float64   `json:"bytes_per_second"`
		RTT       *quantile `json:"rtt,omitempty"`
		Error     string    `json:"error,omitempty"`
	}
	quantile struct {
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99_9"`
		Max  float64 `json:"max"`
	}
	factsLine struct {
		Type       string    `json:"type"`
		Transport  string    `json:"transport"`
		Size       int       `json:"size"`
		Boundaries bool      `json:"boundaries"`
		Largest    int       `json:"largest_message,omitempty"`
		End        string    `json:"end,omitempty"`
		OneShot    *quantile `json:"one_shot,omitempty"`
		Lost       int       `json:"one_shots_lost,omitempty"`
		Packets    *float64  `json:"packets_per_message,omitempty"`
		Bytes      *float64  `json:"bytes_per_message,omitempty"`
		Handshake  *int      `json:"handshake_packets,omitempty"`
		Teardown   *int      `json:"teardown_packets,omitempty"`
	}
	lossLine struct {
		Type        string    `json:"type"`
		Transport   string    `json:"transport"`
		Size        int       `json:"size"`
		Sent        int       `json:"sent"`
		Answered    int       `json:"answered"`
		Missing     int       `json:"missing"`
		Duplicates  int       `json:"duplicates"`
		OutOfOrder  int       `json:"out_of_order"`
		Retransmits *int      `json:"retransmits,omitempty"`
		RTT         *quantile `json:"rtt,omitempty"`
		Dropped     int       `json:"frames_dropped"`
		Twice       int       `json:"frames_duplicated"`
		Late        int       `json:"frames_reordered"`
	}
)

func quantiles(d *trace.Distribution) *quantile {
	if d.N == 0 {
		return nil
	}
	s := func(p float64) float64 { return d.Percentile(p).Seconds() }
	return &quantile{s(50), s(90), s(99), s(99.9), d.Max.Seconds()}
}

func timesQuantile(t *echo.Times) *quantile {
	return &quantile{t.P50.Seconds(), t.P90.Seconds(), t.P99.Seconds(), t.P999.Seconds(), t.Max.Seconds()}
}

func (c *comparison) appendJSON() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, l := range c.latencies {
		if l.res.Sent == 0 && l.err == nil {
			continue
		}
		line := latencyLine{
			Type: "echo_latency", Transport: l.kind.name, Conns: l.conns, Size: c.Size,
			Sent: l.res.Sent, Answered: l.res.Received, Lost: l.res.Lost, Seconds: l.res.Elapsed.Seconds(),
			Rate: l.perSecond(), Bytes: l.perSecond() * float64(c.Size), RTT: quantiles(&l.res.RTT),
		}
		if l.err != nil {
			line.Error = l.err.Error()
		}
		if err := enc.Encode(line); err != nil {
			return nil, err
		}
	}
	for _, f := range c.facts {
		if err := enc.Encode(f.line(c.Size)); err != nil {
			return nil, err
		}
	}
	for _, l := range c.losses {
		line := lossLine{
			Type: "echo_loss", Transport: l.kind.name, Size: c.Size, Sent: l.sent, Answered: l.answered, Missing: l.missing,
			Duplicates: l.duplicates, OutOfOrder: l.outOfOrder, Dropped: l.dropped, Twice: l.twice, Late: l.late,
		}
		if l.kind.name == "tcp" {
			line.Retransmits, line.RTT = &l.retransmits, timesQuantile(&l.rtt)
		}
		if err := enc.Encode(line); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

func (f *facts) line(size int) factsLine {
	line := factsLine{
		Type: "echo_transport", Transport: f.kind.name, Size: size, Boundaries: f.boundaries == "kept",
		Largest: f.largest, OneShot: quantiles(&f.oneShot), Lost: f.oneShotsLost,
	}
	if !f.tooLong {
		line.End = f.end.String()
	}
	w := f.wire
	if f.kind.file != "" {
		w = &wireCost{messages: 1} // nothing is on the wire
	}
	if w != nil {
		packets, bytes := float64(w.packets)/float64(w.messages), float64(w.bytes)/float64(w.messages)
		line.Packets, line.Bytes, line.Handshake, line.Teardown = &packets, &bytes, &w.handshake, &w.teardown
	}
	return line
}

// cell pads s to so many columns, on its left; a negative width on its right.
func cell(s string, width int) string {
	pad := strings.Repeat(" ", max(0, max(width, -width)-len([]rune(s))))
	if width < 0 {
		return s + pad
	}
	return pad + s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// thousands writes n in groups of three digits.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// figures writes v with three significant digits at least.
func figures(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return thousands(int(v + .5))
	}
}
