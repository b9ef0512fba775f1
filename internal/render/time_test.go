package render

import (
	"math"
	"strconv"
	"testing"
	"time"

	"finack/decode"
)

// Timestamps are what package time makes of them, in every year they can have.
func TestTimes(t *testing.T) {
	for _, ts := range []int64{
		math.MinInt64, -1, 0, 1, 999_999_999, 1e9, -86_400e9, 951_782_399_999_999_999, 951_782_400e9, 951_868_800_100_000_000,
		4_107_542_399e9, 4_107_542_400e9, math.MaxInt64,
	} {
		checkTime(t, ts)
	}
	for ts := int64(math.MinInt64); ts < math.MaxInt64-86_399_987_654_321*7; ts += 86_399_987_654_321 * 7 {
		checkTime(t, ts)
	}
}

func checkTime(t *testing.T, ts int64) {
	t.Helper()
	got := string(appendTime(nil, decode.Timestamp(ts)))
	if want := `"` + time.Unix(0, ts).UTC().Format(time.RFC3339Nano) + `"`; got != want {
		t.Errorf("%d: %s, want %s", ts, got, want)
	}
}

func TestSeconds(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0"},
		{1, "0.000000001"},
		{-1, "-0.000000001"},
		{10, "0.00000001"},
		{100_200_300, "0.1002003"},
		{999_999_999, "0.999999999"},
		{time.Second, "1"},
		{1500 * time.Millisecond, "1.5"},
		{-12*time.Second - 20*time.Millisecond, "-12.02"},
		{math.MaxInt64, "9223372036.854775807"},
	} {
		if got := string(appendSeconds(nil, tt.d)); got != tt.want {
			t.Errorf("%d ns: %s, want %s", int64(tt.d), got, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	numbers := []int64{math.MinInt64, -10, -1, math.MaxInt64}
	for n := range int64(12_000) {
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		if got, want := string(appendInt(nil, n)), strconv.FormatInt(n, 10); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
