package trace

import (
	"path/filepath"
	"slices"
	"testing"
)

// bites is how many stories must notice each mutant.
const bites = 10

// A tracker without one of the rules of evidence fails the stories, and so
// does one that confuses two states: the stories hold them all.
func TestSuiteBites(t *testing.T) {
	var all []*story
	for _, dir := range []string{"testdata"} { // directories of fixtures
		paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d stories, %v", dir, len(paths), err)
		}
		for _, path := range paths {
			s, err := readStory(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
	}
	for _, s := range all {
		if !s.holds(s.config) {
			t.Errorf("%s fails as it is", s.name)
		}
	}
	for _, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			var failed []string
			for _, s := range all {
				cfg := s.config
				m.Break(&cfg)
				if !s.holds(cfg) {
					failed = append(failed, s.name)
				}
			}
			t.Logf("%d stories fail: %v", len(failed), failed)
			if len(failed) < bites {
				t.Errorf("only %d stories notice, want %d", len(failed), bites)
			}
		})
	}
}

// holds reports whether a story's events and verdict are the golden ones.
func (s *story) holds(cfg Config) bool {
	tr := New(&cfg)
	var events []Event
	for i := range s.lines {
		if s.lines[i].advance {
			events = tr.Advance(s.lines[i].time, events)
		} else {
			events = tr.Observe(&s.lines[i].packet, events)
		}
	}
	var text, verdict []byte
	var conns []*Conn
	for i := range events {
		text = appendEvent(text, &events[i])
		if events[i].Kind == ConnReleased {
			conns = append(conns, events[i].Verdict)
		}
	}
	conns = slices.AppendSeq(conns, tr.Conns())
	slices.SortFunc(conns, func(a, b *Conn) int { return int(a.ID) - int(b.ID) })
	for _, c := range conns {
		verdict = appendVerdict(verdict, c)
	}
	return string(text) == s.file("events") && string(verdict) == s.file("verdict")
}
