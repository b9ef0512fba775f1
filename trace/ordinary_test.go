package trace

import (
	"fmt"
	"reflect"
	"testing"

	"finack/decode"
)

// Whoever takes the shortcut comes out where the long way leads: the same
// events, and the same verdicts where only these are wanted.
func TestShortcutChangesNothing(t *testing.T) {
	whole := 0 // connections that took the shortcut to the end
	check := func(name string, lines []storyLine) {
		t.Helper()
		for _, without := range []Kinds{0, AllKinds &^ KindsOf(ConnReleased)} {
			short, n := told(Config{Without: without}, lines)
			whole += n
			long, _ := told(Config{Without: without, broken: &broken{}}, lines)
			if d := firstDifference(short, long); d != "" {
				t.Errorf("%s, without %b: %s", name, without, d)
			}
		}
	}
	for _, s := range readStories(t) {
		check(s.name, s.lines)
	}
	for seed := range uint64(1000) {
		s := simOf(seed)
		check(fmt.Sprint("simulation ", seed), s.lines())
	}
	for i, stream := range seedStreams() {
		check(fmt.Sprint("stream ", i), fuzzLines(stream))
	}
	seed := uint64(7)
	for i := range 300 {
		check(fmt.Sprint("random stream ", i), fuzzLines(randomStream(&seed)))
	}
	if whole < 100 {
		t.Errorf("only %d connections took the shortcut to their end", whole)
	}
}

// told returns what a tracker tells of lines, and how many connections took
// the shortcut to their last ACK.
func told(cfg Config, lines []storyLine) (events []Event, whole int) {
	t := New(&cfg)
	for i := range lines {
		if lines[i].advance {
			events = t.Advance(lines[i].time, events)
		} else {
			events = t.Observe(&lines[i].packet, events)
			if c := t.recordOf(&lines[i].packet); c != nil && c.stage == stageOver {
				whole++
			}
		}
	}
	for c := range t.Conns() {
		events = append(events, Event{Verdict: c})
	}
	return events, whole
}

func firstDifference(got, want []Event) string {
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			return fmt.Sprintf("event %d is\n%+v %+v\nnot\n%+v %+v", i, got[i], got[i].Verdict, want[i], want[i].Verdict)
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d events, not %d", len(got), len(want))
	}
	return ""
}

// recordOf returns the record of a segment's 4-tuple, or nil.
func (t *Tracker) recordOf(p *decode.Packet) *record {
	var k key
	makeKey(&k, &p.Src, &p.Dst, p.Proto)
	c, _ := t.find(&k, t.hash(&k))
	return c
}
