package render

import (
	"net/netip"
	"testing"
	"time"

	"finack/decode"
	"finack/trace"
)

func BenchmarkTextSegment(b *testing.B) { segments(b, &Text{}) }
func BenchmarkJSONSegment(b *testing.B) { segments(b, &JSON{}) }

func BenchmarkTextConn(b *testing.B) { accounts(b, &Text{}) }
func BenchmarkJSONConn(b *testing.B) { accounts(b, &JSON{}) }

func BenchmarkTotals(b *testing.B) {
	totals := manyConns()
	var buf []byte
	for b.Loop() {
		buf = (&JSON{}).AppendTotals(buf[:0], totals)
	}
}

type renderer interface {
	AppendEvent([]byte, *trace.Event) []byte
	AppendConn([]byte, *trace.Conn) []byte
}

// segments renders the segments of an ordinary connection.
func segments(b *testing.B, r renderer) {
	var list []trace.Event
	for _, e := range ordinary() {
		if e.Kind == trace.SegmentSeen {
			list = append(list, e)
		}
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buf = r.AppendEvent(buf[:0], &list[i])
		if i++; i == len(list) {
			i = 0
		}
	}
}

// accounts renders the account of an ordinary connection.
func accounts(b *testing.B, r renderer) {
	events := ordinary()
	c := events[len(events)-1].Verdict
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendConn(buf[:0], c)
	}
	b.SetBytes(int64(len(buf)))
}

// ordinary returns the events of a connection with a request, an answer and
// four segments to close, the last of them its account.
func ordinary() []trace.Event {
	client := decode.EndpointOf(netip.MustParseAddrPort("10.0.12.34:43210"))
	server := decode.EndpointOf(netip.MustParseAddrPort("192.0.2.17:8080"))
	tr := trace.New(&trace.Config{All: true})
	at := decode.TimestampOf(time.Date(2026, 1, 2, 3, 4, 5, 987_654_321, time.UTC))
	var events []trace.Event
	for _, s := range []struct {
		from     trace.Side
		flags    decode.Flags
		seq, ack uint32
		len      int
	}{
		{trace.Client, decode.SYN, 2_000_000_000, 0, 0},
		{trace.Server, decode.SYN | decode.ACK, 3_000_000_000, 2_000_000_001, 0},
		{trace.Client, decode.ACK, 2_000_000_001, 3_000_000_001, 0},
		{trace.Client, decode.PSH | decode.ACK, 2_000_000_001, 3_000_000_001, 311},
		{trace.Server, decode.PSH | decode.ACK, 3_000_000_001, 2_000_000_312, 1105},
		{trace.Client, decode.ACK, 2_000_000_312, 3_000_001_106, 0},
		{trace.Client, decode.FIN | decode.ACK, 2_000_000_312, 3_000_001_106, 0},
		{trace.Server, decode.ACK, 3_000_001_106, 2_000_000_313, 0},
		{trace.Server, decode.FIN | decode.ACK, 3_000_001_106, 2_000_000_313, 0},
		{trace.Client, decode.ACK, 2_000_000_313, 3_000_001_107, 0},
	} {
		src, dst := client, server
		if s.from == trace.Server {
			src, dst = dst, src
		}
		at = at.Add(1_234_567)
		events = tr.Observe(&decode.Packet{
			Time: at, Proto: decode.ProtoTCP, Version: 4, Src: src, Dst: dst, Len: s.len,
			Segment: decode.Segment{Seq: s.seq, Ack: s.ack, Flags: s.flags, Window: 501},
		}, events)
	}
	return tr.Advance(at.Add(61*time.Second), events)
}
