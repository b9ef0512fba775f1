package lab

import (
	"fmt"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func reorderedData() *Scenario {
	const delay = 20 * time.Millisecond
	return &Scenario{
		Name:  "reordered-data",
		Title: "Data segments overtake another on the way; none is lost",
		Life: "Two paths of different length, or a network card with many queues. What comes too early waits in the receiver's " +
			"queue, and the program reads all in order. The receiver cannot know that nothing is lost, and asks again for what " +
			"is missing; the sender waits for a quarter of the round trip (RACK, RFC 8985) before it believes in a loss.",
		Cure: "None for a few. Where it is the rule, senders repeat what had arrived: TcpExtTCPDSACKRecv of nstat(8) grows at the sender, " +
			"and TcpExtTCPOFOQueue at the receiver.",
		wire: []privnet.Rule{
			{Delay: delay}, // a round trip in which this is a short time
			{From: privnet.B, Flags: decode.PSH, Nth: 2, Reorder: 1, Delay: stagePatience},
		},
		run: reorderData,
	}
}

func reorderData(s *stage) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	if err := s.sendBurst(s.server, server, client); err != nil {
		return err
	}
	if err := s.awaitSeen(p, "the ACK of everything", 1, acks(trace.Client, 1+burst*burstPart)); err != nil {
		return err
	}
	after, err := s.counters(s.client)
	if err != nil {
		return err
	}
	early := after["TcpExtTCPOFOQueue"] - before["TcpExtTCPOFOQueue"]
	if early == 0 {
		return checkf("the client's kernel has queued no segment that came early")
	}
	s.say(fmt.Sprintf("the client's read: all %d bytes, in order; its kernel: TcpExtTCPOFOQueue +%d", burst*burstPart, early))
	s.expect("Reordered", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			if v.OutOfOrder != [2]uint32{0, 1} || v.Gaps != [2]uint32{0, 1} || v.Retransmits != [2]uint32{} {
				return checkf("out of order %v, gaps %v, sent again %v; want one, one and none, by the server", v.OutOfOrder, v.Gaps, v.Retransmits)
			}
			return nil
		},
	})
	return nil
}
