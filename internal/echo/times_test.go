package echo

import (
	"testing"
	"time"

	"finack/trace"
)

func TestTimesAreNearestRank(t *testing.T) {
	for _, test := range []struct {
		n    int
		want Times
	}{
		{0, Times{}},
		{1, Times{1, 1, 1, 1, 1, 1}},
		{2, Times{1, 1, 2, 2, 2, 2}},
		{10, Times{1, 5, 9, 10, 10, 10}},
		{1000, Times{1, 500, 900, 990, 999, 1000}},
	} {
		var d trace.Distribution
		for i := test.n; i > 0; i-- {
			d.Add(time.Duration(i))
		}
		if got := timesOf(&d, test.want.Min); got != test.want {
			t.Errorf("1…%d: %+v, want %+v", test.n, got, test.want)
		}
	}
}
