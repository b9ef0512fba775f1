package trace

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"finack/decode"
)

// A percentile is the exact one to within 0.2 %, and never above the maximum.
func TestPercentiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, random := range map[string]func() time.Duration{
		"round trips": func() time.Duration { return sec(0.001 * math.Exp(rng.NormFloat64())) },
		"lifetimes":   func() time.Duration { return sec(60 * rng.ExpFloat64()) },
		"all sizes":   func() time.Duration { return time.Duration(rng.Uint64() >> (1 + rng.IntN(63))) },
		"one value":   func() time.Duration { return 1_000_001 },
		"nothing":     func() time.Duration { return 0 },
	} {
		for _, n := range []int{1, 2, 99, 100, 101, 5000} {
			var d Distribution
			values := make([]time.Duration, n)
			for i := range values {
				values[i] = random()
				d.Add(values[i])
			}
			slices.Sort(values)
			if d.N != n || d.Max != values[n-1] {
				t.Errorf("%s: n %d, max %v; want %d, %v", name, d.N, d.Max, n, values[n-1])
			}
			for _, p := range []int{1, 50, 90, 99, 100} {
				exact := values[(n*p+99)/100-1] // as many as p percent do not exceed it
				if got := d.Percentile(float64(p)); math.Abs(float64(got-exact)) > 0.002*float64(exact) || got > d.Max {
					t.Errorf("%s: percentile %d of %d: %v, exactly %v, max %v", name, p, n, got, exact, d.Max)
				}
			}
		}
	}
}

func TestNoDurationIsOutOfRange(t *testing.T) {
	var d Distribution
	if got := d.Percentile(50); got != 0 {
		t.Errorf("percentile of nothing: %v", got)
	}
	for _, v := range []time.Duration{math.MinInt64, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64} {
		d.Add(v)
	}
	if d.N != 6 || d.Max != math.MaxInt64 || d.Percentile(50) != 0 || d.Percentile(100) < math.MaxInt64/1000*998 {
		t.Errorf("n %d, max %d, p50 %d, p100 %d", d.N, d.Max, d.Percentile(50), d.Percentile(100))
	}
}

func TestSummaryCounts(t *testing.T) {
	var s Summary
	for _, c := range []Conn{
		{Handshake: ThreeWay, HasRTT: true, RTT: 1, Teardown: FourStep, Closer: ClosedByServer, HalfClose: HalfClose{Seen: true, Duration: 3}},
		{Handshake: ThreeWay, HasHalfOpen: true, HalfOpen: 2, Teardown: Reset, WasReset: true, ResetBy: Client, Closer: ClosedByServer},
		{Handshake: Refused, Teardown: Reset, WasReset: true, ResetBy: Server},
		{Handshake: Midstream, Start: 10, End: 14},
	} {
		c.Proto = decode.ProtoTCP
		s.Add(&c)
	}
	s.Add(&Conn{Proto: decode.ProtoUDP, HasRTT: true, RTT: 9})
	want := Summary{Conns: 4, Flows: 1}
	want.Handshakes[ThreeWay], want.Handshakes[Refused], want.Handshakes[Midstream] = 2, 1, 1
	want.Teardowns[FourStep], want.Teardowns[Reset], want.Teardowns[NoTeardown] = 1, 2, 1
	want.TeardownsBy[FourStep][ClosedByServer] = 1
	want.TeardownsBy[Reset][ClosedByClient], want.TeardownsBy[Reset][ClosedByServer] = 1, 1 // who sent the RST
	want.Closers[ClosedByServer] = 2
	want.RTT, want.HalfOpen = Distribution{N: 1, Max: 1}, Distribution{N: 1, Max: 2}
	want.HalfClose, want.Lifetime = Distribution{N: 1, Max: 3}, Distribution{N: 4, Max: 4}
	if d := cmp.Diff(want, s, cmpopts.IgnoreUnexported(Summary{}, Distribution{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// Shards that are merged say what one summary of everything says, in whatever
// order they come; and a summary that was merged is not touched afterwards.
func TestMergeEqualsTheWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	var whole Summary
	var shards [3]Summary
	for i := range 3000 {
		c := closed(server("10.0.0.2:80"), Closer(i%5), sec(5+float64(i%2)*55+0.01*rng.NormFloat64()))
		c.Server.Port += uint16(i % 4)
		c.Handshake, c.Teardown = HandshakeKind(i%6), TeardownKind(i%7)
		c.HasRTT, c.RTT = i%3 == 0, time.Duration(rng.ExpFloat64()*1e6)
		c.HasHalfOpen, c.HalfOpen = i%3 == 1, time.Duration(rng.ExpFloat64()*1e6)
		c.HalfClose = HalfClose{Seen: i%5 == 1, Duration: time.Duration(rng.ExpFloat64() * 1e9)}
		c.End = decode.Timestamp(rng.Int64N(1e12))
		if i%10 == 0 {
			c.Proto = decode.ProtoUDP
		}
		whole.Add(c)
		shards[rng.IntN(len(shards))].Add(c)
	}
	if len(whole.IdleTimeouts()) < 4 {
		t.Fatalf("few timeouts: %+v", whole.IdleTimeouts())
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}} {
		var merged Summary
		for _, i := range order {
			merged.Merge(&shards[i])
		}
		if d := cmp.Diff(whole, merged, cmpopts.IgnoreUnexported(Summary{}, Distribution{})); d != "" {
			t.Errorf("(-whole +merged)\n%s", d)
		}
		if d := cmp.Diff(whole.IdleTimeouts(), merged.IdleTimeouts()); d != "" {
			t.Errorf("(-whole +merged)\n%s", d)
		}
		for name, d := range map[string][2]*Distribution{
			"RTT": {&whole.RTT, &merged.RTT}, "lifetime": {&whole.Lifetime, &merged.Lifetime}, "half-open": {&whole.HalfOpen, &merged.HalfOpen},
			"half-close": {&whole.HalfClose, &merged.HalfClose}, "idle": {&whole.Idle, &merged.Idle},
		} {
			for p := 1.0; p <= 100; p++ {
				if w, m := d[0].Percentile(p), d[1].Percentile(p); w != m {
					t.Errorf("%s: percentile %v: %v, merged %v", name, p, w, m)
				}
			}
		}
	}
}

// A connection costs no allocation where its server is known already.
func TestSummaryAllocatesNothing(t *testing.T) {
	var s Summary
	c := closed(server("10.0.0.2:80"), ClosedByServer, sec(5))
	c.HasRTT, c.HasHalfOpen, c.HalfClose.Seen = true, true, true
	s.Add(c)
	if n := testing.AllocsPerRun(1000, func() { s.Add(c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSummary(b *testing.B) {
	rng := rand.New(rand.NewPCG(11, 12))
	conns := make([]*Conn, 4096)
	for i := range conns {
		conns[i] = closed(server("10.0.0.2:80"), ClosedByServer, sec(60*rng.Float64()))
		conns[i].Server.Port += uint16(i % 512)
		conns[i].HasRTT, conns[i].RTT = true, time.Duration(rng.ExpFloat64()*1e6)
	}
	var s Summary
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Add(conns[i%len(conns)])
		i++
	}
}
