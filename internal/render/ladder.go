package render

import (
	"finack/decode"
	"finack/trace"
)

// Columns of a ladder: the client's states left, the server's right.
const (
	ladderClient = 11
	ladderArrow  = 24
	ladderRight  = 53
	ladderServer = 56
)

// AppendLadder appends the events of one connection or flow as a ladder: a line
// for each segment, beside it the state that it proves for each end.
func (t *Text) AppendLadder(dst []byte, title string, events []trace.Event) []byte {
	if len(events) == 0 {
		return dst
	}
	dst = t.AppendLadderHead(dst, title, &events[0])
	for i := range events {
		dst = t.AppendRung(dst, &events[i])
	}
	return dst
}

// AppendLadderHead appends the first line of a ladder: who its ends are.
func (t *Text) AppendLadderHead(dst []byte, title string, first *trace.Event) []byte {
	at := len(dst)
	dst = append(dst, ' ')
	dst = t.paint(dst, bold, title)
	dst = pad(dst, at, ladderClient)
	dst = append(dst, "client "...)
	dst = first.Client.AppendTo(dst)
	dst = pad(dst, at, ladderServer)
	dst = append(dst, "server "...)
	dst = first.Server.AppendTo(dst)
	return append(dst, '\n')
}

// AppendRung appends one line of a ladder: a packet, and the states that it
// proves. Other events have none.
func (t *Text) AppendRung(dst []byte, e *trace.Event) []byte {
	switch e.Kind {
	case trace.SegmentSeen, trace.DatagramSeen, trace.ICMPSeen:
	default:
		return dst
	}
	at := len(dst)
	dst = append(dst, ' ')
	dst = appendSince(dst, e.Time.Sub(e.Start))
	if e.Changed[trace.Client] {
		dst = pad(dst, at, ladderClient)
		dst = t.state(dst, e.States[trace.Client])
	}
	dst = pad(dst, at, ladderArrow)
	toServer := e.From == trace.Client
	if e.Kind == trace.ICMPSeen {
		toServer = !toServer // it travels back to the sender of what it quotes
	}
	if toServer {
		dst = t.rungText(append(dst, "   "...), e)
		dst = pad(dst, at, ladderRight)
		dst = append(dst, "─▶"...)
	} else {
		dst = t.rungText(append(dst, "◀─ "...), e)
	}
	if e.Changed[trace.Server] {
		dst = pad(dst, at, ladderServer)
		dst = t.state(dst, e.States[trace.Server])
	}
	return append(dst, '\n')
}

func (t *Text) rungText(dst []byte, e *trace.Event) []byte {
	switch e.Kind {
	case trace.DatagramSeen:
		dst = append(appendDatagramName(dst, e), ' ')
		return appendBytes(dst, uint64(e.Len))
	case trace.ICMPSeen:
		dst = append(dst, "ICMP "...)
		return append(dst, icmpMeaning(e.ICMPType, e.ICMPCode, e.IPv6)...)
	}
	dst = t.flags(dst, e.Flags)
	// The number that matters: what is sent, else what is acknowledged.
	if e.Flags.Any(decode.SYN|decode.FIN|decode.RST) || e.Len > 0 {
		dst = append(dst, " seq="...)
		dst = t.number(dst, e.Seq, e.SeqBase)
	}
	if e.Flags.Has(decode.ACK) {
		dst = append(dst, " ack="...)
		dst = t.number(dst, e.Ack, e.AckBase)
	}
	if e.Len > 0 {
		dst = append(dst, ' ')
		dst = appendBytes(dst, uint64(e.Len))
	}
	return appendRungNote(dst, e)
}

// appendRungNote says of a segment what its numbers do not.
func appendRungNote(dst []byte, e *trace.Event) []byte {
	switch {
	case e.Note&trace.KeepAlive != 0:
		return append(dst, " keep-alive"...)
	case e.Note&trace.ZeroWindowProbe != 0:
		return append(dst, " probe"...)
	case e.Window == 0 && e.Flags.Has(decode.ACK) && !e.Flags.Any(decode.SYN|decode.RST):
		return append(dst, " win=0"...) // whatever its scale
	}
	return dst
}
