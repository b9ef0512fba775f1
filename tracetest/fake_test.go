package tracetest_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a test that records how it fails.
type fake struct {
	testing.TB // the real one, for what is not recorded
	mu         sync.Mutex
	said       []string
	failed     bool
	cleanups   []func()
}

func (f *fake) say(failed bool, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.failed || failed
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *fake) Helper()                         {}
func (f *fake) Cleanup(c func())                { f.cleanups = append(f.cleanups, c) }
func (f *fake) Log(args ...any)                 { f.say(false, "%s", fmt.Sprint(args...)) }
func (f *fake) Errorf(s string, args ...any)    { f.say(true, s, args...) }
func (f *fake) Skipf(s string, args ...any)     { f.say(false, "skip: "+s, args...); runtime.Goexit() }
func (f *fake) Fatalf(s string, args ...any)    { f.say(true, s, args...); runtime.Goexit() }
func (f *fake) Failed() bool                    { return f.failed }
func (f *fake) Deadline() (d time.Time, _ bool) { return d, false }

var captureLine = regexp.MustCompile(`(?m)^capture: (.+)$`)

// captures returns the names of the capture files that a failure tells of.
func captures(text string) (names []string) {
	for _, m := range captureLine.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// run runs f as a test, to its last cleanup, and returns what it said.
func (f *fake) run(body func(t testing.TB)) string {
	done := make(chan bool)
	go func() {
		defer close(done)
		defer func() {
			for i := len(f.cleanups) - 1; i >= 0; i-- {
				f.cleanups[i]()
			}
		}()
		body(f)
	}()
	<-done
	text := strings.Join(f.said, "\n")
	for _, name := range captures(text) {
		f.TB.Cleanup(func() { os.Remove(name) })
	}
	return text
}

// failure returns what a test says that must fail.
func failure(t *testing.T, body func(t testing.TB)) string {
	t.Helper()
	f := &fake{TB: t}
	text := f.run(body)
	if !f.failed {
		t.Errorf("it did not fail, and said %q", text)
	}
	return text
}

// wantFailure fails the test unless body fails and says all of these.
func wantFailure(t *testing.T, body func(t testing.TB), parts ...string) {
	t.Helper()
	text := failure(t, body)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in what it says:\n%s", part, text)
		}
	}
}
