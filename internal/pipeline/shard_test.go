package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// told runs a source and returns all that is printed of it, and the error.
func toldBy(t *testing.T, src capture.Source, shards int, cfg Config) string {
	t.Helper()
	var out bytes.Buffer
	cfg.Source, cfg.Shards, cfg.Out, cfg.Renderer = src, shards, &out, &render.JSON{Verbose: true}
	_, err := Run(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String()
}

// same checks that the number of shards changes nothing of what is told.
func same(t *testing.T, open func() capture.Source) {
	t.Helper()
	for _, cfg := range []Config{
		{Tracker: &trace.Config{All: true}},
		{Hide: trace.AllKinds &^ trace.KindsOf(trace.ConnReleased)},
		{Hide: trace.AllKinds},
		{Hide: onlyAccounts, Where: func(c *trace.Conn) bool { return c.Packets[trace.Server] > 2 }},
		{Hide: trace.AllKinds, Where: func(c *trace.Conn) bool { return c.Teardown != trace.Reset }},
	} {
		want := toldBy(t, open(), 1, cfg)
		for _, n := range []int{2, 4, 7} {
			if got := toldBy(t, open(), n, cfg); got != want {
				t.Errorf("%d shards, hidden %b: %s", n, cfg.Hide, firstDifference(got, want))
			}
		}
	}
}

func firstDifference(got, want string) string {
	g, w := bytes.Split([]byte(got), []byte("\n")), bytes.Split([]byte(want), []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			return fmt.Sprintf("line %d is\n%s\nnot\n%s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(g), len(w))
}

func TestShardsChangeNothingOfRealCaptures(t *testing.T) {
	names, err := filepath.Glob("../../cmd/finack/testdata/*.pcap*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	if dir := os.Getenv("FINACK_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no captures in FINACK_CORPUS: %v", err)
		}
		names = append(names, more...)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			same(t, func() capture.Source {
				src, err := capture.OpenFile(name, nil)
				if err != nil {
					t.Skip(err) // damaged in its header
				}
				t.Cleanup(func() { src.Close() })
				return src
			})
		})
	}
}

// Many connections at once, whose timers fire at the same packet, with stamps
// that stand still, jump and step back, and ICMP errors that quote some of them.
func TestShardsChangeNothingOfRandomTraffic(t *testing.T) {
	for seed := range uint64(20) {
		list := randomTraffic(seed)
		same(t, func() capture.Source { return &frames{list: list, err: io.EOF} })
	}
}

// randomTraffic returns frames.
func randomTraffic(seed uint64) []decode.Frame {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var list []decode.Frame
	var waiting [][]decode.Frame
	for port := range uint16(300) {
		waiting = append(waiting, conversation(2000+port%250)) // some ports are used again
	}
	now := decode.Timestamp(1_700_000_000e9)
	for len(waiting) > 0 {
		i := rnd.IntN(min(len(waiting), 40))
		f := waiting[i][0]
		if waiting[i] = waiting[i][1:]; len(waiting[i]) == 0 {
			waiting = append(waiting[:i], waiting[i+1:]...)
		}
		switch rnd.IntN(200) {
		case 0:
			now += 61e9
		case 1:
			now -= 1e9
		case 2, 3, 4, 5:
			list = append(list, refused(now, &f))
		default:
			now += decode.Timestamp(rnd.IntN(3)) * 1e6
		}
		f.Time = now
		list = append(list, f)
	}
	return list
}

// refused returns an ICMP error, sent by a router, that quotes a frame.
func refused(at decode.Timestamp, quoted *decode.Frame) decode.Frame {
	b := make([]byte, 28, 28+len(quoted.Data))
	copy(b, quoted.Data[:20])
	copy(b[12:], []byte{10, 9, 9, 9})
	copy(b[16:], quoted.Data[12:16])
	b[9], b[20], b[21] = 1, 3, 1
	b = append(b, quoted.Data[:28]...)
	b[2], b[3] = 0, byte(len(b))
	return decode.Frame{Time: at, Link: decode.LinkRaw, Wire: len(b), Data: b}
}

func TestShardsEndOnAnOutputError(t *testing.T) {
	var list []decode.Frame
	for port := range uint16(5000) {
		list = append(list, conversation(2000+port)...)
	}
	src := &frames{list: list, err: io.EOF}
	totals, err := Run(context.Background(), Config{Source: src, Shards: 3, Renderer: &render.Text{}, Out: failing{}})
	if !errors.Is(err, ErrOutput) {
		t.Errorf("error %v, want ErrOutput", err)
	}
	if totals.Frames == uint64(len(list)) {
		t.Error("everything was read after the output had failed")
	}
}
