package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"finack/decode"
)

// Sequence reads several files as one capture, in the order of time: the frame
// that comes next is the earliest of the files' next frames, of equal ones that
// of the file that was named first. A file's own frames keep their order, also
// where their time goes back.
//
// A file is open, and takes memory, only from the time of its first frame to
// its end, so that any number of files that follow one another may be read;
// what limits files that overlap is RLIMIT_NOFILE (see getrlimit(2)). A pipe or
// a terminal is open all the time, and a frame of another file waits for its next.
//
// A file that is damaged ends there; ReadFrame returns its error when the
// others have ended.
type Sequence struct {
	cfg   *FileConfig
	order []*member // a heap by before
	// limit is the time until which order's first stays the first; at that
	// time, only if tie is set.
	limit decode.Timestamp
	tie   bool
	err   error // what was wrong with files that are done
	stats Stats // of files that are done

	mu     sync.Mutex // guards what Close and Progress need
	all    []*member
	closed bool
}

// member is one of a Sequence's files.
type member struct {
	name  string
	index int
	at    decode.Timestamp // of the next frame, or earlier; not kept up while first
	file  *File            // nil while not open; changes with Sequence.mu held
	done  int64            // bytes of it that need not be read any more, once it is closed
	size  int64            // on disk; 0 if not known
}

// unknown is the time of a frame that has yet to be read.
const unknown = decode.Timestamp(math.MinInt64)

// OpenFiles returns the capture that all of names are together; see OpenFile.
// So that what is wrong with a name is told before anything is read, and the
// files' order is known, it opens every one and reads the first frame of those
// that are regular files. One that cannot be opened is an error; one that is no
// capture is ReadFrame's last error, unless all of them are such.
func OpenFiles(names []string, cfg *FileConfig) (*Sequence, error) {
	s := &Sequence{cfg: cfg}
	for i, name := range names {
		m := &member{name: name, index: i, at: unknown}
		var err error
		if st, serr := os.Stat(name); len(names) > 1 && serr == nil && st.Mode().IsRegular() {
			err = m.probe(cfg)
		} else {
			m.file, err = OpenFile(name, cfg)
		}
		switch {
		case err == nil:
			if m.file != nil {
				_, m.size = m.file.Progress()
			}
			s.all, s.order = append(s.all, m), append(s.order, m)
		case errors.Is(err, ErrFormat):
			s.failed(err)
		default:
			_ = s.Close()
			return nil, err
		}
	}
	if len(s.order) == 0 && s.err != nil {
		return nil, s.err
	}
	slices.SortFunc(s.order, func(a, b *member) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.index, b.index)) })
	s.settle()
	return s, nil
}

// probe finds out when m's first frame was captured. What is wrong with the
// frame itself is told when it is m's turn.
func (m *member) probe(cfg *FileConfig) error {
	f, err := newFile(m.name, cfg)
	if err != nil {
		return err
	}
	// The filter might look for its first frame until the end of the file.
	f.probe, f.filter = true, nil
	if err := f.open(); err != nil {
		return err
	}
	defer f.Close()
	_, m.size = f.Progress()
	if f.peek(true) == nil {
		m.at = f.peeked.Time
	}
	return nil
}

// ReadFrame implements Source. Frame.Iface is File's.
func (s *Sequence) ReadFrame(fr *decode.Frame) error {
	own := fr.Data
	return owned(fr, own, s.NextFrame(fr))
}

// NextFrame is ReadFrame without the copy, as File's is.
func (s *Sequence) NextFrame(fr *decode.Frame) error {
	for len(s.order) > 0 {
		m := s.order[0]
		if m.file == nil {
			if err := s.open(m); err != nil {
				return err
			}
			continue
		}
		switch err := m.file.NextFrame(fr); {
		case err == nil && (fr.Time < s.limit || fr.Time == s.limit && s.tie):
			return nil
		case err == nil:
			m.file.unread(fr)
			s.later(fr.Time)
		case err == net.ErrClosed:
			return err
		default:
			s.finish(m, err)
		}
	}
	return s.end()
}

// end returns what ReadFrame returns after the last frame.
func (s *Sequence) end() error {
	if s.err != nil {
		return s.err
	}
	return io.EOF
}

// failed takes note of what was wrong with a file.
func (s *Sequence) failed(err error) {
	if s.err != nil {
		err = fmt.Errorf("%w; %w", s.err, err)
	}
	s.err = err
}

// open opens the first file. What is wrong with it now is its end.
func (s *Sequence) open(m *member) error {
	f, err := OpenFile(m.name, s.cfg)
	if err != nil {
		s.finish(m, err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = f.Close()
		return net.ErrClosed
	}
	m.file = f
	return nil
}

// finish takes the first file, which has ended with err, out of the order.
func (s *Sequence) finish(m *member, err error) {
	if err != io.EOF {
		s.failed(err)
	}
	s.mu.Lock()
	m.done = m.size
	if m.file != nil {
		s.stats = s.stats.plus(m.file.stats)
		if m.size == 0 {
			m.done, _ = m.file.Progress()
		}
		_ = m.file.Close() // it was only read
		m.file = nil
	}
	s.mu.Unlock()
	last := len(s.order) - 1
	s.order[0], s.order = s.order[last], s.order[:last]
	s.settle()
}

// later says that the first file's next frame is of time at.
func (s *Sequence) later(at decode.Timestamp) {
	s.order[0].at = at
	s.settle()
}

// settle makes a heap of order again, of which the first may be in the wrong
// place, and finds out how long the new first stays the first.
func (s *Sequence) settle() {
	h := s.order
	least := func(i, j int) int { // the index of the one that comes first
		if j < len(h) && h[j].before(h[i]) {
			return j
		}
		return i
	}
	for i := 0; i < len(h); {
		child := least(least(i, 2*i+1), 2*i+2)
		if child == i {
			break
		}
		h[i], h[child], i = h[child], h[i], child
	}
	s.limit, s.tie = math.MaxInt64, true
	if len(h) > 1 {
		next := h[least(1, 2)]
		s.limit, s.tie = next.at, h[0].index < next.index
	}
}

// before reports whether m's next frame comes before o's.
func (m *member) before(o *member) bool {
	return m.at < o.at || m.at == o.at && m.index < o.index
}

// Buffered reports whether the next ReadFrame returns without reading input;
// see File.Buffered. Of several files it is false also where one begins or ends.
func (s *Sequence) Buffered() bool {
	for len(s.order) > 0 {
		m := s.order[0]
		switch {
		case m.file == nil:
			return false
		case len(s.order) == 1:
			return m.file.Buffered()
		case m.file.peek(false) != nil:
			return false
		case m.file.peeked.Time < s.limit || m.file.peeked.Time == s.limit && s.tie:
			return true
		}
		s.later(m.file.peeked.Time)
	}
	return true
}

// Waits reports whether one of the files may have to be waited for.
func (s *Sequence) Waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.all, func(m *member) bool { return m.size == 0 })
}

// Progress returns the sums of File.Progress; total is 0 where one file's is.
// It may be called from any goroutine.
func (s *Sequence) Progress() (done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := true
	for _, m := range s.all {
		n := m.done
		if m.file != nil {
			n, _ = m.file.Progress()
		}
		done, total = done+n, total+m.size
		known = known && m.size > 0
	}
	if !known {
		total = 0
	}
	return done, total
}

// SetReadDeadline implements Source, as File's does.
func (s *Sequence) SetReadDeadline(time.Time) error { return nil }

// Stats implements Source: it returns the sum over all files.
func (s *Sequence) Stats() (Stats, error) {
	sum := s.stats
	for _, m := range s.order {
		if m.file != nil {
			sum = sum.plus(m.file.stats)
		}
	}
	return sum, nil
}

// plus returns the sums of two files' counters.
func (s Stats) plus(t Stats) Stats {
	s.Frames += t.Frames
	s.Received += t.Received
	s.BadStamps += t.BadStamps
	return s
}

// Close implements Source: it closes all files.
func (s *Sequence) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, m := range s.all {
		if m.file != nil {
			errs = append(errs, m.file.Close())
		}
	}
	return errors.Join(errs...)
}
