package tracetest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/fixture"
	"finack/trace"
)

// updateMarker is the variable that has Golden rewrite its files.
const updateMarker = "FINACK_UPDATE"

// Golden fails the test unless a connection or flow is like the one in a file,
// as testdata/halfclose.txtar, and shows what differs. They are compared by what
// they mean: what each side has sent, in its order, and how the connection
// opened and closed; not by ports, sequence numbers, times, how bytes were cut
// into segments or when they were acknowledged, three steps or four. What was
// sent again is left out, as a busy machine does that even on loopback: see
// NoRetransmits.
//
// With FINACK_UPDATE=1 in the environment the file is written where there is
// none or where it differs; its prose and its settings stay. It is a fixture:
// text to be read in a review and to be checked by "finack check".
func Golden(t testing.TB, c Traced, file string) {
	t.Helper()
	a := c.traced()
	golden, err := fixture.Read(file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		t.Fatalf("tracetest: %v", err)
	}
	what := file + ": there is no such file\n" + updateMarker + "=1 writes it"
	if !missing {
		report, err := golden.Against(&replay{frames: a.once()})
		if err != nil {
			t.Fatalf("tracetest: %v", err)
		}
		if report.OK() {
			return
		}
		what = strings.TrimSpace(report.String()) + "\n" + updateMarker + "=1 rewrites it"
	}
	if os.Getenv(updateMarker) != "1" {
		a.fail(t, -1, "golden %s", what)
		return
	}
	if err := a.writeGolden(t.Name(), golden, file); err != nil {
		t.Fatalf("tracetest: golden %s: %v", file, err)
	}
	t.Logf("golden %s is written", file)
}

// Traced is what can be compared with a golden file: *Conn and *Flow.
type Traced interface{ traced() *account }

func (a *account) traced() *account { return a }

// writeGolden writes the fixture of a connection in place of old, if that is not nil.
func (a *account) writeGolden(test string, old *fixture.Fixture, file string) error {
	comment := "What " + test + " has seen."
	var r fixture.Recorder
	if old != nil {
		comment, r.Config = old.Comment, old.Config
	}
	frames := a.once()
	for i := range frames {
		if err := r.Add(&frames[i]); err != nil {
			return err
		}
	}
	f, err := r.Fixture(file, comment)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	return f.Write(file)
}

// once returns the frames without those that only repeat what was sent before.
func (a *account) once() (frames []decode.Frame) {
	var next [2]uint32 // one past the highest number that a side has sent
	for n, i := range a.packets() {
		e := &a.events[i]
		end := e.Seq + e.SeqLen()
		again := e.Note&(trace.Retransmission|trace.Duplicate) != 0
		if again && int32(end-next[e.From]) <= 0 {
			continue
		}
		if e.Kind == trace.SegmentSeen && (e.SeqBase == e.Seq || int32(end-next[e.From]) > 0) {
			next[e.From] = end
		}
		frames = append(frames, a.frames[n])
	}
	return frames
}

// replay is a capture.Source of frames that are there.
type replay struct {
	frames []decode.Frame
	next   int
}

func (r *replay) ReadFrame(f *decode.Frame) error {
	if r.next == len(r.frames) {
		return io.EOF
	}
	data := append(f.Data[:0], r.frames[r.next].Data...)
	*f = r.frames[r.next]
	f.Data = data
	r.next++
	return nil
}

func (r *replay) SetReadDeadline(time.Time) error { return nil }
func (r *replay) Stats() (capture.Stats, error)   { return capture.Stats{Frames: uint64(r.next)}, nil }
func (r *replay) Close() error                    { return nil }
