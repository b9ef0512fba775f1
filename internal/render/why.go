package render

import (
	"strconv"

	"finack/decode"
	"finack/trace"
)

// number appends a sequence number of side s.
func number(dst []byte, c *trace.Conn, s trace.Side, n uint32, absolute bool) []byte {
	return appendNumber(dst, n, c.Base[s], absolute)
}

// appendWhy appends the evidence of who closed a connection first, or why that
// cannot be known: which segment acknowledges what. The connection has steps of
// a teardown: a FIN, or else a RST that ended it.
func appendWhy(dst []byte, c *trace.Conn, absolute bool) []byte {
	switch {
	case c.FINSeen[trace.Client] && c.FINSeen[trace.Server]:
		dst = whyTwo(dst, c, absolute)
	case c.FINSeen[trace.Client]:
		dst = whyOne(dst, c, trace.Client, absolute)
	case c.FINSeen[trace.Server]:
		dst = whyOne(dst, c, trace.Server, absolute)
	case c.Handshake == trace.Refused:
		return append(dst, "server's RST answers client's SYN"...)
	default:
		return append(appendRST(dst, c, absolute), " ended it; no FIN was seen"...)
	}
	if c.WasReset {
		dst = append(appendRST(append(dst, "; "...), c, absolute), " cut the close short"...)
	}
	return dst
}

// whyTwo explains the order of two FINs.
func whyTwo(dst []byte, c *trace.Conn, absolute bool) []byte {
	switch c.Closer {
	case trace.ClosedByClient, trace.ClosedByServer:
		first := trace.Client
		if c.Closer == trace.ClosedByServer {
			first = trace.Server
		}
		dst = append(append(dst, first.Peer().String()...), "'s FIN (ack="...)
		dst = number(dst, c, first, c.FINAck[first.Peer()], absolute)
		dst = append(dst, ") acknowledges "...)
		dst = appendFIN(dst, c, first, absolute)
		dst = append(dst, ": the "...)
		dst = append(dst, first.String()...)
		return append(dst, " closed first"...)
	case trace.ClosedByBoth:
		dst = append(dst, "neither FIN acknowledges the other ("...)
		for s := trace.Client; s <= trace.Server; s++ {
			dst = append(dst, [...]string{"client's seq=", ", server's seq="}[s]...)
			dst = number(dst, c, s, c.FINSeq[s], absolute)
			dst = append(dst, " ack="...)
			dst = number(dst, c, s.Peer(), c.FINAck[s], absolute)
		}
		return append(dst, "): both closed at once"...)
	}
	for s := trace.Client; s <= trace.Server; s++ {
		if c.FINLate[s] {
			dst = appendFIN(dst, c, s, absolute)
			return append(dst, " was captured after what followed it: it may be a retransmission, and the first may have acknowledged less"...)
		}
	}
	return append(dst, "each FIN acknowledges the other: of one only a retransmission was captured, and the first acknowledged less"...)
}

// whyOne explains what a single FIN, of side s, tells.
func whyOne(dst []byte, c *trace.Conn, s trace.Side, absolute bool) []byte {
	dst = append(dst, "only "...)
	dst = appendFIN(dst, c, s, absolute)
	dst = append(dst, " was seen"...)
	if !c.FINAcked[s] {
		dst = append(dst, ", not acknowledged"...)
	}
	if c.Closer != trace.ClosedUnknown {
		return dst
	}
	peer := s.Peer().String()
	if c.Packets[s.Peer()] == 0 {
		return append(append(append(dst, ", and nothing of the "...), peer...), ", which may have closed before"...)
	}
	if c.BaseISS[s.Peer()] {
		dst = append(append(dst, ", and what is missing of the "...), peer...)
		return append(dst, " may have been its FIN"...)
	}
	dst = append(append(dst, ", and nothing shows that the "...), peer...)
	return append(dst, " had not closed before the capture began"...)
}

// appendFIN appends "client's FIN (seq=103)".
func appendFIN(dst []byte, c *trace.Conn, s trace.Side, absolute bool) []byte {
	dst = append(append(dst, s.String()...), "'s FIN (seq="...)
	return append(number(dst, c, s, c.FINSeq[s], absolute), ')')
}

// appendRST appends the reset that ended a connection, with its number.
func appendRST(dst []byte, c *trace.Conn, absolute bool) []byte {
	dst = append(append(dst, c.ResetBy.String()...), "'s RST"...)
	for i := range c.Steps[:c.NumSteps] {
		if st := &c.Steps[i]; st.From == c.ResetBy && st.Flags.Has(decode.RST) {
			dst = append(dst, " (seq="...)
			dst = number(dst, c, st.From, st.Seq, absolute)
			return append(dst, ')')
		}
	}
	return dst
}

// steps appends the steps of a teardown, a line each: x is the number of the
// first FIN, y that of the second, and an acknowledgment of x is x+1 or more
// (RFC 9293 figure 12).
func (t *Text) steps(dst []byte, c *trace.Conn) []byte {
	if c.NumSteps == 0 {
		return dst
	}
	var names [2]byte // of each side's FIN, by order in the capture
	next := byte('x')
	for i := range c.Steps[:c.NumSteps] {
		st := &c.Steps[i]
		at := len(dst)
		dst = append(dst, "   +"...)
		dst = appendSince(dst, st.Time.Sub(c.Start))
		dst = append(dst, ' ')
		dst = append(dst, st.From.String()...)
		dst = append(dst, ' ')
		dst = t.flags(dst, st.Flags)
		dst = pad(dst, at, stepNumbers)
		fin := st.Flags.Has(decode.FIN) && names[st.From] == 0 && c.FINSeen[st.From]
		if fin {
			names[st.From] = next
			next++
			dst = append(dst, names[st.From], '=')
			dst = number(dst, c, st.From, c.FINSeq[st.From], t.Absolute)
			if n := c.FINSeq[st.From] - st.Seq; n != 0 {
				dst = append(dst, " (seq "...)
				dst = number(dst, c, st.From, st.Seq, t.Absolute)
				dst = append(dst, " + "...)
				dst = appendBytes(dst, uint64(n))
				dst = append(dst, ')')
			}
		} else {
			dst = append(dst, "seq="...)
			dst = number(dst, c, st.From, st.Seq, t.Absolute)
		}
		if st.Flags.Has(decode.ACK) {
			dst = t.stepAck(dst, c, st, names[st.From.Peer()])
		}
		dst = append(dst, '\n')
	}
	at := len(dst)
	dst = append(dst, "   states: "...)
	title := len(dst)
	if dst = appendStatesIn(dst, c); len(dst) > title {
		dst = append(dst, '\n')
	} else {
		dst = dst[:at]
	}
	dst = append(dst, "   why: "...)
	dst = appendWhy(dst, c, t.Absolute)
	return append(dst, '\n')
}

// stepNumbers is the column of a step's numbers.
const stepNumbers = 32

// stepAck appends a step's acknowledgment and, where it covers the FIN called
// fin, what that means.
func (t *Text) stepAck(dst []byte, c *trace.Conn, st *trace.Step, fin byte) []byte {
	peer := st.From.Peer()
	dst = append(dst, " ack="...)
	dst = number(dst, c, peer, st.Ack, t.Absolute)
	beyond := st.Ack - (c.FINSeq[peer] + 1)
	if fin == 0 || int32(beyond) < 0 || st.Flags.Has(decode.RST) {
		return dst
	}
	dst = append(dst, " = "...)
	dst = append(dst, fin, '+', '1')
	if beyond != 0 {
		dst = strconv.AppendUint(append(dst, '+'), uint64(beyond), 10)
	}
	dst = append(dst, ": it has the "...)
	dst = append(dst, peer.String()...)
	return append(dst, "'s FIN"...)
}

// appendStatesIn appends how long each end was in the states of the teardown.
func appendStatesIn(dst []byte, c *trace.Conn) []byte {
	sep := ""
	for s := trace.Client; s <= trace.Server; s++ {
		name := s.String()
		for st := trace.FinWait1; st <= trace.TimeWait; st++ {
			d := c.TimeIn[s][st]
			if d == 0 {
				continue
			}
			dst = append(dst, sep...)
			if name != "" {
				dst = append(append(dst, name...), ' ')
				name = ""
			}
			dst = append(dst, st.String()...)
			dst = append(dst, ' ')
			dst = appendDuration(dst, d)
			sep = ", "
		}
		if name == "" {
			sep = "; "
		}
	}
	return dst
}
