package lab

import (
	"finack/decode"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/internal/render"
	"finack/trace"
)

func wrongChecksum() *Scenario {
	return &Scenario{
		Name:  "wrong-checksum",
		Title: "A damaged segment is dropped in silence, and sent again",
		Life: "Bad memory in a switch, a broken driver or NAT. The receiver adds up the checksum and drops what does not fit " +
			"without a word (RFC 9293 section 3.1): to the sender it is lost, and sent again when no ACK has come, after 200 ms or more. " +
			"A capture shows it as if it had arrived.",
		Cure: "TcpInCsumErrors of nstat(8) at the receiver; on a healthy link it stays 0. Locally sent segments that a capture " +
			"calls wrong are none: the hardware fills their checksums in later.",
		wire: []privnet.Rule{{From: privnet.B, Flags: decode.PSH, Nth: 1, Corrupt: true}},
		run:  damagedData,
	}
}

func damagedData(s *stage) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	if err := s.pass(server, client, "hello"); err != nil {
		return err
	}
	if err := s.grown(s.client, before, kernel.Counters{"TcpInCsumErrors": 1}); err != nil {
		return err
	}
	again, err := s.sentAgain(p, trace.Server)
	if err != nil {
		return err
	}
	s.say("the client's kernel: TcpInCsumErrors +1; its read returned once, with all 5 bytes")
	s.say("the server sent them again after " + render.Duration(again))
	s.expect("Checksum", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: states{trace.Established, trace.Established},
		also: retransmits(trace.Server),
	})
	return s.ends("the data is there", p, trace.Established, trace.Established)
}
