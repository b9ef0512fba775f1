package privnet

import (
	"os"
	"testing"
	"time"
)

// A frame that is not held back costs no allocation, whatever the rules look at.
func TestWireDoesNotAllocate(t *testing.T) {
	w := &Wire{}
	err := w.compile([]Rule{
		{Filter: "udp", Chance: 0.5, Duplicate: true, Corrupt: true},
		{From: B, Drop: true},
		{Filter: "tcp", Delay: time.Second, Reorder: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	frame := make([]byte, 60) // an IPv4 packet with a UDP header
	frame[12], frame[14], frame[17], frame[23] = 8, 0x45, 46, 17
	d := direction{wire: w, from: A, out: out}
	if n := testing.AllocsPerRun(1000, func() {
		if err := d.take(frame, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
	if s := w.rules[0].stats; s.Matched != 1001 || s.Duplicated == 0 || s.Duplicated == s.Matched {
		t.Errorf("the rule did %+v of 1001", s)
	}
}
