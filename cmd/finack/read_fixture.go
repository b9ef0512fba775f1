package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"finack/capture"
	"finack/decode"
	"finack/internal/fixture"
)

// recording makes a fixture of the frames that are read. Without a path it
// does nothing.
type recording struct {
	path     string
	filter   string
	comment  string
	recorder fixture.Recorder
}

// begin looks at the flags and says in prose where the frames come from.
func (r *recording) begin(o *output, files []string, filter string) error {
	if r.path == "" {
		return nil
	}
	if r.path == "-" && o.write == "-" {
		return usagef("read --fixture -: stdout is the capture's already, by -w -")
	}
	if o.udpTimeout != defaultUDPTimeout {
		r.recorder.Config.UDPTimeout = o.udpTimeout
	}
	names := make([]string, len(files))
	for i, name := range files {
		names[i] = filepath.Base(name)
	}
	from := strings.Join(names, ", ")
	if from == "-" {
		from = "standard input"
	}
	if r.filter = filter; filter != "" {
		from += fmt.Sprintf(" with the filter '%s'", filter)
	}
	r.comment = "Made from " + from + ".\nThe verdict is the tracker's own: read it before you rely on it.\n"
	return nil
}

// source returns src, each frame of which is written down as it is read.
func (r *recording) source(src capture.Source) capture.Source {
	if r.path == "" {
		return src
	}
	return &recordedSource{src, r}
}

type recordedSource struct {
	capture.Source
	recording *recording
}

// ReadFrame implements capture.Source. A frame that a fixture cannot keep is an error.
func (s *recordedSource) ReadFrame(f *decode.Frame) error {
	if err := s.Source.ReadFrame(f); err != nil {
		return err
	}
	if err := s.recording.recorder.Add(f); err != nil {
		return s.recording.refuse(err)
	}
	return nil
}

// Buffered reports whether ReadFrame would not block.
func (s *recordedSource) Buffered() bool {
	b, ok := s.Source.(interface{ Buffered() bool })
	return ok && b.Buffered()
}

// refuse says what of the capture a fixture cannot keep, and how to leave it out.
func (r *recording) refuse(err error) error {
	var frame *fixture.FrameError
	if errors.As(err, &frame) && r.filter != "" {
		text := fmt.Sprintf("frame %d of those that the filter passes: %v", frame.Frame, frame.Err)
		if frame.Filter != "" {
			text += fmt.Sprintf(": leave such frames out with the filter '(%s) and (%s)'", r.filter, frame.Filter)
		}
		return usagef("--fixture %s: %s", r.path, text)
	}
	return usagef("--fixture %s: %w", r.path, err)
}

// finish writes the fixture. One that exists stays: its prose and its verdict
// may be written by hand.
func (r *recording) finish(s std) error {
	if r.path == "" {
		return nil
	}
	f, err := r.recorder.Fixture(r.path, r.comment)
	if err != nil {
		return r.refuse(err)
	}
	if r.path == "-" {
		_, err := s.out.Write(f.Format())
		return err
	}
	switch old, err := os.ReadFile(r.path); {
	case errors.Is(err, fs.ErrNotExist):
		return f.Write(r.path)
	case err != nil:
		return err
	case !bytes.Equal(old, f.Format()):
		return usagef("--fixture %s: is there already and is not the same: remove it, or compare it by finack check --against CAPTURE %s", r.path, r.path)
	}
	return nil
}
