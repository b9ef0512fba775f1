package privnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/internal/privnet"
)

// letters returns a filter for datagrams that begin with one of them.
func letters(list string) string {
	var terms []string
	for _, c := range []byte(list) {
		terms = append(terms, fmt.Sprintf("udp[8] = %d", c))
	}
	return strings.Join(terms, " or ")
}

func TestWireDuplicates(t *testing.T) {
	w := newWire(t,
		privnet.Rule{Filter: letters("d"), Duplicate: true},
		privnet.Rule{Filter: letters("d"), Nth: 2, Duplicate: true, Delay: 50 * time.Millisecond},
	)
	from, to := datagrams(t, w)
	got := exchange(t, from, to, 8, "1", "d1", "2", "d2", "3")
	if want := []string{"1", "d1", "d1", "2", "3", "d2", "d2", "d2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want := privnet.WireStats{Forwarded: 8, Rules: []privnet.RuleStats{
		{Matched: 2, Duplicated: 2},
		{Matched: 2, Duplicated: 1, Delayed: 1},
	}}
	if diff := cmp.Diff(want, stats(t, w)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// How many frames overtake one is exact, whatever overtakes those meanwhile;
// the limits here are so long that they do not matter.
func TestWireReorders(t *testing.T) {
	w := newWire(t,
		privnet.Rule{Filter: letters("abc"), Reorder: 1, Delay: patience},
		privnet.Rule{Filter: letters("b"), Reorder: 1, Delay: patience}, // 2 in all
		privnet.Rule{Filter: letters("c"), Delay: time.Millisecond},     // and then it waits
	)
	from, to := datagrams(t, w)
	for _, tt := range []struct{ sent, want string }{
		{"a 1 2", "1 a 2"},
		{"b 1 2 3", "1 2 b 3"},
		{"a b 1 2", "1 a 2 b"}, // a overtakes nothing: it was sent before b
		{"b a 1 2", "1 a b 2"}, // a overtakes b
		{"a a 1", "1 a a"},
	} {
		sent := strings.Fields(tt.sent)
		if got := exchange(t, from, to, len(sent), sent...); !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: got %q, want %s", tt.sent, got, tt.want)
		}
	}
	if got := exchange(t, from, to, 1, "c", "1"); got[0] != "1" {
		t.Errorf("c is delayed, and came before %q", got[0])
	}
	// Its delay is over sometime: whatever is sent after that overtakes it.
	for got := ""; got != "c"; {
		got = exchange(t, from, to, 1, "2")[0]
	}
	want := []privnet.RuleStats{{Matched: 9, Reordered: 9}, {Matched: 3, Reordered: 3}, {Matched: 1, Delayed: 1}}
	if diff := cmp.Diff(want, stats(t, w).Rules); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Nothing comes that could overtake the last frame.
func TestWireReorderDoesNotKeepTheLast(t *testing.T) {
	const limit = 20 * time.Millisecond
	w := newWire(t,
		privnet.Rule{Filter: letters("a"), Reorder: 1},
		privnet.Rule{Filter: letters("b"), Reorder: 1, Delay: limit},
	)
	from, to := datagrams(t, w)
	begun := time.Now()
	got := exchange(t, from, to, 2, "a", "b") // b overtakes nothing: it waits itself
	if took := time.Since(begun); took < limit {
		t.Errorf("it took %v, want at least %v", took, limit)
	}
	if want := []string{"b", "a"}; !slices.Equal(got, want) && time.Since(begun) < privnet.ReorderLimit {
		t.Errorf("got %q, want %q", got, want)
	}
	begun = time.Now()
	exchange(t, from, to, 1, "a")
	if took := time.Since(begun); took < privnet.ReorderLimit {
		t.Errorf("it took %v, want at least %v", took, privnet.ReorderLimit)
	}
}

// udpErrors is how many datagrams the host has dropped for their checksum.
func udpErrors(t *testing.T, h *privnet.Host) (n string) {
	t.Helper()
	var text []byte
	err := h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Udp:" {
			continue
		}
		if i := slices.Index(names, "InCsumErrors"); i >= 0 {
			return fields[i]
		}
		names = fields
	}
	t.Fatalf("no InCsumErrors in\n%s", text)
	return ""
}

func TestWireCorrupts(t *testing.T) {
	w := newWire(t,
		privnet.Rule{Filter: letters("2"), Corrupt: true},
		privnet.Rule{Filter: letters("2"), Nth: 2, Corrupt: true}, // twice is not mended
		privnet.Rule{Filter: letters("4"), Corrupt: true, Duplicate: true},
	)
	from, to := datagrams(t, w)
	got := exchange(t, from, to, 3, "1", "2", "3", "2", "4", "5")
	if want := []string{"1", "3", "5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := udpErrors(t, w.B); n != "4" {
		t.Errorf("%s datagrams with a bad checksum, want 4", n)
	}
	want := privnet.WireStats{Forwarded: 7, Rules: []privnet.RuleStats{
		{Matched: 2, Corrupted: 2},
		{Matched: 2, Corrupted: 1},
		{Matched: 1, Corrupted: 1, Duplicated: 1},
	}}
	if diff := cmp.Diff(want, stats(t, w)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A segment without payload is damaged in its header. The SYN is, and sent
// again after a second.
func TestWireCorruptsASYN(t *testing.T) {
	w := newWire(t, privnet.Rule{From: privnet.A, Filter: "tcp[tcpflags] & tcp-syn != 0", Nth: 1, Corrupt: true})
	begun := time.Now()
	connect(t, w)
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("connected after %v: without a retransmission", took)
	}
	if diff := cmp.Diff([]privnet.RuleStats{{Matched: 2, Corrupted: 1}}, stats(t, w).Rules); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// lottery sends numbered datagrams over a wire with a rule, and returns those
// that arrive and what the rule has done.
func lottery(t *testing.T, rule privnet.Rule) (got []string, rules privnet.RuleStats) {
	t.Helper()
	rule.Filter = letters("x")
	w := newWire(t, rule)
	defer w.Close()
	from, to := datagrams(t, w)
	for i := range 150 {
		fmt.Fprintf(from, "x%d", i)
	}
	for text := exchange(t, from, to, 1, "end")[0]; text != "end"; text = exchange(t, from, to, 1)[0] {
		got = append(got, text)
	}
	return got, stats(t, w).Rules[0]
}

func TestWireChance(t *testing.T) {
	rule := privnet.Rule{Chance: 0.2, Seed: 7, Drop: true}
	got, rules := lottery(t, rule)
	if want := (privnet.RuleStats{Matched: 150, Dropped: uint64(150 - len(got))}); rules != want {
		t.Errorf("%d arrived, and the rule says %+v", len(got), rules)
	}
	if rules.Dropped < 10 || rules.Dropped > 60 {
		t.Errorf("%d of 150 dropped with a chance of 0.2", rules.Dropped)
	}
	again, _ := lottery(t, rule)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same seed again (-first +second)\n%s", diff)
	}

	// The same frames are chosen whatever is done to them.
	rule.Drop, rule.Duplicate = false, true
	twice, rules := lottery(t, rule)
	var once []string
	for i, text := range twice {
		if !slices.Contains(twice[:i], text) && !slices.Contains(twice[i+1:], text) {
			once = append(once, text)
		}
	}
	if diff := cmp.Diff(got, once); diff != "" || rules.Duplicated != uint64(len(twice)-150) {
		t.Errorf("%d arrived, %+v; dropped or duplicated (-dropped +duplicated)\n%s", len(twice), rules, diff)
	}

	rule = privnet.Rule{Chance: 0.2, Seed: 8, Drop: true}
	if other, _ := lottery(t, rule); slices.Equal(got, other) {
		t.Error("another seed chooses the same frames")
	}
	rule.Chance = 1
	if none, _ := lottery(t, rule); len(none) > 0 {
		t.Errorf("%q arrived, all should be dropped", none)
	}
	rule.Nth = 3 // and no chance
	if most, _ := lottery(t, rule); len(most) != 149 || slices.Contains(most, "x2") {
		t.Errorf("%q arrived, want all but x2", most)
	}
}

// TCP mends all of it.
func TestWireIsBadAndTCPGetsThrough(t *testing.T) {
	const data = "tcp and ip[2:2] > 52" // payload is on it
	w := newWire(t,
		privnet.Rule{Filter: data, Chance: 0.02, Seed: 1, Drop: true},
		privnet.Rule{Filter: data, Chance: 0.02, Seed: 2, Duplicate: true},
		privnet.Rule{Filter: data, Chance: 0.02, Seed: 3, Reorder: 3},
		privnet.Rule{Filter: data, Chance: 0.02, Seed: 4, Corrupt: true},
		privnet.Rule{Chance: 0.02, Seed: 5, Delay: time.Millisecond},
	)
	a, b := connect(t, w)
	sent := make([]byte, 512<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	results := make(chan error)
	for _, c := range []*net.TCPConn{a, b} {
		go func() {
			_, err := c.Write(sent)
			results <- errors.Join(err, c.CloseWrite())
		}()
		go func() {
			got, err := io.ReadAll(c)
			if err == nil && !bytes.Equal(got, sent) {
				err = fmt.Errorf("%d bytes that differ", len(got))
			}
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	s := stats(t, w).Rules
	for i, done := range []uint64{s[0].Dropped, s[1].Duplicated, s[2].Reordered, s[3].Corrupted, s[4].Delayed} {
		if done == 0 {
			t.Errorf("rule %d did nothing: %+v", i, s[i])
		}
	}
}

func TestWireRefusesNoChance(t *testing.T) {
	privnet.Require(t)
	for _, chance := range []float64{-0.1, 1.1, math.NaN()} {
		_, err := privnet.NewWire(&privnet.WireConfig{Rules: []privnet.Rule{{}, {Chance: chance}}})
		if err == nil || !strings.Contains(err.Error(), "rule 1: chance") {
			t.Errorf("chance %v: %v", chance, err)
		}
	}
}
