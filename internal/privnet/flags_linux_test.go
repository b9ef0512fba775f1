package privnet_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/internal/privnet"
)

// drain reads until the peer has closed.
func drain(t *testing.T, c io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkRules compares what the rules have done.
func checkRules(t *testing.T, w *privnet.Wire, want ...privnet.RuleStats) {
	t.Helper()
	if diff := cmp.Diff(want, stats(t, w).Rules); diff != "" {
		t.Errorf("rules (-want +got)\n%s", diff)
	}
}

// Of these segments, which belong to nothing, each rule matches exactly those
// that have its flags.
func TestFlagsMatch(t *testing.T) {
	w := newWire(t,
		privnet.Rule{Flags: decode.SYN},              // alone: no SYN-ACK
		privnet.Rule{Flags: decode.SYN | decode.ACK}, // and a SYN-ACK no SYN
		privnet.Rule{Flags: decode.SYN | decode.ECE}, // not alone: ACK does not matter
		privnet.Rule{Flags: decode.ACK},
		privnet.Rule{Flags: decode.FIN},
		privnet.Rule{Flags: decode.FIN | decode.ACK},
		privnet.Rule{Flags: decode.FIN | decode.SYN},
		privnet.Rule{Flags: decode.CWR},
		privnet.Rule{From: privnet.B, Flags: decode.ACK},
		privnet.Rule{Flags: decode.FIN, Filter: "udp or tcp"}, // the whole filter and the flags
		privnet.Rule{Flags: decode.FIN, Filter: "udp or icmp"},
		privnet.Rule{Flags: decode.FIN, Filter: "tcp", Nth: 2, Drop: true},
		privnet.Rule{Flags: decode.FIN},
	)
	sendSegments(t, w,
		decode.SYN,
		decode.SYN|decode.ECE|decode.CWR,
		decode.SYN|decode.ACK|decode.ECE,
		decode.ACK,
		decode.PSH|decode.ACK,
		decode.FIN|decode.ACK,
		decode.FIN|decode.PSH|decode.ACK,
		decode.FIN,
		decode.RST,
		0,
	)
	n := func(matched uint64) privnet.RuleStats { return privnet.RuleStats{Matched: matched} }
	checkRules(t, w, n(2), n(1), n(2), n(5), n(3), n(2), n(0), n(1), n(0), n(3), n(0), privnet.RuleStats{Matched: 3, Dropped: 1}, n(2))
}

// sendSegments has A send segments that belong to nothing, and waits until B has
// had the datagram behind them.
func sendSegments(t *testing.T, w *privnet.Wire, list ...decode.Flags) {
	t.Helper()
	from, to := datagrams(t, w)
	var tcp net.Conn
	err := w.A.Do(func() (err error) {
		tcp, err = net.Dial("ip4:tcp", w.B.Addr.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	segment := make([]byte, 20) // B drops it for its checksum
	segment[12] = 5 << 4
	for _, flags := range list {
		segment[13] = byte(flags)
		if _, err := tcp.Write(segment); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, from, to, 1, "end")
}

func TestFlagsDropTheFirstFIN(t *testing.T) {
	w := newWire(t, privnet.Rule{From: privnet.A, Flags: decode.FIN, Nth: 1, Drop: true})
	a, b := connect(t, w)
	begun := time.Now()
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	drain(t, b)
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("the FIN came after %v: without a retransmission", took)
	}
	if s := stats(t, w).Rules[0]; s.Dropped != 1 || s.Matched < 2 { // more, where this host is slow
		t.Errorf("%+v, want 1 dropped and the next not", s)
	}
}

// Both FINs are held back, so each end has closed before it hears of the other.
func TestFlagsDelayBothFINs(t *testing.T) {
	const delay = 30 * time.Millisecond
	w := newWire(t, privnet.Rule{Flags: decode.FIN, Delay: delay})
	a, b := connect(t, w)
	begun := time.Now()
	if err := errors.Join(a.CloseWrite(), b.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	drain(t, a)
	drain(t, b)
	if took := time.Since(begun); took < delay {
		t.Errorf("both FINs arrived within %v, want at least %v", took, delay)
	}
	if s := stats(t, w).Rules[0]; s.Matched < 2 || s.Delayed != s.Matched {
		t.Errorf("%+v, want both FINs delayed", s)
	}
}

// A rule for SYNs leaves the SYN-ACK alone, though it is the first with a SYN
// that comes from B.
func TestFlagsDropTheFirstSYN(t *testing.T) {
	w := newWire(t, privnet.Rule{Flags: decode.SYN, Nth: 1, Drop: true}, privnet.Rule{From: privnet.B, Flags: decode.SYN, Drop: true})
	begun := time.Now()
	connect(t, w)
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("connected after %v: without a retransmission", took)
	}
	s := stats(t, w).Rules
	if s[0].Dropped != 1 || s[0].Matched < 2 || s[1].Matched != 0 {
		t.Errorf("%+v, want the first of A's SYNs dropped, and no SYN of B", s)
	}
}

// The same seed drops the same of the segments that match, and no other.
func TestFlagsByChance(t *testing.T) {
	const segments = 300
	lost := func(seed uint64) privnet.RuleStats {
		w := newWire(t, privnet.Rule{From: privnet.A, Flags: decode.URG, Chance: 0.01, Seed: seed, Drop: true})
		defer w.Close()
		sendSegments(t, w, slices.Repeat([]decode.Flags{decode.URG | decode.ACK}, segments)...)
		return stats(t, w).Rules[0]
	}
	first := lost(7)
	if first.Matched != segments || first.Dropped == 0 || first.Dropped > segments/10 {
		t.Errorf("%+v of %d segments with a chance of 0.01", first, segments)
	}
	if diff := cmp.Diff(first, lost(7)); diff != "" {
		t.Errorf("the same seed again (-first +second)\n%s", diff)
	}
}

func TestFlagsThatCannotBeMatched(t *testing.T) {
	privnet.Require(t)
	for _, flags := range []decode.Flags{0x100, 0x100 | decode.SYN, 0xffff} {
		_, err := privnet.NewWire(&privnet.WireConfig{Rules: []privnet.Rule{{}, {Flags: flags}}})
		if err == nil || !strings.Contains(err.Error(), "rule 1: flags ") || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("flags %#x: %v", uint16(flags), err)
		}
	}
	w := newWire(t, privnet.Rule{Flags: 0xff}) // all eight at once can
	sendSegments(t, w, 0xff, 0x7f)
	checkRules(t, w, privnet.RuleStats{Matched: 1})
}
