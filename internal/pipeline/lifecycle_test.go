package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/trace"
)

// captures returns the capture files at hand: the project's, and those of
// FINACK_CORPUS.
func captures(t *testing.T) []string {
	t.Helper()
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
	return names
}

// an outcome is what became of a connection. Bare tells whether all its
// segments only carry data.
type outcome struct {
	text string
	bare bool
}

// outcomes returns what became of the TCP connections in a file, by their
// endpoints and a number, and how many frames were taken.
func outcomes(t *testing.T, name, filter string, shards int, lifecycle bool) (found map[string]outcome, frames uint64) {
	t.Helper()
	src, err := capture.OpenFile(name, &capture.FileConfig{Filter: filter})
	if err != nil {
		t.Logf("%s: %v", name, err)
		return nil, 0
	}
	defer src.Close()
	found = map[string]outcome{}
	nth := map[string]int{}
	bare := map[uint64]bool{}
	take := func(events []trace.Event) {
		for i := range events {
			e := &events[i]
			switch {
			case e.Kind == trace.SegmentSeen:
				only := e.Len > 0 && !e.Flags.Any(decode.SYN|decode.FIN|decode.RST)
				if was, ok := bare[e.Conn]; !ok || was {
					bare[e.Conn] = only
				}
			case e.Kind == trace.ConnReleased && e.Verdict.Proto == decode.ProtoTCP:
				c := e.Verdict
				if c.DataUnseen != lifecycle {
					t.Errorf("%s: data unseen %t", name, c.DataUnseen)
				}
				ends := fmt.Sprintf("%s>%s", c.Client.AddrPort(), c.Server.AddrPort())
				nth[ends]++
				found[fmt.Sprintf("%s %d", ends, nth[ends])] = outcome{fmt.Sprintf("%s %s; %s by %s after %s, complete %t, closed by %q; %s %s; %v %v %v",
					c.Role, c.Handshake, c.Teardown, c.ResetBy, c.ResetAfter, c.Complete, c.Closer, c.States[0], c.States[1], c.SYN, c.FIN, c.RST), bare[e.Conn]}
			}
		}
	}
	totals, err := Run(context.Background(), Config{
		Source: src, Shards: shards, Tracker: &trace.Config{All: true, Lifecycle: lifecycle}, Events: take,
	})
	if err != nil {
		t.Logf("%s: %v", name, err) // damaged: up to there
	}
	return found, totals.Frames
}

// Births and deaths alone lead to the same outcome in all files but these, and
// in these to less, however many shards there are.
func TestLifecycleOfRealCaptures(t *testing.T) {
	exceptions := map[string]string{
		"arcnet-rfc1051-arp-icmp-http.pcap": "the filter language knows RFC 1201 headers alone",
		"ipoib.pcap":                        "data may have acknowledged the FIN",
		"mptcp-v1.pcap":                     "data has acknowledged the FIN",
		"of13_ericsson.pcapng":              "only data shows that an end joined midstream has not closed before",
	}
	conns, all, kept := 0, uint64(0), uint64(0)
	for _, name := range captures(t) {
		want, n := outcomes(t, name, "", 1, false)
		all += n
		for _, shards := range []int{1, 2, 4} {
			got, m := outcomes(t, name, capture.LifecycleFilter(""), shards, true)
			if shards == 1 {
				conns, kept = conns+len(got), kept+m
			}
			differ := ""
			for key, w := range want {
				if got[key].text != w.text && !w.bare {
					differ += fmt.Sprintf("\n%s is\n%s\nnot\n%s", key, got[key].text, w.text)
				}
			}
			if base := filepath.Base(name); (differ != "") != (exceptions[base] != "") {
				t.Errorf("%s, %d shards, in the table for %q: %s", base, shards, exceptions[base], differ)
			}
		}
	}
	t.Logf("%d connections, %d of %d frames", conns, kept, all)
}

// The number of shards changes nothing of what births and deaths tell.
func TestShardsChangeNothingOfLifecycle(t *testing.T) {
	for _, name := range captures(t) {
		cfg := Config{Tracker: &trace.Config{All: true, Lifecycle: true}}
		open := func() capture.Source {
			src, err := capture.OpenFile(name, &capture.FileConfig{Filter: capture.LifecycleFilter("")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { src.Close() })
			return src
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			want := toldBy(t, open(), 1, cfg)
			for _, n := range []int{2, 4} {
				if got := toldBy(t, open(), n, cfg); got != want {
					t.Errorf("%d shards: %s", n, firstDifference(got, want))
				}
			}
		})
	}
}
