package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"finack/internal/privnet"
)

// setSysctl sets a parameter of the private network until the test ends.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	before, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(value), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(name, before, 0); err != nil {
			t.Error(err)
		}
	})
}

// The smaller of the two counts, and a negative backlog is a large one.
func TestBacklogIsCutToSomaxconn(t *testing.T) {
	privnet.Require(t)
	setSysctl(t, "/proc/sys/net/core/somaxconn", "3")
	var out bytes.Buffer
	if err := Backlog(t.Context(), &out, []int{2, 5, -7}, &Config{JSON: true}); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&out)
	for _, want := range []struct{ backlog, limit int }{{2, 2}, {5, 3}, {-7, 3}} {
		var got backlogResult
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.Backlog != want.backlog || got.Limit != want.limit || got.Queue != want.limit+1 ||
			got.Established != want.limit+1 || got.Waiting != beyond || got.Again < beyond+1 || got.Waited < 1 {
			t.Errorf("backlog %d: %+v, want limit %d", want.backlog, got, want.limit)
		}
	}
	var totals backlogTotals
	if err := dec.Decode(&totals); err != nil {
		t.Fatal(err)
	}
	if totals.Somaxconn != 3 || totals.Overflows < 2*3*beyond || totals.Drops != totals.Overflows {
		t.Errorf("totals %+v", totals)
	}
}

// A kernel that did something else would be told from one that does this.
func TestBacklogSeesAnotherKernel(t *testing.T) {
	privnet.Require(t)
	b := &backlog{ctx: t.Context(), somaxconn: 2} // it is not
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	err := b.fill(3)
	if check := (*CheckError)(nil); !errors.As(err, &check) || !strings.Contains(check.Text, "limit 3, 4 connections in the queue, 4 clients connected; want 2, 3, 3") {
		t.Errorf("error %v", err)
	}
}
