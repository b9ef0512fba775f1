package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/internal/pipeline"
	"finack/internal/render"
	"finack/trace"
)

// sizes are small captures of every kind.
var sizes = map[Kind]int{Short: 20_000, Bulk: 1, Open: 20_000, Flood: 50_000}

// What the tracker says of a capture is what was made, however many shards
// there are.
func TestTheTrackerFindsWhatWasMade(t *testing.T) {
	for kind, n := range sizes {
		t.Run(string(kind), func(t *testing.T) {
			var file bytes.Buffer
			truth, err := Generate(&file, Spec{Kind: kind, Conns: n})
			if err != nil {
				t.Fatal(err)
			}
			var first string
			for _, shards := range []int{1, 2, 4} {
				src, err := capture.NewReader(bytes.NewReader(file.Bytes()), "made", nil)
				if err != nil {
					t.Fatal(err)
				}
				digest := sha256.New()
				totals, err := pipeline.Run(context.Background(), pipeline.Config{
					Source: src, Shards: shards, Renderer: &render.JSON{}, Out: digest,
					Hide: trace.AllKinds &^ trace.KindsOf(trace.ConnReleased),
				})
				if err != nil {
					t.Fatal(err)
				}
				s := &totals.Summary
				got := Truth{totals.Frames, s.Conns, s.Flows, s.Handshakes, s.Teardowns, s.Closers}
				if got != truth {
					t.Errorf("%d shards: found\n%+v, made\n%+v", shards, got, truth)
				}
				if n := totals.Malformed + totals.Truncated + totals.Unknown + totals.Tracker.Evicted; n != 0 {
					t.Errorf("%d shards: %d frames malformed or connections evicted", shards, n)
				}
				if sum := fmt.Sprintf("%x", digest.Sum(nil)); first == "" {
					first = sum
				} else if sum != first {
					t.Errorf("%d shards tell something else than one", shards)
				}
			}
		})
	}
}

// Checksums are right: a capture that knows that they are complete shows none that is wrong.
func TestChecksumsAreRight(t *testing.T) {
	var file bytes.Buffer
	if _, err := Generate(&file, Spec{Conns: 500}); err != nil {
		t.Fatal(err)
	}
	src, err := capture.NewReader(&file, "made", nil)
	if err != nil {
		t.Fatal(err)
	}
	var f decode.Frame
	var d decode.Decoder
	var p decode.Packet
	for n := 0; ; n++ {
		if err := src.ReadFrame(&f); err == io.EOF {
			if n < 4000 {
				t.Errorf("only %d frames", n)
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
		f.Checksums = decode.ChecksumsComplete
		if err := d.Decode(&f, &p); err != nil || p.BadSum {
			t.Fatalf("frame %d: %v, wrong checksum: %v", n, err, p.BadSum)
		}
	}
}

// A seed makes the same capture for ever: results of different days compare.
func TestSeedsMakeTheSame(t *testing.T) {
	sum := func(seed uint64) string {
		h := sha256.New()
		if _, err := Generate(h, Spec{Conns: 1000, Seed: seed}); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", h.Sum(nil))[:16]
	}
	if got, want := sum(0), "646e7f546f618c53"; got != want {
		t.Errorf("seed 0 makes %s, not %s as before", got, want)
	}
	if sum(1) == sum(0) {
		t.Error("another seed makes the same")
	}
}

func TestUnknownKind(t *testing.T) {
	if _, err := Generate(io.Discard, Spec{Kind: "long"}); err == nil {
		t.Error("no error")
	}
}

func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	packets := uint64(0)
	for b.Loop() {
		truth, err := Generate(io.Discard, Spec{Conns: 10_000})
		if err != nil {
			b.Fatal(err)
		}
		packets += truth.Packets
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}
