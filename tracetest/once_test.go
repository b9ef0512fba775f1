package tracetest

import (
	"slices"
	"testing"

	"finack/decode"
	"finack/trace"
)

// Golden leaves out what was sent before, but not what is partly new.
func TestOnceLeavesOutWhatIsSentAgain(t *testing.T) {
	const again = trace.Retransmission
	a := account{verdict: &trace.Conn{Proto: decode.ProtoTCP}}
	for _, s := range []struct {
		from  trace.Side
		flags decode.Flags
		seq   uint32
		n     int
		note  trace.Note
	}{
		{trace.Client, decode.SYN, 1000, 0, 0},
		{trace.Client, decode.SYN, 1000, 0, again},
		{trace.Server, decode.SYN | decode.ACK, 5000, 0, 0},
		{trace.Client, decode.ACK, 1001, 0, 0},
		{trace.Client, decode.ACK, 1001, 5, 0},
		{trace.Client, decode.ACK, 1001, 5, again},
		{trace.Client, decode.ACK, 1001, 8, again}, // 3 are new
		{trace.Server, decode.ACK, 5001, 0, 0},
		{trace.Client, decode.FIN | decode.ACK, 1009, 0, 0},
		{trace.Client, decode.FIN | decode.ACK, 1009, 0, again},
		{trace.Client, decode.FIN | decode.ACK, 1009, 0, trace.Duplicate},
		{trace.Server, decode.FIN | decode.ACK, 5001, 0, 0},
	} {
		base := [2]uint32{1000, 5000}[s.from]
		a.events = append(a.events,
			trace.Event{Kind: trace.SegmentSeen, From: s.from, Flags: s.flags, Seq: s.seq, SeqBase: base, Len: s.n, Note: s.note},
			trace.Event{Kind: trace.StateChanged})
		a.frames = append(a.frames, decode.Frame{Wire: len(a.frames)})
	}
	var kept []int
	for _, f := range a.once() {
		kept = append(kept, f.Wire)
	}
	if want := []int{0, 2, 3, 4, 6, 7, 8, 11}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if got := a.bytes(); got != [2]uint64{8, 0} {
		t.Errorf("%d bytes, want 8 from the client: what is sent again counts once", got)
	}
}
