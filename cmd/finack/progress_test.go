package main

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/schollz/progressbar/v3"
)

// halfRead is a source of which half is read.
type halfRead struct{ asked atomic.Int64 }

func (s *halfRead) Progress() (done, total int64) {
	s.asked.Add(1)
	return 300e6, 600e6
}

// The bar appears after a while, is gone before anything else is printed, comes
// again, and is gone at the end.
func TestProgress(t *testing.T) {
	var screen bytes.Buffer
	bar := func() bool {
		_, line, _ := strings.Cut("\r"+screen.String()[strings.LastIndex(screen.String(), "\n")+1:], "\r")
		last := line[strings.LastIndex(line, "\r")+1:]
		return strings.Contains(last, "50% |") && strings.Contains(last, "(300/600 MB")
	}
	p := newProgress(&screen, progressbar.OptionShowBytes(true), progressbar.OptionShowCount())
	p.shown = true
	p.step64(300e6, 600e6)
	if screen.Len() > 0 {
		t.Errorf("at once there is %q", screen.String())
	}
	p.begin = p.begin.Add(-progressAfter)
	p.step64(300e6, 600e6)
	if !bar() {
		t.Errorf("no bar: %q", screen.String())
	}
	warnings := &afterProgress{&screen, p}
	if _, err := warnings.Write([]byte("a warning\n")); err != nil {
		t.Fatal(err)
	}
	if s := screen.String(); !strings.HasSuffix(s, " \ra warning\n") || bar() {
		t.Errorf("before a warning there is %q", s)
	}
	p.step64(300e6, 600e6)
	if !bar() {
		t.Errorf("no bar after a warning: %q", screen.String())
	}
	p.finish()
	if s := screen.String(); !strings.HasSuffix(s, " \r") || bar() {
		t.Errorf("at the end there is %q", s)
	}
}

// A source is asked again and again until it is done with; one that cannot
// say, or where nobody looks, never.
func TestProgressFollows(t *testing.T) {
	var screen bytes.Buffer
	p := newProgress(&screen)
	src := &halfRead{}
	p.follow(src)()
	if n := src.asked.Load(); n != 0 {
		t.Errorf("no terminal, and asked %d times", n)
	}
	p.shown = true
	p.begin = p.begin.Add(-progressAfter)
	p.follow(struct{}{})()
	if screen.Len() > 0 {
		t.Errorf("nothing to follow: %q", screen.String())
	}
	stop := p.follow(src)
	for end := time.Now().Add(10 * time.Second); src.asked.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not asked again")
		}
	}
	stop()
	stop()
	if s := screen.String(); !strings.Contains(s, "50% |") || !strings.HasSuffix(s, " \r") {
		t.Errorf("at the end there is %q", s)
	}
}
