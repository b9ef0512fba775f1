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
	ladderNote   = 69
	ladderEnd    = 80
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

// AppendRung appends what an event is worth in a ladder: a line for a packet,
// with the states that it proves; one for what is wrong with it; and one for a
// state that it takes back. Other events have none.
func (t *Text) AppendRung(dst []byte, e *trace.Event) []byte {
	switch e.Kind {
	case trace.SegmentSeen, trace.DatagramSeen, trace.ICMPSeen:
		return t.rung(dst, e)
	case trace.AnomalySeen:
		dst = t.beginRemark(dst)
		return append(append(dst, anomalyInShort(e.Anomaly)...), '\n')
	case trace.StateChanged:
		if !e.Revised {
			return dst
		}
		dst = append(append(t.beginRemark(dst), "the "...), e.Side.String()...)
		dst = t.state(append(dst, "'s "...), e.Old)
		return append(dst, " is taken back\n"...)
	default:
		return dst
	}
}

// beginRemark begins a line that belongs to the rung above it.
func (t *Text) beginRemark(dst []byte) []byte {
	return t.paint(pad(dst, len(dst), ladderArrow), red, "! ")
}

func (t *Text) rung(dst []byte, e *trace.Event) []byte {
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
	if e.Note != 0 {
		dst = rungNotes(dst, at, e.Note)
	}
	return append(dst, '\n')
}

// rungNotes appends a segment's notes at the end of the rung that begins at at,
// or in a line of their own where the rung leaves no room.
func rungNotes(dst []byte, at int, n trace.Note) []byte {
	const sep = ", "
	var buf [128]byte
	notes := buf[:0]
	if n&trace.Retransmission != 0 {
		notes = append(notes, sep+"again"...)
	}
	notes = appendNotes(notes, n&^trace.Retransmission, sep)
	notes = notes[min(len(sep), len(notes)):]
	col := min(ladderNote, ladderEnd-len(notes))
	if width(dst[at:]) >= col {
		dst = append(dst, '\n')
		at = len(dst)
	}
	return append(pad(dst, at, col), notes...)
}

// anomalyInShort says what an anomaly is, and what its segment does, in a few
// words; Anomaly.Rule says why.
func anomalyInShort(a trace.Anomaly) string {
	switch a {
	case trace.BadChecksum:
		return "bad checksum: the receiver drops it"
	case trace.ResetOutOfPlace:
		return "RST not at RCV.NXT: it resets nothing"
	case trace.ResetAfterClose:
		return "RST after both FINs: it ends TIME_WAIT at most"
	case trace.SYNInConnection:
		return "SYN in a connection: a challenge ACK at most"
	case trace.OutOfWindow:
		return "outside the receive window: dropped"
	case trace.FINOutOfPlace:
		return "FIN not after the last byte sent: dropped"
	case trace.AckOfUnseen:
		return "acknowledges what was not captured, or never sent"
	case trace.MissingAck:
		return "no ACK bit: dropped"
	case trace.ICMPError:
		return "an ICMP error quotes this connection"
	case trace.SYNACKOutOfPlace:
		return "does not acknowledge the SYN: answered by RST"
	case trace.OldDuplicate:
		return "numbers of an earlier connection: dropped"
	default:
		return a.String()
	}
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
	if e.Window == 0 && e.Flags.Has(decode.ACK) && !e.Flags.Any(decode.SYN|decode.RST) {
		dst = append(dst, " win=0"...) // whatever its scale
	}
	return dst
}
