package lab

import (
	"fmt"
	"net"
	"strings"

	"finack/decode"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/internal/render"
	"finack/trace"
)

// burst is how many segments of data are sent at once, and burstPart the bytes
// in each.
const (
	burst     = 5
	burstPart = 10
)

func lostData() *Scenario {
	return &Scenario{
		Name:  "lost-data",
		Title: "One of five data segments is lost: duplicate ACKs, SACK",
		Life: "Any congested link. The receiver cannot take what comes behind the gap, but keeps it, and says with each " +
			"segment what it still waits for: the same ACK again, with SACK blocks for what it has (RFC 2018). So the " +
			"sender knows what is lost a round trip later, and sends only that; without segments behind it, it would " +
			"have to wait for its timeout, 200 ms or more.",
		Cure: "None for one in thousands. TcpRetransSegs against TcpOutSegs of nstat(8) is the rate; what is lost at the end " +
			"of an answer costs most.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.PSH, Nth: 2, Drop: true}},
		run:  loseData,
	}
}

func loseData(s *stage) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	if err := s.sendBurst(s.client, client, server); err != nil {
		return err
	}
	after, err := s.sentAgain(p, trace.Client)
	if err != nil {
		return err
	}
	const waits = 1 + burstPart // the ACK that says so, relative to the ISS
	if err := s.awaitSeen(p, "the ACK of everything", 1, acks(trace.Server, 1+burst*burstPart)); err != nil {
		return err
	}
	s.rec.mu.Lock()
	same := count(s.events(p), acks(trace.Server, waits))
	s.rec.mu.Unlock()
	if same < 2 {
		return checkf("%d ACKs ask for the lost segment, want duplicates", same)
	}
	how, err := s.howSentAgain(before)
	if err != nil {
		return err
	}
	s.say(fmt.Sprintf("ack=%d came %d times, and then the ACK of all %d bytes at once", waits, same, burst*burstPart))
	s.say(fmt.Sprintf("sent again after %s, by %s", render.Duration(after), how))
	s.expect("Lost data", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: states{trace.Established, trace.Established},
		also: retransmits(trace.Client),
	})
	return nil
}

// sendBurst writes the segments of a burst one by one, from a host, and reads
// them all. Each is a segment with PSH: package net sets TCP_NODELAY, and
// nothing else may join them.
func (s *stage) sendBurst(h *privnet.Host, from, to net.Conn) error {
	if err := s.setSysctl(h, "net.ipv4.tcp_autocorking", "0"); err != nil {
		return err
	}
	part := strings.Repeat("x", burstPart)
	for range burst {
		if _, err := from.Write([]byte(part)); err != nil {
			return err
		}
	}
	return s.arrives(to, strings.Repeat(part, burst))
}

// acks matches an ACK of a side for a number relative to the ISS.
func acks(from trace.Side, ack uint32) func(*trace.Event) bool {
	return func(e *trace.Event) bool {
		return e.Kind == trace.SegmentSeen && e.From == from && e.Ack-e.AckBase == ack
	}
}

// howSentAgain says why the client's kernel has sent something again, by what it
// counts.
func (s *stage) howSentAgain(since kernel.Counters) (string, error) {
	now, err := s.counters(s.client)
	if err != nil {
		return "", err
	}
	for _, x := range [...]struct{ counter, name string }{
		{"TcpExtTCPTimeouts", "the retransmission timeout"},
		{"TcpExtTCPFastRetrans", "fast retransmit"},
		{"TcpExtTCPLossProbes", "a tail loss probe (RFC 8985)"},
	} {
		if n := now[x.counter] - since[x.counter]; n > 0 {
			return fmt.Sprintf("%s: %s +%d", x.name, x.counter, n), nil
		}
	}
	return "", checkf("the client's kernel counts nothing that it sent again")
}
