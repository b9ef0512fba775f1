package echo

import (
	"time"

	"finack/trace"
)

// Times describes how round-trip times are distributed. P50 is the median: half
// of the answers took no longer. Min and Max are exact, the others to within
// 0.2 % (see trace.Distribution).
type Times struct {
	Min, P50, P90, P99, P999, Max time.Duration
}

func timesOf(d *trace.Distribution, least time.Duration) Times {
	return Times{
		Min: least, P50: d.Percentile(50), P90: d.Percentile(90), P99: d.Percentile(99), P999: d.Percentile(99.9), Max: d.Max,
	}
}
