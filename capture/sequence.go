package capture

import (
	"errors"
	"io"
	"sync"
	"time"

	"finack/decode"
)

// Sequence reads several files one after the other as one capture.
type Sequence struct {
	mu     sync.Mutex
	files  []*File
	done   []*File // read to the end
	closed bool
}

// OpenFiles opens all of names, so that a missing one is told before anything
// is read. See OpenFile.
func OpenFiles(names []string, cfg *FileConfig) (*Sequence, error) {
	s := &Sequence{}
	for _, name := range names {
		f, err := OpenFile(name, cfg)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.files = append(s.files, f)
	}
	return s, nil
}

func (s *Sequence) current() *File {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return nil
	}
	return s.files[0]
}

// ReadFrame implements Source.
func (s *Sequence) ReadFrame(f *decode.Frame) error {
	for {
		cur := s.current()
		if cur == nil {
			return io.EOF
		}
		err := cur.ReadFrame(f)
		if !errors.Is(err, io.EOF) || errors.Is(err, ErrFormat) {
			return err
		}
		s.mu.Lock()
		if !s.closed {
			_ = cur.Close()
		}
		s.done, s.files = append(s.done, cur), s.files[1:]
		s.mu.Unlock()
	}
}

// Buffered reports whether ReadFrame has a whole frame at hand.
func (s *Sequence) Buffered() bool {
	cur := s.current()
	return cur != nil && cur.Buffered()
}

// SetReadDeadline does nothing.
func (s *Sequence) SetReadDeadline(time.Time) error { return nil }

// Stats returns the sum over all files.
func (s *Sequence) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum Stats
	for _, list := range [...][]*File{s.done, s.files} {
		for _, f := range list {
			st, err := f.Stats()
			if err != nil {
				return sum, err
			}
			sum.Frames += st.Frames
			sum.Received += st.Received
			sum.Dropped += st.Dropped
			sum.BadStamps += st.BadStamps
		}
	}
	return sum, nil
}

// Close closes all files.
func (s *Sequence) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
