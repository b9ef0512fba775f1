package byhand

import (
	"fmt"
	"strings"

	"finack/decode"
	"finack/trace"
)

// Explain says in a few sentences why a segment was sent, or what came of it:
// how its numbers follow from those before. The numbers are as on the wire.
func (s *Step) Explain() string {
	var list []string
	if s.Sent {
		list = s.explainSent()
	} else {
		list = s.explainHeard()
	}
	return strings.Join(list, " ")
}

// number is a number as it is counted from an ISS or IRS, and as it is.
func number(name string, n, base uint32) string {
	if n == base {
		return fmt.Sprintf("%s = %d", name, n)
	}
	return fmt.Sprintf("%s+%d = %d", name, n-base, n)
}

// ours and theirs are numbers that we and the peer give.
func (s *Step) ours(n uint32) string   { return number("ISS", n, s.ISS) }
func (s *Step) theirs(n uint32) string { return number("IRS", n, s.IRS) }

// finNumber is the number that the segment's FIN takes.
func (s *Step) finNumber() uint32 { return s.Seq + s.Len() - 1 }

func count(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

func (s *Step) explainSent() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s.Why&ByHand != 0 {
		say("Sent by hand, as it is.")
		return list
	}
	if s.Why&Again != 0 && !s.Flags.Has(decode.SYN|decode.ACK) && s.Why&Probes == 0 {
		say("Nobody has acknowledged it: again, with the same number (retransmission %d).", max(1, s.Tries))
	}
	switch n := len(s.Payload); {
	case s.Flags.Has(decode.SYN | decode.ACK):
		say("Its SYN has crossed ours: ack = %s answers it, and our own SYN goes with that once more.", s.theirs(s.Ack))
	case s.Flags.Has(decode.SYN):
		say("We ask for a connection: SYN takes our first number, seq = %s.", s.ours(s.Seq))
		if s.Why&Again == 0 {
			say("There is nothing to acknowledge yet.")
		}
	case s.Flags.Has(decode.RST) && s.Why&Aborts != 0:
		say("We give the connection up: RST with what the peer expects next, seq = %s, counts at once.", s.ours(s.Seq))
	case s.Flags.Has(decode.RST):
		say("It acknowledges what we never sent: RST with that number has it forget an old connection.")
	case s.Why&Probes != 0:
		say("Its window is closed: %s beyond it, seq = %s, asks whether it still is.", count(int(s.Len())), s.ours(s.Seq))
		n = 0
	case n > 0:
		say("%s, of which the first has the number %s.", count(n), s.ours(s.Seq))
	}
	if s.Flags.Has(decode.FIN) && s.Why&Probes == 0 {
		s.explainOurFIN(say)
	}
	s.explainOurACK(say)
	return list
}

func (s *Step) explainOurFIN(say func(string, ...any)) {
	fin := s.ours(s.finNumber())
	switch {
	case s.Why&Again != 0:
		say("FIN takes %s.", fin)
	case s.After == trace.LastAck:
		say("We have finished, too: FIN takes %s. When it is acknowledged, all is over.", fin)
	default:
		say("We have finished: FIN takes a number like a byte, %s. That closes our direction; we still hear the other.", fin)
	}
}

func (s *Step) explainOurACK(say func(string, ...any)) {
	ack := s.theirs(s.Ack)
	switch {
	case s.Why&AcksSYN != 0:
		say("ack = %s: its SYN has arrived. When this has, both ends are ESTABLISHED.", ack)
	case s.Why&AcksFIN != 0:
		say("ack = %s: its FIN has arrived.", ack)
		switch s.After {
		case trace.TimeWait:
			say("We stay in TIME_WAIT: if this ACK is lost, its FIN comes again and must be answered.")
		case trace.CloseWait:
			say("Our own direction is still open.")
		case trace.Closing:
			say("The FINs have crossed: ours is not acknowledged yet.")
		}
	case s.Why&AcksData != 0:
		say("ack = %s: all that is before it has arrived.", ack)
	case s.Why&AnswersProbe != 0:
		say("Our window is closed: ack = %s, window 0.", ack)
	case s.Why&WindowUpdate != 0:
		say("There is room again: window %d.", s.Window)
	case s.Why&Challenges != 0:
		say("That may not be from the peer at all: ack = %s says what we expect, and it can say it again properly (RFC 5961).", ack)
	case s.Why&Repeats != 0:
		say("That is not what comes next: ack = %s once more.", ack)
	}
}

func (s *Step) explainHeard() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s.Why&GetsSYN != 0 {
		say("ack = ISS+1: our SYN has arrived.")
	}
	if s.Why&TakesSYN != 0 {
		say("Its own SYN takes its first number, for us IRS = %d.", s.IRS)
	}
	if s.Why&GetsFIN != 0 {
		say("ack = %s: our FIN has arrived.", s.ours(s.Ack))
	} else if s.Why&GetsData != 0 {
		if s.Ack == s.SndNxt {
			say("ack = %s: all that we have sent has arrived.", s.ours(s.Ack))
		} else {
			say("ack = %s: so much of what we have sent has arrived.", s.ours(s.Ack))
		}
	}
	if s.Why&TakesData != 0 {
		say("%s, of which the first has the number %s: in order.", count(len(s.Payload)), s.theirs(s.Seq))
	}
	if s.Why&TakesFIN != 0 {
		switch s.After {
		case trace.CloseWait, trace.LastAck:
			say("Its FIN takes %s: it has finished. We may go on.", s.theirs(s.finNumber()))
		default:
			say("Its FIN takes %s: it has finished, too.", s.theirs(s.finNumber()))
		}
	}
	if s.Why&Resets != 0 {
		if s.Before == trace.SynSent {
			say("RST that acknowledges our SYN: the connection is refused.")
		} else {
			say("RST with exactly the number that we expect: the connection is gone.")
		}
	}
	if text := s.explainIgnored(); text != "" {
		say("%s", text)
	}
	if len(list) == 0 {
		say("It acknowledges nothing new; its window is %d.", s.Window)
	}
	return list
}

// explainIgnored says why a segment changes nothing, "" if it does.
func (s *Step) explainIgnored() string {
	switch {
	case s.Why&BadAck != 0:
		return fmt.Sprintf("ack = %d acknowledges what we never sent, or is far too old: nothing of it is taken.", s.Ack)
	case s.Why&NoACK != 0:
		return "Without ACK it says nothing inside a connection: dropped."
	case s.Why&NoSYN != 0:
		return "Before its SYN nothing else counts: dropped."
	case s.Why&StrayRST != 0:
		return "RST, but not with exactly the number that we expect: it changes nothing (RFC 5961)."
	case s.Why&SYNInside != 0:
		return "SYN inside a connection: it changes nothing (RFC 5961)."
	case s.Why&OutOfOrder != 0:
		return fmt.Sprintf("Something before it is missing: %s is expected, so it will have to come again.", s.theirs(s.RcvNxt))
	case s.Why&Outside != 0:
		return "It lies outside our window: dropped."
	case s.Why&NoRoom != 0:
		return "Our window is closed: it will have to come again."
	case s.Why&Repeated != 0:
		return "It has come before: our acknowledgment was lost, or is under way."
	case s.Why&Late != 0:
		return "The connection is over: it changes nothing."
	case s.Why&Damaged != 0:
		return "It is damaged or cut: dropped."
	case s.Why&OldAck != 0:
		return "It was overtaken: its ack says nothing new."
	}
	return ""
}
