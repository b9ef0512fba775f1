package echo

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentilesAreNearestRank(t *testing.T) {
	for _, test := range []struct {
		n    int
		want Times
	}{
		{0, Times{}},
		{1, Times{1, 1, 1, 1, 1}},
		{2, Times{1, 1, 2, 2, 2}},
		{10, Times{1, 5, 9, 10, 10}},
		{1000, Times{1, 500, 900, 990, 1000}},
	} {
		var s samples
		for i := test.n; i > 0; i-- {
			s.add(time.Duration(i))
		}
		if diff := cmp.Diff(test.want, s.times()); diff != "" {
			t.Errorf("1…%d: %s", test.n, diff)
		}
	}
}

// Three million samples, the first million small: had only the first been
// kept, the median would be small too.
func TestSamplesAreBoundedAndUnbiased(t *testing.T) {
	var s samples
	for i := range 3 * maxSamples {
		s.add(time.Duration(i))
	}
	if len(s.kept) != maxSamples {
		t.Errorf("%d samples kept, want %d", len(s.kept), maxSamples)
	}
	got := s.times()
	if got.Min != 0 || got.Max != 3*maxSamples-1 {
		t.Errorf("min %d, max %d: not exact", got.Min, got.Max)
	}
	if mid := time.Duration(3 * maxSamples / 2); got.P50 < mid*98/100 || got.P50 > mid*102/100 {
		t.Errorf("median %d, want about %d", got.P50, mid)
	}
}
