package bench

import (
	"finack/decode"
	"finack/trace"
)

// plan is what happens in a connection, and what it is to be called.
type plan struct {
	weight    int // its share of the connections of a Short
	handshake trace.HandshakeKind
	teardown  trace.TeardownKind
	by        trace.Closer
	udp       bool
	full      bool // the server's data segments are of full size
	steps     []step
}

// step is one packet.
type step struct {
	from    trace.Side
	flags   decode.Flags
	wait    wait
	place   place
	data    bool // it has a payload; with PSH it has, too
	crossed bool // sent before the peer's last segment came: it acknowledges what the one before did
	repeat  bool // the step and the one before it go on for Spec.Segments
}

// wait is how long after the packet before it a packet comes.
type wait uint8

const (
	soon    wait = iota // some microseconds
	trip                // a round trip
	pause               // of the application, with which a connection lasts about as long as it should
	later               // of the application, while the connection is in use
	resend              // of a retransmission timer: 200 ms (RFC 6298, with Linux's minimum)
	resend1             // that of a SYN: 1 s (RFC 6298 section 2)
	resend2             // and 2 s
)

// place is where a segment lies among what its sender sends.
type place uint8

const (
	inOrder place = iota
	resent        // where the one before was
	early         // one data segment ahead
	filling       // the one that should have come before an early one
	unsent        // sequence number 0
)

const (
	client = trace.Client
	server = trace.Server

	syn    = decode.SYN
	synack = decode.SYN | decode.ACK
	ack    = decode.ACK
	push   = decode.PSH | decode.ACK
	fin    = decode.FIN | decode.ACK
	rst    = decode.RST
	rstack = decode.RST | decode.ACK
)

// opening is a handshake of three segments, a request and an answer.
func opening() []step {
	return []step{
		{from: client, flags: syn},
		{from: server, flags: synack, wait: trip},
		{from: client, flags: ack},
		{from: client, flags: push},
		{from: server, flags: push, wait: trip},
		{from: client, flags: ack},
	}
}

// The ways to close. A step's sender is the one who closes first or, of the
// other, its peer.
func threeStep(s trace.Side) []step {
	return []step{
		{from: s, flags: fin, wait: pause},
		{from: s.Peer(), flags: fin, wait: trip},
		{from: s, flags: ack},
	}
}

func fourStep(s trace.Side) []step {
	return []step{
		{from: s, flags: fin, wait: pause},
		{from: s.Peer(), flags: ack, wait: trip},
		{from: s.Peer(), flags: fin, wait: trip},
		{from: s, flags: ack},
	}
}

func join(parts ...[]step) []step {
	var all []step
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// plans returns those of a Short; the weights add up to weights.
func plans() []plan {
	const threeWay = trace.ThreeWay
	const byClient, byServer, byBoth = trace.ClosedByClient, trace.ClosedByServer, trace.ClosedByBoth
	exchange := []step{
		{from: client, flags: push, wait: soon},
		{from: server, flags: push, wait: trip},
		{from: client, flags: ack},
	}
	return []plan{
		{weight: 190, handshake: threeWay, teardown: trace.ThreeStep, by: byClient, steps: join(opening(), threeStep(client))},
		{weight: 160, handshake: threeWay, teardown: trace.ThreeStep, by: byServer, steps: join(opening(), threeStep(server))},
		{weight: 200, handshake: threeWay, teardown: trace.FourStep, by: byClient, steps: join(opening(), fourStep(client))},
		{weight: 130, handshake: threeWay, teardown: trace.FourStep, by: byServer, steps: join(opening(), fourStep(server))},
		{weight: 140, handshake: threeWay, teardown: trace.ThreeStep, by: byClient, steps: join(opening(), exchange, threeStep(client))},
		{weight: 15, handshake: threeWay, teardown: trace.SimultaneousClose, by: byBoth, steps: join(opening(), []step{
			{from: client, flags: fin, wait: pause},
			{from: server, flags: fin, crossed: true},
			{from: client, flags: ack},
			{from: server, flags: ack},
		})},
		// The client says that it has asked everything, and gets answers yet.
		{weight: 25, handshake: threeWay, teardown: trace.FourStep, by: byClient, steps: join(opening(), []step{
			{from: client, flags: fin, wait: pause},
			{from: server, flags: ack, wait: trip},
			{from: server, flags: push},
			{from: client, flags: ack},
			{from: server, flags: push},
			{from: client, flags: ack},
			{from: server, flags: fin},
			{from: client, flags: ack},
		})},
		// Segments that are lost after the tap, or overtaken.
		{weight: 20, handshake: threeWay, teardown: trace.FourStep, by: byServer, steps: join(opening(), []step{
			{from: client, flags: push},
			{from: client, flags: push, wait: resend, place: resent},
			{from: server, flags: push, wait: trip},
			{from: client, flags: ack},
		}, fourStep(server))},
		{weight: 10, handshake: threeWay, teardown: trace.ThreeStep, by: byClient, steps: join([]step{
			{from: client, flags: syn},
			{from: client, flags: syn, wait: resend1, place: resent},
		}, opening()[1:], threeStep(client))},
		{weight: 20, handshake: threeWay, teardown: trace.ThreeStep, by: byClient, steps: join(opening(), []step{
			{from: client, flags: push},
			{from: server, flags: push, wait: trip, place: early},
			{from: server, flags: push, place: filling},
			{from: client, flags: ack},
		}, threeStep(client))},
		{weight: 10, handshake: threeWay, teardown: trace.ThreeStep, by: byClient, steps: join(opening(), []step{
			{from: client, flags: fin, wait: pause},
			{from: client, flags: fin, wait: resend, place: resent},
			{from: server, flags: fin, wait: trip},
			{from: client, flags: ack},
		})},
		// Resets, of either side, also after a FIN.
		{weight: 18, handshake: threeWay, teardown: trace.Reset, by: byClient, steps: join(opening(), []step{
			{from: client, flags: rstack, wait: pause},
		})},
		{weight: 12, handshake: threeWay, teardown: trace.Reset, by: byServer, steps: join(opening(), []step{
			{from: server, flags: rstack, wait: pause},
		})},
		{weight: 10, handshake: threeWay, teardown: trace.Reset, by: byServer, steps: join(opening(), []step{
			{from: client, flags: fin, wait: pause},
			{from: server, flags: ack, wait: trip},
			{from: server, flags: rstack},
		})},
		{weight: 14, handshake: trace.Refused, teardown: trace.Reset, by: byServer, steps: []step{
			{from: client, flags: syn},
			{from: server, flags: rstack, place: unsent},
		}},
		{weight: 8, handshake: trace.IncompleteHandshake, steps: []step{
			{from: client, flags: syn},
			{from: client, flags: syn, wait: resend1, place: resent},
			{from: client, flags: syn, wait: resend2, place: resent},
		}},
		{weight: 4, handshake: threeWay, teardown: trace.HalfClosed, by: byServer, steps: join(opening(), []step{
			{from: server, flags: fin, wait: pause},
			{from: client, flags: ack},
		})},
		{weight: 4, handshake: threeWay, steps: opening()},
		{weight: 2, handshake: threeWay, teardown: trace.Unacknowledged, by: byClient, steps: join(opening(), []step{
			{from: client, flags: fin, wait: pause},
		})},
		{weight: 8, udp: true, steps: []step{{from: client}, {from: server, wait: trip}}},
	}
}

// weights is the sum of the plans' weights.
const weights = 1000

// bulkPlan is a download; it closes in three steps.
func bulkPlan() *plan {
	return &plan{
		handshake: trace.ThreeWay, teardown: trace.ThreeStep, by: trace.ClosedByServer, full: true,
		steps: join(opening(), []step{
			{from: server, flags: ack, data: true},
			{from: server, flags: ack, data: true},
			{from: client, flags: ack, repeat: true},
		}, threeStep(server)),
	}
}

// openPlan is a connection that stays; resetPlan one that ends before the next
// ones begin.
func openPlan() *plan {
	return &plan{handshake: trace.ThreeWay, steps: opening()}
}

func resetPlan() *plan {
	return &plan{
		handshake: trace.ThreeWay, teardown: trace.Reset, by: trace.ClosedByClient,
		steps: join(opening(), []step{{from: client, flags: rstack}}),
	}
}

// floodPlans are of a server under a SYN flood: most SYNs go unanswered, and
// nobody answers the server.
func floodPlans() (silent, answered, guest *plan) {
	silent = &plan{handshake: trace.IncompleteHandshake, steps: []step{{from: client, flags: syn}}}
	answered = &plan{handshake: trace.IncompleteHandshake, steps: []step{
		{from: client, flags: syn},
		{from: server, flags: synack},
	}}
	guest = &plan{
		handshake: trace.ThreeWay, teardown: trace.FourStep, by: trace.ClosedByClient,
		steps: join(opening(), []step{
			{from: client, flags: push, wait: later},
			{from: server, flags: push, wait: trip},
			{from: client, flags: ack},
		}, fourStep(client)),
	}
	return silent, answered, guest
}
