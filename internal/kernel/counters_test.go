package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountersParse(t *testing.T) {
	got := Counters{}
	if err := got.parse("Tcp: MaxConn InSegs\nTcp: -1 12\nTcpExt: ListenOverflows\nTcpExt: 3\n"); err != nil {
		t.Fatal(err)
	}
	want := Counters{"TcpMaxConn": -1, "TcpInSegs": 12, "TcpExtListenOverflows": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, damaged := range []string{
		"Tcp: InSegs\n",
		"Tcp: InSegs\nUdp: 1\n",
		"Tcp: InSegs OutSegs\nTcp: 1\n",
		"Tcp: InSegs\nTcp: many\n",
		"\nTcp: InSegs\nTcp: 1\n",
	} {
		if err := (Counters{}).parse(damaged); err == nil {
			t.Errorf("%q: no error", damaged)
		}
	}
}
