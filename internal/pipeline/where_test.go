package pipeline

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

const onlyAccounts = trace.AllKinds &^ (1<<trace.ConnClosed | 1<<trace.ConnReleased)

// Who is shown is counted, also where what comes after the teardown changes
// what a predicate says.
func TestWhereShowsWhatItCounts(t *testing.T) {
	list := conversation(4000)
	list = append(list, conversation(4001)...)
	list = append(list, tcp4(8, 1, 4001, true, decode.ACK, 107, 302, 0)) // after its close
	for name, tt := range map[string]struct {
		where func(*trace.Conn) bool
		want  []string
	}{
		"all":          {func(*trace.Conn) bool { return true }, []string{"#1", "#2"}},
		"none":         {func(*trace.Conn) bool { return false }, nil},
		"one":          {func(c *trace.Conn) bool { return c.Client.Port == 4001 }, []string{"#2"}},
		"after it all": {func(c *trace.Conn) bool { return c.Packets[trace.Client] == 6 }, []string{"#2"}},
		"at its close": {func(c *trace.Conn) bool { return c.Packets[trace.Client] == 5 && c.Client.Port == 4001 }, []string{"#2"}},
	} {
		for _, r := range []Renderer{&render.Text{}, &render.JSON{}} {
			var out bytes.Buffer
			totals, err := Run(context.Background(), Config{
				Source: &frames{list: list, err: io.EOF}, Renderer: r, Out: &out, Where: tt.where, Hide: onlyAccounts,
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if id, _, _ := strings.Cut(line, " "); strings.HasPrefix(line, "#") {
					got = append(got, id)
				} else if _, rest, ok := strings.Cut(line, `"connection","id":`); ok {
					got = append(got, "#"+rest[:1])
				}
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") || totals.Summary.Conns != len(tt.want) || totals.Tracker.Conns != 2 {
				t.Errorf("%s: %T shows %v, counts %d of %d; want %v", name, r, got, totals.Summary.Conns, totals.Tracker.Conns, tt.want)
			}
		}
	}
}

// The end of the context is told as an interruption, the end of the source is not.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	src := &endless{frames: frames{list: conversation(4000)}, cancel: cancel, closed: make(chan struct{})}
	totals, err := Run(ctx, Config{Source: src})
	if err != nil || !totals.Interrupted || totals.Frames != 7 || totals.Summary.Conns != 1 {
		t.Errorf("%+v, %v", totals, err)
	}
	totals, err = Run(context.Background(), Config{Source: &frames{list: conversation(4000), err: io.EOF}})
	if err != nil || totals.Interrupted {
		t.Errorf("%+v, %v", totals, err)
	}
}

// endless is a source that, after its frames, waits until it is closed, which
// the end of the context that it cancels does.
type endless struct {
	frames
	cancel context.CancelFunc
	closed chan struct{}
}

func (s *endless) ReadFrame(f *decode.Frame) error {
	if s.Buffered() {
		return s.frames.ReadFrame(f)
	}
	s.cancel()
	<-s.closed
	return net.ErrClosed
}

func (s *endless) Close() error {
	close(s.closed)
	return nil
}
