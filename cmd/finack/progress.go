package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how much of something long is done, on a terminal. Any
// goroutine may use it.
type progress struct {
	w       io.Writer
	shown   bool // w is a terminal
	begin   time.Time
	options []progressbar.Option

	mu  sync.Mutex
	bar *progressbar.ProgressBar // nil before the first step and after finish
}

const (
	// A bar is only worth the flicker for what takes longer.
	progressAfter = 500 * time.Millisecond
	// progressEvery is how often the bar of a source is drawn.
	progressEvery = 100 * time.Millisecond
)

func newProgress(w io.Writer, options ...progressbar.Option) *progress {
	return &progress{w: w, begin: time.Now(), shown: isTerminal(w), options: options}
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	if after, ok := w.(*afterProgress); ok {
		w = after.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// step says how much is done.
func (p *progress) step(done, total int) { p.step64(int64(done), int64(total)) }

func (p *progress) step64(done, total int64) {
	if !p.shown || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total, append([]progressbar.Option{
			progressbar.OptionSetWriter(p.w), progressbar.OptionSetWidth(40), progressbar.OptionSetPredictTime(true),
		}, p.options...)...)
		p.bar.StartWithoutRender()
	}
	if time.Since(p.begin) >= progressAfter {
		// What is all done need not be over: finish is what removes the bar.
		_ = p.bar.Set64(min(done, total-1))
	}
}

// finish removes the bar.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// follow shows how far a source has come, until stop is called. What does not
// know how much there is has no bar.
func (p *progress) follow(source any) (stop func()) {
	src, ok := source.(interface{ Progress() (done, total int64) })
	if !p.shown || !ok {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			p.step64(src.Progress())
			select {
			case <-tick.C:
			case <-end:
				p.finish()
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-ended
	})
}

// afterProgress removes the bar before anything is printed; the next step, if
// there is one, draws it again.
type afterProgress struct {
	io.Writer
	progress *progress
}

func (w *afterProgress) Write(b []byte) (int, error) {
	w.progress.mu.Lock()
	defer w.progress.mu.Unlock()
	if w.progress.bar != nil {
		_ = w.progress.bar.Clear()
	}
	return w.Writer.Write(b)
}
