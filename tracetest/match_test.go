package tracetest

import (
	"strings"
	"testing"
	"time"

	"finack/decode"
	"finack/trace"
)

// conversation is a connection, a packet every 10 ms; places are those of the
// packets, because other events lie between them.
func conversation() (events []trace.Event, places []int) {
	const fa = decode.FIN | decode.ACK
	for i, p := range []struct {
		from  trace.Side
		flags decode.Flags
		n     int
	}{
		{trace.Client, decode.SYN, 0},              // 0
		{trace.Server, decode.SYN | decode.ACK, 0}, // 1
		{trace.Client, decode.ACK, 0},              // 2
		{trace.Client, decode.PSH | decode.ACK, 5}, // 3
		{trace.Server, decode.ACK, 0},              // 4
		{trace.Client, fa, 0},                      // 5
		{trace.Client, fa, 0},                      // 6, 10 ms later again
		{trace.Server, fa | decode.PSH, 7},         // 7
		{trace.Client, decode.ACK, 0},              // 8
	} {
		at := decode.Timestamp(i) * 10e6
		places = append(places, len(events))
		events = append(events,
			trace.Event{Kind: trace.SegmentSeen, Time: at, From: p.from, Flags: p.flags, Len: p.n},
			trace.Event{Kind: trace.StateChanged, Time: at, From: p.from, Flags: p.flags, Len: p.n})
	}
	return events, places
}

func TestMatch(t *testing.T) {
	events, places := conversation()
	for _, tt := range []struct {
		pattern string
		steps   int // that match: all, if want is ""
		want    string
		mark    int // a packet
	}{
		{"client > server SYN server > client SYN,ACK client > server ACK", 3, "", 0},
		{"client > server S\nserver > client S.\n\tclient > server .", 3, "", 0},
		{"… client > server SYN+ACK", 0, `want step 1 of 1, "client > server SYN+ACK", got no such packet`, -1},
		{"client > server SYN … client > server FIN,ACK …", 2, "", 0},
		{"client > server SYN...server > client data", 2, "", 0},
		{"client > server *", 1, "", 0},
		{"server > client FIN,ACK", 0, `want step 1 of 1, "server > client FIN,ACK", got no such packet`, -1},
		{"server > client FIN,*", 1, "", 0},
		{"server > client FIN*", 1, "", 0},
		{"server > client F*", 1, "", 0},
		{"server > client FP.", 1, "", 0},
		{"client > server data … client > server data", 1, `want step 2 of 2, "client > server data", got no such packet after step 1`, 3},
		{"client > server SYN client > server ACK", 1, `want step 2 of 2, "client > server ACK", got no such packet right after step 1`, 0},
		{"client > server SYN … client > server ACK client > server data … server > client FIN,* client > server ACK", 5, "", 0},

		// The first FIN is 20 ms before the server's, the second 10 ms.
		{"client > server FIN,ACK … server > client FIN,* within 10ms", 2, "", 0},
		{"client > server FIN,ACK … server > client FIN,* within 9ms", 1, `got it too late`, 7},
		{"client > server FIN,ACK client > server FIN,ACK … server > client FIN,* within 10ms", 3, "", 0},
		{"client > server SYN … client > server FIN,ACK within 50ms", 2, "", 0},
		{"client > server SYN … client > server FIN,ACK within 49ms", 1, "got it too late", 5},
		// The nearest step before is not the first that would do.
		{"client > server ACK … server > client FIN,* within 60ms client > server ACK within 10ms", 3, "", 0},
		{"server > client udp", 0, "got no such packet", -1},
		{"server > client icmp", 0, "got no such packet", -1},
	} {
		p, err := parsePattern(tt.pattern)
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		m := p.match(events)
		if m.steps != tt.steps || m.ok() != (tt.want == "") {
			t.Errorf("%q: %d steps match, want %d", tt.pattern, m.steps, tt.steps)
			continue
		}
		if m.ok() {
			continue
		}
		what, mark := p.explain(events, m)
		want := -1
		if tt.mark >= 0 {
			want = places[tt.mark]
		}
		if !strings.Contains(what, tt.want) || mark != want {
			t.Errorf("%q: %q, marks %d; want %q, marks %d", tt.pattern, what, mark, tt.want, want)
		}
	}
}

func TestMatchOfDatagrams(t *testing.T) {
	events := []trace.Event{
		{Kind: trace.DatagramSeen, From: trace.Client, Len: 5},
		{Kind: trace.ICMPSeen, From: trace.Client}, // about the client's datagram
	}
	for pattern, want := range map[string]bool{
		"client > server udp server > client icmp": true,
		"client > server *":                        true,
		"client > server data":                     false, // a segment
		"client > server icmp":                     false,
		"server > client udp":                      false,
		"client > server ACK,*":                    false,
	} {
		p, err := parsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.match(events).ok(); got != want {
			t.Errorf("%q: %v", pattern, got)
		}
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                         "want a step",
		"… …":                      "want a step",
		"client":                   `step 1: want client > server or server > client, got "client"`,
		"client < server SYN":      `got "client < server"`,
		"client > client SYN":      `got "client > client"`,
		"client > server":          "client > server: want flags, *, data, udp or icmp after it",
		"client > server …":        "client > server: want flags, *, data, udp or icmp after it",
		"client > server SYNACK":   `got "SYNACK"`,
		"client > server SYN,":     "", // an empty name is none
		"client > server syn":      `got "syn"`,
		"client > server X":        `got "X"`,
		"client > server ,":        `got ","`,
		"client > server SYN ACK":  `step 2: want client > server or server > client, got "ACK"`,
		"client > server * ,":      "step 2",
		"client > server ,*":       `got ",*"`,
		"client > server S within": "want a duration after within",
		"client > server S … client > server A":                  `step 2: client > server: want flags`,
		"client > server S within 1s":                            "there is no step before it",
		"client > server S … server > client S. within soon":     "want a duration after within",
		"client > server S … server > client S. within -1s":      "want a duration after within",
		"client > server S … server > client S. within 1s … bye": `step 3: want client > server or server > client, got "bye"`,
	} {
		_, err := parsePattern(pattern)
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", pattern, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("client > server FIN,ACK … server > client F.* within 1s ... client > server data")
	events, _ := conversation()
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		if m := p.match(events); !m.ok() {
			if what, _ := p.explain(events, m); what == "" {
				t.Error("no explanation")
			}
		}
	})
}

// A test whose own deadline is near fails before it.
func TestPatienceEndsBeforeTheDeadline(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		time.Hour: 10 * time.Second, 5 * time.Second: 4 * time.Second, 400 * time.Millisecond: 300 * time.Millisecond, -time.Second: 0,
	} {
		got := patience(deadlined{t, time.Now().Add(left)}, 10*time.Second)
		if got > want || got < want-100*time.Millisecond {
			t.Errorf("%v before its deadline a test waits %v, want %v", left, got, want)
		}
	}
}

type deadlined struct {
	testing.TB
	at time.Time
}

func (d deadlined) Deadline() (time.Time, bool) { return d.at, true }
