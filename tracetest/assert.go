package tracetest

import (
	"testing"

	"finack/decode"
	"finack/trace"
)

// ClosedBy fails the test unless that side closed first: the FIN of the other
// side acknowledges its FIN, or is missing. Where the FINs crossed nobody was the
// first: TeardownIs with trace.SimultaneousClose.
func (c *Conn) ClosedBy(t testing.TB, side trace.Side) {
	t.Helper()
	want := [...]trace.Closer{trace.ClosedByClient, trace.ClosedByServer}[side]
	got := c.verdict.Closer
	if got == want {
		return
	}
	who := "the " + got.String()
	switch got {
	case trace.NoCloser:
		who = "nobody did: there is no FIN"
	case trace.ClosedByBoth:
		who = "both did at once: neither FIN acknowledges the other"
	case trace.ClosedUnknown:
		who = "it cannot be known from what was captured"
	}
	c.fail(t, c.firstWith(decode.FIN), "want the %v to close first, got: %s", side, who)
}

// Orderly fails the test unless both sides have sent FIN, both FINs were
// acknowledged, and nobody has sent RST: in four steps, three, or simultaneously.
func (c *Conn) Orderly(t testing.TB) {
	t.Helper()
	v := c.verdict
	switch {
	case v.RST != [2]uint32{}:
		c.fail(t, c.firstWith(decode.RST), "want an orderly close, got RST from the %s", sides(v.RST))
	case v.FINSeen == [2]bool{}:
		c.fail(t, -1, "want an orderly close, got no FIN")
	case !v.FINSeen[trace.Client] || !v.FINSeen[trace.Server]:
		c.fail(t, c.firstWith(decode.FIN), "want an orderly close, got FIN from the %s only", boolSides(v.FINSeen))
	case !v.Complete:
		c.fail(t, c.firstWith(decode.FIN), "want an orderly close, got a FIN that was not acknowledged")
	}
}

// TeardownIs fails the test unless the connection ended that way: FourStep,
// ThreeStep and SimultaneousClose with both FINs acknowledged.
func (c *Conn) TeardownIs(t testing.TB, kind trace.TeardownKind) {
	t.Helper()
	v := c.verdict
	mark := c.firstWith(decode.FIN | decode.RST)
	if v.Teardown != kind {
		c.fail(t, mark, "want teardown %v, got %v", kind, v.Teardown)
		return
	}
	closes := kind == trace.FourStep || kind == trace.ThreeStep || kind == trace.SimultaneousClose
	if closes && !v.Complete {
		c.fail(t, mark, "want teardown %v, got one whose last FIN was not acknowledged", kind)
	}
}

// FourStep is TeardownIs with trace.FourStep: FIN, ACK, FIN, ACK. The kernel
// saves the second where the other side closes at once: see Orderly.
func (c *Conn) FourStep(t testing.TB) {
	t.Helper()
	c.TeardownIs(t, trace.FourStep)
}

// ThreeStep is TeardownIs with trace.ThreeStep: the second FIN rides on the ACK
// of the first. It does not where the machine is busy: see Orderly.
func (c *Conn) ThreeStep(t testing.TB) {
	t.Helper()
	c.TeardownIs(t, trace.ThreeStep)
}

// HalfClosed fails the test unless there was a time, however short, in which
// that side had closed its direction, acknowledged, and the other had not: it
// could go on sending. Verdict().HalfClose tells how long and how much.
func (c *Conn) HalfClosed(t testing.TB, by trace.Side) {
	t.Helper()
	h := c.verdict.HalfClose
	switch {
	case !h.Seen:
		c.fail(t, c.firstWith(decode.FIN|decode.RST), "want half-closed by the %v, got no time in which one direction alone was closed", by)
	case h.By != by:
		c.fail(t, c.firstWith(decode.FIN), "want half-closed by the %v, got the %v", by, h.By)
	}
}

// NoReset fails the test if one of the sides has sent RST.
func (c *Conn) NoReset(t testing.TB) {
	t.Helper()
	if n := c.verdict.RST; n != [2]uint32{} {
		c.fail(t, c.firstWith(decode.RST), "want no RST, got %d from the %s", n[0]+n[1], sides(n))
	}
}

// ResetBy fails the test unless a RST of that side ended the connection, or
// refused it.
func (c *Conn) ResetBy(t testing.TB, side trace.Side) {
	t.Helper()
	switch v := c.verdict; {
	case !v.WasReset:
		c.fail(t, c.firstWith(decode.RST|decode.FIN), "want a reset by the %v, got teardown %v", side, v.Teardown)
	case v.ResetBy != side:
		c.fail(t, c.firstWith(decode.RST), "want a reset by the %v, got one by the %v", side, v.ResetBy)
	}
}

// NoRetransmits fails the test if a segment was sent again, a SYN included. On a
// busy machine the kernel does that even on loopback, where nothing is lost: when
// an ACK is milliseconds late (RFC 8985, tail loss probe).
func (c *Conn) NoRetransmits(t testing.TB) {
	t.Helper()
	n := c.verdict.Retransmits
	if n == [2]uint32{} {
		return
	}
	mark := c.first(func(e *trace.Event) bool { return e.Note&trace.Retransmission != 0 })
	c.fail(t, mark, "want no retransmission, got %d from the %s", n[0]+n[1], sides(n))
}

// HandshakeIs fails the test unless the connection opened that way, as
// trace.ThreeWay or trace.Refused.
func (c *Conn) HandshakeIs(t testing.TB, kind trace.HandshakeKind) {
	t.Helper()
	if got := c.verdict.Handshake; got != kind {
		c.fail(t, c.firstWith(decode.SYN), "want handshake %v, got %v", kind, got)
	}
}

// States fails the test unless the ends are in these states, as far as packets
// prove it. Who closed first is in TIME_WAIT when the connection is over.
func (c *Conn) States(t testing.TB, client, server trace.State) {
	t.Helper()
	if got := c.verdict.States; got != [2]trace.State{client, server} {
		mark := -1
		for i := range c.events {
			if e := &c.events[i]; isPacket(e) && (e.Changed[0] || e.Changed[1]) {
				mark = i
			}
		}
		c.fail(t, mark, "want the client %v and the server %v, got %v and %v", client, server, got[0], got[1])
	}
}

// first returns the place of the first packet that is so, −1 for none.
func (a *account) first(is func(*trace.Event) bool) int {
	for i := range a.events {
		if e := &a.events[i]; isPacket(e) && is(e) {
			return i
		}
	}
	return -1
}

// firstWith returns the place of the first segment with one of these flags.
func (a *account) firstWith(f decode.Flags) int {
	return a.first(func(e *trace.Event) bool { return e.Flags.Any(f) })
}

// sides names those with a count.
func sides(n [2]uint32) string { return boolSides([2]bool{n[0] > 0, n[1] > 0}) }

func boolSides(is [2]bool) string {
	switch is {
	case [2]bool{true, false}:
		return "client"
	case [2]bool{false, true}:
		return "server"
	default:
		return "client and the server"
	}
}
