package trace_test

import (
	"os"
	"path/filepath"
	"testing"

	"finack/internal/fixture"
	"finack/trace"
)

// The suite is the stories, whose verdicts are written by hand, and recordings
// of real connections, whose outcomes the scenarios that made them assert
// (finack lab --record).
const (
	stories    = "testdata"
	recordings = "../internal/lab/testdata"
)

// suite reads the fixtures of directories.
func suite(t *testing.T, dirs ...string) (all []*fixture.Fixture) {
	t.Helper()
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil || len(paths) < 30 {
			t.Fatalf("%s: %d fixtures, %v", dir, len(paths), err)
		}
		for _, path := range paths {
			f, err := fixture.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
	}
	return all
}

// The tracker tells of each story the golden events, and comes to the verdict.
// FINACK_UPDATE=1 rewrites the events, and never a verdict.
func TestStories(t *testing.T) {
	for _, f := range suite(t, stories, recordings) {
		t.Run(filepath.Base(f.Name), func(t *testing.T) {
			report, err := f.Check(nil)
			if err != nil {
				t.Fatal(err)
			}
			if report.OK() {
				return
			}
			t.Error(report)
			if os.Getenv("FINACK_UPDATE") == "1" {
				r, err := f.Replay(nil)
				if err != nil {
					t.Fatal(err)
				}
				f.Events = r.Events
				if err := f.Write(f.Name); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// bites is how many fixtures must notice each mutant.
const bites = 10

// A tracker without one of the rules of evidence fails the suite, and so does
// one that confuses two states.
func TestSuiteBites(t *testing.T) {
	all := suite(t, stories, recordings)
	for _, m := range trace.Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			cfg := trace.Config{}
			m.Break(&cfg)
			var failed []string
			for _, f := range all {
				report, err := f.Check(&cfg)
				if err != nil {
					t.Fatal(err)
				}
				if !report.OK() {
					failed = append(failed, filepath.Base(f.Name))
				}
			}
			t.Logf("%d fixtures fail: %v", len(failed), failed)
			if len(failed) < bites {
				t.Errorf("only %d fixtures notice, want %d", len(failed), bites)
			}
		})
	}
}
