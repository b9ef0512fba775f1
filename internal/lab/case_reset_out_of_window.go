package lab

import (
	"net"

	"finack/decode"
	"finack/internal/kernel"
	"finack/trace"
)

func resetOutOfWindow() *Scenario {
	return &Scenario{
		Name:  "rst-out-of-window",
		Title: "RSTs that do not fit are ignored, one that fits kills",
		Life: "A firewall that has forgotten a flow, a late RST of an earlier connection, or somebody who guesses numbers. " +
			"A RST counts only if its number is exactly RCV.NXT, what its receiver expects next; one elsewhere in the window is " +
			"answered by a challenge ACK, so that a peer that means it can repeat it rightly; one outside is dropped (RFC 5961).",
		Cure: "A RST in a capture is no proof that the connection died: look whether segments follow it, and at " +
			"TcpExtTCPChallengeACK of nstat(8). One that neither program sent, and that fits, comes from something on the way: " +
			"its TTL is often another than the peer's.",
		run: resetsOutOfPlace,
	}
}

func resetsOutOfPlace(s *stage) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	if err := s.pass(client, server, "hello"); err != nil {
		return err
	}
	if err := s.awaitSeen(p, "the server's ACK of the data", 1, ofServer(decode.ACK, 5)); err != nil {
		return err
	}
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	if err := s.ignoredResets(p); err != nil {
		return err
	}
	if err := s.pass(server, client, "alive"); err != nil { // it comes behind both
		return err
	}
	if err := s.awaitSeen(p, "the server's data", 1, data(trace.Server)); err != nil {
		return err
	}
	if err := s.grown(s.client, before, kernel.Counters{"TcpExtTCPChallengeACK": 1}); err != nil {
		return err
	}
	s.say("the client's kernel: TcpExtTCPChallengeACK +1 for two RSTs, and then the server's data went through")
	return s.killedByReset(p, client, server)
}

// ofServer matches a segment of the server with these flags that acknowledges so
// many bytes of the client's data.
func ofServer(flags decode.Flags, bytes uint32) func(*trace.Event) bool {
	return func(e *trace.Event) bool {
		return e.Kind == trace.SegmentSeen && e.From == trace.Server && e.Flags.Has(flags) && e.Ack-e.AckBase == 1+bytes
	}
}

// ignoredResets has two RSTs sent to the client in the server's name: one in the
// window, but not at its beginning, and one far outside.
func (s *stage) ignoredResets(p pipe) error {
	next := s.sndNxt(p)[trace.Server]
	if err := s.inject(s.server, p.reverse(), decode.RST, next+1, 0); err != nil {
		return err
	}
	if err := s.awaitSeen(p, "the challenge ACK", 1, noted(trace.ChallengeACK)); err != nil {
		return err
	}
	if err := s.ends("RST at RCV.NXT+1", p, trace.Established, trace.Established); err != nil {
		return err
	}
	const far = 3 << 29 // no window is more than 1<<30 bytes (RFC 7323 section 2.3)
	if err := s.inject(s.server, p.reverse(), decode.RST, next+far, 0); err != nil {
		return err
	}
	if err := s.awaitSeen(p, "the RST outside the window", 2, anomalous(trace.ResetOutOfPlace)); err != nil {
		return err
	}
	return s.ends("RST outside the window", p, trace.Established, trace.Established)
}

// killedByReset has a RST sent to the client that is exactly where it must be.
func (s *stage) killedByReset(p pipe, client, server net.Conn) error {
	if err := s.inject(s.server, p.reverse(), decode.RST, s.sndNxt(p)[trace.Server], 0); err != nil {
		return err
	}
	if err := reset(client); err != nil {
		return err
	}
	// The wire cannot know that the server did not send it.
	wire := states{trace.Closed, trace.Closed}
	if err := s.endsDiffer("RST exactly at RCV.NXT", p, wire, states{trace.Closed, trace.Established}); err != nil {
		return err
	}
	s.say("the client's read: ECONNRESET; the server, in whose name it came, knows nothing of it until it writes: the client answers with RST")
	s.expect("RST", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.Reset, states: wire,
		also: func(v *trace.Conn) error {
			if v.ResetBy != trace.Server || v.ChallengeACKs != [2]uint32{1, 0} || v.RST[trace.Server] != 3 {
				return checkf("reset by %v, challenge ACKs %v, RSTs %v; want by server, [1 0] and 3 by the server", v.ResetBy, v.ChallengeACKs, v.RST)
			}
			return nil
		},
	})
	if _, err := server.Write([]byte("hello?")); err != nil {
		return checkf("the server's write: %v; want it to know nothing", err)
	}
	if err := reset(server); err != nil {
		return err
	}
	return s.ends("the server has written", p, trace.Closed, trace.Closed)
}

// noted matches a segment with a note.
func noted(n trace.Note) func(*trace.Event) bool {
	return func(e *trace.Event) bool { return e.Kind == trace.SegmentSeen && e.Note&n != 0 }
}
