package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"finack/capture"
	"finack/internal/notation"
	"finack/internal/privnet"
)

// inNetwork runs the tests in a private network.
type inNetwork struct{ m *testing.M }

func (n inNetwork) Run() int { return privnet.Main(n.m) }

func TestMain(m *testing.M) {
	testscript.Main(inNetwork{m}, map[string]func(){"finack": main})
}

// TestScripts runs the stories in testdata/script. The captures beside it are
// the tcpdump project's (testdata/LICENSE.tcpdump).
func TestScripts(t *testing.T) {
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("DATA", data)
			e.Setenv("TZ", "UTC")
			bin, _, _ := strings.Cut(e.Getenv("PATH"), string(os.PathListSeparator))
			e.Setenv("FINACK", filepath.Join(bin, "finack")) // for scripts that have another PATH
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"capture": writeCapture},
		Condition: func(cond string) (bool, error) {
			if cond == "netns" {
				privnet.Require(t)
				return true, nil
			}
			return false, os.ErrInvalid
		},
	})
}

// writeCapture is the command "capture FILE SEGMENTS": it writes a capture of
// the packets that a text has, in the notation of a fixture's segments.
func writeCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture FILE SEGMENTS")
	}
	lines, err := notation.Parse(ts.ReadFile(args[1]))
	ts.Check(err)
	w, err := capture.CreateFile(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	for i := range lines {
		lines[i].Frame.Time = lines[i].Time
		ts.Check(w.WriteFrame(&lines[i].Frame))
	}
	ts.Check(w.Close())
}
