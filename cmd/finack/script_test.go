package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

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
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "netns" {
				privnet.Require(t)
				return true, nil
			}
			return false, os.ErrInvalid
		},
	})
}
