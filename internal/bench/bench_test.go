package bench_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os/exec"
	"strings"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/internal/bench"
	"finack/internal/pipeline"
	"finack/trace"
)

// small are captures of every kind that are read in a moment.
func small() map[string]bench.Spec {
	return map[string]bench.Spec{
		"short":           {Kind: bench.Short, Conns: 20_000},
		"short few":       {Kind: bench.Short, Conns: 2_000, Concurrency: 10, Seed: 7, Micros: true},
		"short many":      {Kind: bench.Short, Conns: 5_000, Concurrency: 20_000, Seed: 1},
		"bulk":            {Kind: bench.Bulk, Segments: 500},
		"open":            {Kind: bench.Open, Conns: 10_000},
		"open, in groups": {Kind: bench.Open, Conns: 10_000, Concurrency: 300},
		"flood":           {Kind: bench.Flood, Conns: 50_000, Concurrency: 100},
	}
}

// generate returns a capture and what it contains.
func generate(t testing.TB, spec bench.Spec) ([]byte, bench.Truth) {
	t.Helper()
	var b bytes.Buffer
	truth, err := bench.Generate(&b, spec)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), truth
}

// A tracker finds what the generator says that there is, on one core or on
// several.
func TestTruth(t *testing.T) {
	for name, spec := range small() {
		t.Run(name, func(t *testing.T) {
			data, want := generate(t, spec)
			for _, shards := range []int{1, 2, 4} {
				compare(t, data, want, &pipeline.Config{Shards: shards})
			}
		})
	}
}

// A table that is too small for a SYN flood lets half-open connections go, none
// of those that are established.
func TestFloodInABoundedTable(t *testing.T) {
	data, want := generate(t, bench.Spec{Kind: bench.Flood, Conns: 50_000, Concurrency: 100})
	totals := compare(t, data, want, &pipeline.Config{Tracker: &trace.Config{MaxConns: 1000}})
	if got := totals.Evicted; got < 48_000 {
		t.Errorf("%d connections evicted, want nearly all that are half open", got)
	}
}

func compare(t *testing.T, data []byte, want bench.Truth, cfg *pipeline.Config) trace.Stats {
	t.Helper()
	src, err := capture.NewReader(bytes.NewReader(data), "generated.pcap", nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source = src
	totals, err := pipeline.Run(context.Background(), *cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &totals.Summary
	got := bench.Truth{
		Packets: totals.Frames, Bytes: uint64(len(data)), Conns: s.Conns, Flows: s.Flows,
		Handshakes: s.Handshakes, Teardowns: s.Teardowns, TeardownsBy: s.TeardownsBy,
	}
	if got != want {
		t.Errorf("%d shards found\n%+v, want\n%+v", cfg.Shards, got, want)
	}
	if n := totals.Malformed + totals.Truncated + totals.Unknown + totals.Tracker.ClockSteps + totals.Tracker.Untracked; n != 0 {
		t.Errorf("%d shards: %d packets malformed or out of order: %+v", cfg.Shards, n, totals)
	}
	return totals.Tracker
}

// Nine in ten connections of a Short are seen from SYN to FIN, and its size is
// what the benchmarks say.
func TestShortIsOrdinary(t *testing.T) {
	_, truth := generate(t, bench.Spec{Kind: bench.Short, Conns: 20_000})
	whole := truth.Teardowns[trace.ThreeStep] + truth.Teardowns[trace.FourStep] + truth.Teardowns[trace.SimultaneousClose]
	if whole*10 < truth.Conns*9 {
		t.Errorf("%d of %d connections from SYN to FIN", whole, truth.Conns)
	}
	if perConn := float64(truth.Packets) / float64(truth.Conns+truth.Flows); perConn < 9.5 || perConn > 10.1 {
		t.Errorf("%.2f packets in a connection, want about 9.8", perConn)
	}
}

// Every checksum is right. (finack sets BadSum, tcpdump says "incorrect".)
func TestChecksums(t *testing.T) {
	for name, spec := range small() {
		t.Run(name, func(t *testing.T) {
			data, _ := generate(t, spec)
			src, err := capture.NewReader(bytes.NewReader(data), "generated.pcap", nil)
			if err != nil {
				t.Fatal(err)
			}
			var f decode.Frame
			var p decode.Packet
			var d decode.Decoder
			for n := 1; ; n++ {
				if err := src.ReadFrame(&f); err == io.EOF {
					return
				} else if err != nil {
					t.Fatal(err)
				}
				if err := d.Decode(&f, &p); err != nil || p.BadSum {
					t.Fatalf("frame %d: bad checksum %v, %v: % x", n, p.BadSum, err, f.Data)
				}
			}
		})
	}
}

func TestChecksumsByTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("needs tcpdump")
	}
	data, truth := generate(t, bench.Spec{Kind: bench.Short, Conns: 300})
	cmd := exec.Command(tcpdump, "-nnvvr", "-")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	if n := uint64(strings.Count(text, "(correct)") + strings.Count(text, "[udp sum ok]")); n != truth.Packets {
		t.Errorf("tcpdump finds %d right checksums in %d packets:\n%.2000s", n, truth.Packets, text)
	}
	for _, bad := range []string{"incorrect", "bad cksum", "bad udp cksum"} {
		if at := strings.Index(text, bad); at >= 0 {
			t.Errorf("tcpdump: %.300s", text[max(0, at-200):])
		}
	}
}

// The bytes are the same for ever: who has measured with them can do so again.
func TestDeterministic(t *testing.T) {
	for name, want := range map[string]string{
		"short": "cf91dc63d123a916",
		"bulk":  "f7374416a10306b7",
		"open":  "b805053c6f4237d1",
		"flood": "80d93c9dbfad3b82",
	} {
		data, _ := generate(t, small()[name])
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: SHA-256 begins with %s, want %s", name, got, want)
		}
	}
}

func TestSpecIsChecked(t *testing.T) {
	for _, spec := range []bench.Spec{{Kind: "long"}, {Kind: bench.Short, Conns: -1}, {Kind: bench.Open, Conns: 1 << 40}} {
		if _, err := bench.Generate(io.Discard, spec); err == nil {
			t.Errorf("%+v: no error", spec)
		}
	}
}

// A disk that is full ends the capture with its error.
func TestGenerateTellsOfAnError(t *testing.T) {
	if _, err := bench.Generate(full{}, bench.Spec{Kind: bench.Short, Conns: 10}); err != io.ErrShortWrite {
		t.Errorf("error %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func BenchmarkGenerate(b *testing.B) {
	for _, kind := range bench.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			spec := bench.Spec{Kind: kind}
			if kind != bench.Bulk {
				spec.Conns = 100_000
			}
			var packets uint64
			for b.Loop() {
				truth, err := bench.Generate(io.Discard, spec)
				if err != nil {
					b.Fatal(err)
				}
				packets += truth.Packets
				b.SetBytes(int64(truth.Bytes))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
		})
	}
}
