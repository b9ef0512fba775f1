package probe

import (
	"fmt"
	"strconv"

	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// Text renders a run for people, in lines like those of a trace; sequence
// numbers are those on the wire.
type Text struct {
	Lines render.Text
}

// AppendEvent appends the line of a packet.
func (t *Text) AppendEvent(dst []byte, e *Event) []byte {
	p := &e.Packet
	te := trace.Event{
		Kind: trace.DatagramSeen, Proto: p.Proto, Time: p.Time, Conn: uint64(e.N), Len: p.Len, First: e.First,
		Client: p.Src, Server: p.Dst, From: trace.Client,
		Flags: p.Segment.Flags, Seq: p.Segment.Seq, Ack: p.Segment.Ack, Window: p.Segment.Window,
		ICMPType: p.ICMP.Type, ICMPCode: p.ICMP.Code, IPv6: p.Version == 6,
	}
	if p.Proto == decode.ProtoTCP {
		te.Kind = trace.SegmentSeen
	} else if p.ICMP.Error && e.Kind == Answer {
		te.Kind = trace.ICMPSeen
	}
	note := ""
	switch e.Kind {
	case Sent:
		te.Len = e.Len
		if e.Fragments > 1 {
			note = strconv.Itoa(e.Fragments) + " fragments"
		}
	case Answer:
		te.From, te.Client, te.Server = trace.Server, p.Dst, p.Src
		note = render.Duration(e.RTT)
		if from := p.Src.AddrPort().Addr(); te.Kind == trace.ICMPSeen && p.ICMP.QuotedDst.AddrPort().Addr() != from {
			note = from.String() + " " + note
		}
		if e.Again {
			note += ", again"
		}
	case KernelReset:
		note = "by this kernel"
	}
	t.Lines.Absolute = true
	return t.Lines.AppendPacket(dst, &te, note)
}

// AppendResult appends the lines that close a run.
func (t *Text) AppendResult(dst []byte, r *Result) []byte {
	for _, m := range r.Outcomes {
		if r.Sent > 1 {
			dst = fmt.Appendf(dst, "%d × ", m.N)
		}
		dst = append(append(dst, m.Text...), '\n')
	}
	if r.Resets > 0 {
		dst = append(dst, "RST by this kernel: it knows no such connection, no socket of its own asked\n"...)
	}
	if r.Unseen > 0 {
		dst = fmt.Appendf(dst, "%d not seen on the wire: dropped on this host, or no neighbour's address is known\n", r.Unseen)
	}
	if r.Lost > 0 {
		dst = fmt.Appendf(dst, "%d frames lost by the capture: there may be more answers\n", r.Lost)
	}
	dst = fmt.Appendf(dst, "%d sent, %d answered", r.Sent, r.Answered)
	if r.Answered > 0 {
		dst = fmt.Appendf(dst, "; round trip min %s, p50 %s, max %s",
			render.Duration(r.RTT.Min), render.Duration(r.RTT.P50), render.Duration(r.RTT.Max))
	}
	return append(dst, '\n')
}
