// Package bench makes captures of known contents, deterministic and of any
// size, to measure and to test with.
//
// A capture is a small simulation: connections begin at a steady rate, each
// with a plan (see plans.go) of who sends what after what delay. Since plans
// say how a connection opens and ends, the generator knows what a tracker must
// find. The same Spec makes the same bytes for ever.
package bench

import (
	"fmt"
	"io"

	"finack/trace"
)

// Kind is a kind of capture.
type Kind string

// The kinds of capture.
const (
	Short Kind = "short" // many short connections, some datagrams: a busy server's day in small
	Bulk  Kind = "bulk"  // few connections with many segments of full size, each second one acknowledged
	Open  Kind = "open"  // connections that open, exchange one request and stay open, in random order
	Flood Kind = "flood" // a SYN flood, and connections that go on through it and close after it
)

// Kinds returns the kinds of capture.
func Kinds() []Kind { return []Kind{Short, Bulk, Open, Flood} }

// Spec says what to generate. Zero values are the kind's defaults.
type Spec struct {
	Kind Kind
	// Conns is the number of connections; of a Flood, of half-open ones.
	// Default: 500,000 for Short, 8 for Bulk, 1,000,000 for Open, 5,000,000
	// for Flood.
	Conns int
	// Concurrency is about how many are open at any time; of a Flood, the
	// number of established ones. Default 1,000; all of them for Bulk and Open.
	// Open with less resets those that are open before it goes on.
	Concurrency int
	// Segments is the number of full-size segments in each connection of a
	// Bulk. Default 50,000.
	Segments int
	// Seed chooses among captures of one kind.
	Seed uint64
	// Micros makes timestamps of microseconds, what tcpdump writes, instead of
	// nanoseconds.
	Micros bool
}

// rate is how many connections begin in a second of capture time. With a
// TIME_WAIT of 60 s, 60,000 of a Short are in it.
const rate = 1000

func (s Spec) withDefaults() (Spec, error) {
	def := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	switch s.Kind {
	case Short:
		def(&s.Conns, 500_000)
		def(&s.Concurrency, 1000)
	case Bulk:
		def(&s.Conns, 8)
		s.Concurrency = s.Conns
		def(&s.Segments, 50_000)
	case Open:
		def(&s.Conns, 1_000_000)
		def(&s.Concurrency, s.Conns)
	case Flood:
		def(&s.Conns, 5_000_000)
		def(&s.Concurrency, 1000)
	default:
		return s, fmt.Errorf("generate %q: no such kind of capture", s.Kind)
	}
	if total := s.Conns + s.Concurrency; s.Conns < 0 || s.Concurrency < 0 || s.Segments < 0 || total > maxConns {
		return s, fmt.Errorf("generate %s: numbers of connections and segments go from 1 to %d", s.Kind, maxConns)
	}
	return s, nil
}

// Check says what is wrong with a Spec, if anything.
func (s Spec) Check() error {
	_, err := s.withDefaults()
	return err
}

// Truth is what a capture contains.
type Truth struct {
	Packets     uint64
	Bytes       uint64 // of the file
	Conns       int    // TCP connections
	Flows       int    // UDP flows
	Handshakes  [trace.Refused + 1]int
	Teardowns   [trace.Reset + 1]int
	TeardownsBy [trace.Reset + 1][trace.ClosedUnknown + 1]int // by the closer; of a Reset, by the side that sent it
}

func (t *Truth) add(p *plan) {
	if p.udp {
		t.Flows++
		return
	}
	t.Conns++
	t.Handshakes[p.handshake]++
	t.Teardowns[p.teardown]++
	if p.by != trace.NoCloser {
		t.TeardownsBy[p.teardown][p.by]++
	}
}

// Generate writes a capture as a classic pcap file of Ethernet frames.
func Generate(w io.Writer, spec Spec) (Truth, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return Truth{}, err
	}
	g := newGenerator(w, spec)
	switch spec.Kind {
	case Short:
		g.short()
	case Bulk:
		g.bulk()
	case Open:
		g.open()
	case Flood:
		g.flood()
	}
	g.out.flush()
	g.truth.Packets, g.truth.Bytes = g.out.packets, g.out.bytes
	return g.truth, g.out.err
}
