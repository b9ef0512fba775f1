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

func sec(s float64) time.Duration { return time.Duration(s * 1e9) }

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
				d.add(values[i])
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
		d.add(v)
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
	if d := cmp.Diff(want, s, cmpopts.IgnoreUnexported(Distribution{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
