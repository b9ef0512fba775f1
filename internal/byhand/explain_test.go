package byhand

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/trace"
)

// TestExplanations plays a connection whose numbers are easily added.
func TestExplanations(t *testing.T) {
	m := NewMachine(&MachineConfig{Local: ourEnd, Remote: theirEnd, ISS: 1000})
	now := time.Unix(1, 0)
	var said []string
	steps := func() {
		m.Steps(func(s *Step) {
			arrow := "< "
			if s.Sent {
				arrow = "> "
			}
			said = append(said, arrow+s.Explain())
		})
	}
	hear := func(text string) {
		p := parse(t, text, 5000, 1000)
		p.Src, p.Dst = decode.EndpointOf(theirEnd), decode.EndpointOf(ourEnd)
		m.Receive(now, &p)
		steps()
	}
	m.Open(now)
	m.Advance(m.Next())
	hear("SYN,ACK seq=0 ack=1")
	m.Write(now, make([]byte, 64))
	hear("ACK seq=1 ack=65")
	hear("PSH,ACK seq=2 ack=65 len=1")
	hear("PSH,ACK seq=1 ack=65 len=64")
	hear("RST seq=66")
	m.CloseWrite(now)
	m.Advance(m.Next())
	hear("ACK seq=65 ack=66")
	hear("FIN,ACK seq=65 ack=66")
	hear("FIN,ACK seq=65 ack=66")
	want := []string{
		"> We ask for a connection: SYN takes our first number, seq = ISS = 1000. There is nothing to acknowledge yet.",
		"> Nobody has acknowledged it: again, with the same number (retransmission 1). We ask for a connection: SYN takes our first number, seq = ISS = 1000.",
		"< ack = ISS+1: our SYN has arrived. Its own SYN takes its first number, for us IRS = 5000.",
		"> ack = IRS+1 = 5001: its SYN has arrived. When this has, both ends are ESTABLISHED.",
		"> 64 bytes, of which the first has the number ISS+1 = 1001.",
		"< ack = ISS+65 = 1065: all that we have sent has arrived.",
		"< Something before it is missing: IRS+1 = 5001 is expected, so it will have to come again.",
		"> That is not what comes next: ack = IRS+1 = 5001 once more.",
		"< 64 bytes, of which the first has the number IRS+1 = 5001: in order.",
		"> ack = IRS+65 = 5065: all that is before it has arrived.",
		"< RST, but not with exactly the number that we expect: it changes nothing (RFC 5961).",
		"> That may not be from the peer at all: ack = IRS+65 = 5065 says what we expect, and it can say it again properly (RFC 5961).",
		"> We have finished: FIN takes a number like a byte, ISS+65 = 1065. That closes our direction; we still hear the other.",
		"> Nobody has acknowledged it: again, with the same number (retransmission 1). FIN takes ISS+65 = 1065.",
		"< ack = ISS+66 = 1066: our FIN has arrived.",
		"< Its FIN takes IRS+65 = 5065: it has finished, too.",
		"> ack = IRS+66 = 5066: its FIN has arrived. We stay in TIME_WAIT: if this ACK is lost, its FIN comes again and must be answered.",
		"< It has come before: our acknowledgment was lost, or is under way.",
		"> That is not what comes next: ack = IRS+66 = 5066 once more.",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if m.Status().State != trace.TimeWait {
		t.Errorf("%v", m.Status())
	}
}
