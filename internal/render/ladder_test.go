package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/trace"
)

// A rung says what its segment repeats; an anomaly and a state that is taken
// back are said below it.
func TestLadder(t *testing.T) {
	events, _ := story(t)
	var tx Text
	got := tx.AppendLadder(nil, "Story", ofConn(events, 1))
	const want = ` Story     client 10.0.0.1:40000                        server 10.0.0.2:80
 0.000000  SYN_SENT        SYN seq=0                 ─▶
 0.001000               ◀─ SYN+ACK seq=0 ack=1          SYN_RECEIVED
 0.002000  ESTABLISHED     ACK ack=1                 ─▶ ESTABLISHED
 0.003000                  PSH+ACK seq=1 ack=1 5 B   ─▶
 0.004000                  PSH+ACK seq=1 ack=1 5 B   ─▶              again
 0.005000  FIN_WAIT_1      FIN+ACK seq=6 ack=1       ─▶
 0.006000  FIN_WAIT_2   ◀─ ACK ack=7                    CLOSE_WAIT
 0.007000               ◀─ RST seq=699
                        ! RST not at RCV.NXT: it resets nothing
 0.008000               ◀─ PSH+ACK seq=1 ack=7 20 kB
 0.009000               ◀─ FIN+ACK seq=20001 ack=7      LAST_ACK
 0.010000  TIME_WAIT       ACK ack=20002             ─▶ CLOSED
 1.011000               ◀─ FIN+ACK seq=20001 ack=7      LAST_ACK     again
                        ! the server's CLOSED is taken back
 1.012000                  ACK ack=20002             ─▶ CLOSED
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for line := range strings.Lines(string(got)) {
		if width([]byte(line)) > 81 {
			t.Errorf("longer than 80 columns: %s", line)
		}
	}
	used := string(tx.AppendLadder(nil, "Again", ofConn(events, 2)))
	if want := "SYN seq=0                 ─▶       4-tuple used again\n"; !strings.Contains(used, want) {
		t.Errorf("no %q in\n%s", want, used)
	}
}

// ofConn returns the events of one connection.
func ofConn(events []trace.Event, conn uint64) (list []trace.Event) {
	for i := range events {
		if events[i].Conn == conn {
			list = append(list, events[i])
		}
	}
	return list
}

// Notes stand at the end of the rung, or below it where the rung is too long,
// and never beyond column 80, for all of them alone.
func TestRungNotes(t *testing.T) {
	events, _ := story(t)
	var tx Text
	for n := trace.Note(1); n != 0; n <<= 1 {
		name := string(appendNotes(nil, n, ""))
		if n == trace.Retransmission {
			name = "again"
		}
		if name == "" {
			t.Errorf("note %d has no name", n)
		}
		e := events[0]
		e.Kind, e.Note = trace.SegmentSeen, n
		for _, e.Changed = range [][2]bool{{}, {true, true}} {
			for _, state := range []trace.State{trace.Closed, trace.SynReceived} {
				e.States[trace.Server] = state
				got := tx.AppendRung(nil, &e)
				if !strings.HasSuffix(string(got), " "+name+"\n") {
					t.Errorf("%q: want %q at its end", got, name)
				}
				for line := range strings.Lines(string(got)) {
					if w := width([]byte(line)) - 1; w > 80 || w < ladderEnd-len("4-tuple used again") {
						t.Errorf("note ends in column %d: %s", w, line)
					}
				}
			}
		}
	}
}

// Each anomaly has words of its own in a ladder, that fit.
func TestAnomaliesInALadder(t *testing.T) {
	seen := map[string]bool{"": true}
	for a := trace.NoAnomaly + 1; a.String() != "none"; a++ {
		e := trace.Event{Kind: trace.AnomalySeen, Anomaly: a}
		line := string((&Text{}).AppendRung(nil, &e))
		words := strings.TrimPrefix(strings.TrimSpace(line), "! ")
		if seen[words] || words == a.String() || strings.Count(line, "\n") != 1 || width([]byte(line)) > 81 {
			t.Errorf("%v: %q", a, line)
		}
		seen[words] = true
	}
}

// A ladder allocates nothing, either.
func TestLadderAllocatesNothing(t *testing.T) {
	events, _ := story(t)
	buf := make([]byte, 0, 1<<16)
	for _, tx := range []*Text{{}, {Color: true}} {
		if n := testing.AllocsPerRun(100, func() { buf = tx.AppendLadder(buf[:0], "All", events) }); n != 0 {
			t.Errorf("color %v: %v allocations", tx.Color, n)
		}
	}
}
