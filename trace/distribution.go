package trace

import (
	"iter"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// digits is to how many significant digits a Distribution keeps its values.
const digits = 3

// Distribution holds how long something took, over many connections, in
// bounded memory: nothing before the first value, then about 430 KiB for
// everything from 1 ns to the longest time.Duration. Its zero value is empty.
// A copy shares that memory: add to one of them only.
type Distribution struct {
	N   int           // values
	Max time.Duration // the largest, exactly
	h   *hdrhistogram.Histogram
}

// Add counts v; what is negative counts as 0.
func (d *Distribution) Add(v time.Duration) {
	v = max(0, v)
	if d.h == nil {
		d.h = hdrhistogram.New(1, math.MaxInt64, digits)
	}
	_ = d.h.RecordValue(int64(v)) // every duration is in range
	d.N++
	d.Max = max(d.Max, v)
}

// Merge adds what from has.
func (d *Distribution) Merge(from *Distribution) {
	if from.N == 0 {
		return
	}
	if d.h == nil {
		d.h = from.h.Clone()
	} else {
		d.h.Merge(from.h)
	}
	d.N += from.N
	d.Max = max(d.Max, from.Max)
}

// Percentile returns the value that at least p percent of the values do not
// exceed, to within 0.2 % and never above Max; 0 without values.
func (d *Distribution) Percentile(p float64) time.Duration {
	if d.N == 0 {
		return 0
	}
	n := float64(d.N)
	rank := math.Ceil(p * n / 100) // the library would take the nearest one, which may be one too low
	v := time.Duration(d.h.ValueAtPercentile(100 * rank / n))
	unit := time.Duration(1) // of the fourth digit: more are not known
	for v/unit >= 10_000 {
		unit *= 10
	}
	return min(d.Max, v.Round(unit))
}

// All returns the values in ascending order, each with how often it was added;
// values that cannot be told apart are one, the largest of them.
func (d *Distribution) All() iter.Seq2[time.Duration, int64] {
	return func(yield func(time.Duration, int64) bool) {
		if d.h == nil {
			return
		}
		for _, bar := range d.h.Distribution() {
			if bar.Count > 0 && !yield(min(d.Max, time.Duration(bar.To)), bar.Count) {
				return
			}
		}
	}
}
