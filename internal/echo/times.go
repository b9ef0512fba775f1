package echo

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Times describes how round-trip times are distributed. P50 is the median: half
// of the answers took no longer.
type Times struct {
	Min, P50, P90, P99, Max time.Duration
}

// maxSamples bounds the memory of samples to 8 MB.
const maxSamples = 1_000_000

// samples collects durations. Beyond maxSamples it keeps an equal chance for
// each to stay (reservoir sampling), so that percentiles stay unbiased; the
// minimum and the maximum are exact.
type samples struct {
	kept     []time.Duration
	n        int
	min, max time.Duration
}

func (s *samples) add(d time.Duration) {
	if s.n == 0 {
		s.min, s.max = d, d
	}
	s.min, s.max = min(s.min, d), max(s.max, d)
	s.n++
	if len(s.kept) < maxSamples {
		s.kept = append(s.kept, d)
	} else if i := rand.IntN(s.n); i < maxSamples {
		s.kept[i] = d
	}
}

// times sorts what was kept.
func (s *samples) times() Times {
	if s.n == 0 {
		return Times{}
	}
	slices.Sort(s.kept)
	// The nearest rank: the smallest sample that at least p % do not exceed.
	rank := func(p int) time.Duration { return s.kept[(len(s.kept)*p+99)/100-1] }
	return Times{Min: s.min, P50: rank(50), P90: rank(90), P99: rank(99), Max: s.max}
}
