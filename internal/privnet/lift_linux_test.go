package privnet_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/internal/privnet"
)

// What is held comes when its rule is lifted, in its order; after that the rule
// does nothing. Other frames and other rules do not wait.
func TestWireHoldsUntilLift(t *testing.T) {
	w := newWire(t,
		privnet.Rule{Filter: letters("a"), Hold: true, Duplicate: true},
		privnet.Rule{Filter: letters("b"), Hold: true},
		privnet.Rule{Filter: letters("c"), Drop: true},
	)
	from, to := datagrams(t, w)
	for _, step := range []struct {
		lift int // -1: none
		sent []string
		want []string
	}{
		{-1, []string{"a1", "b1", "c1", "a2", "1"}, []string{"1"}},
		{0, nil, []string{"a1", "a1", "a2", "a2"}},
		{-1, []string{"a3", "b2", "2"}, []string{"a3", "2"}},
		{1, []string{"b3"}, []string{"b1", "b2", "b3"}},
		{2, []string{"c2"}, []string{"c2"}},
	} {
		if step.lift >= 0 {
			if err := w.Lift(step.lift); err != nil {
				t.Fatal(err)
			}
		}
		got := exchange(t, from, to, len(step.want), step.sent...)
		if step.lift == 1 { // b3 may be there before those that were held
			slices.Sort(got)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("rule %d lifted: got %q, want %q", step.lift, got, step.want)
		}
	}
	want := []privnet.RuleStats{
		{Matched: 2, Held: 2, Duplicated: 2},
		{Matched: 2, Held: 2},
		{Matched: 1, Dropped: 1},
	}
	if diff := cmp.Diff(want, stats(t, w).Rules); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLiftAfterClose(t *testing.T) {
	w := newWire(t, privnet.Rule{Hold: true})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Lift(0); err == nil {
		t.Error("a closed wire has a rule lifted")
	}
}
