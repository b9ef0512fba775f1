package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"finack/decode"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// stagePatience is for what takes milliseconds, or a few retransmissions.
const stagePatience = 20 * time.Second

// moment is the states of both ends of a connection at a moment, each by the
// wire and by the kernel: CLOSED there is that it has no socket of it.
type moment struct {
	What         string `json:"moment"`
	ClientWire   string `json:"client_wire"`
	ClientKernel string `json:"client_kernel"`
	ServerWire   string `json:"server_wire"`
	ServerKernel string `json:"server_kernel"`
}

// states are those of the client and of the server.
type states [2]trace.State

// ends waits until both the wire and the kernel have the ends of a connection
// in these states, and notes the moment. The longest text is 22 characters.
func (s *stage) ends(what string, p pipe, client, server trace.State) error {
	return s.endsDiffer(what, p, states{client, server}, states{client, server})
}

// endsDiffer is ends where packets do not prove all that the kernel knows, or
// prove it later.
func (s *stage) endsDiffer(what string, p pipe, wire, inKernel states) error {
	var gotWire, gotKernel states
	err := await(s.ctx, s.patience(), func() error {
		gotWire = s.wireStates(p)
		var err error
		if gotKernel, err = s.kernelStates(p); err != nil {
			return err
		}
		if gotWire != wire || gotKernel != inKernel {
			return checkf("%s: client and server are in %v by the wire and in %v by the kernel; want %v and %v", what, gotWire, gotKernel, wire, inKernel)
		}
		return nil
	})
	s.moments = append(s.moments, moment{
		what,
		gotWire[trace.Client].String(), gotKernel[trace.Client].String(),
		gotWire[trace.Server].String(), gotKernel[trace.Server].String(),
	})
	return err
}

// wireStates returns the states that packets prove.
func (s *stage) wireStates(p pipe) states {
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	events := s.events(p)
	if len(events) == 0 {
		return states{}
	}
	return events[len(events)-1].States
}

// kernelStates returns the states that the hosts' kernels have.
func (s *stage) kernelStates(p pipe) (got states, err error) {
	client, err := s.socket(s.client, p)
	if err != nil {
		return got, err
	}
	host := s.server
	if s.sc.onLo {
		host = s.client
	}
	server, err := s.socket(host, p.reverse())
	return states{client.State, server.State}, err
}

// socket returns a host's socket from p.client, as its own end, to p.server; one
// that is CLOSED when it has none.
func (s *stage) socket(h *privnet.Host, p pipe) (kernel.Socket, error) {
	list, err := s.sockets(h)
	if err != nil {
		return kernel.Socket{}, err
	}
	i := slices.IndexFunc(list, func(k kernel.Socket) bool { return k.Local == p.client && k.Remote == p.server })
	if i < 0 {
		return kernel.Socket{State: trace.Closed}, nil
	}
	return list[i], nil
}

// sockets returns a host's TCP sockets.
func (s *stage) sockets(h *privnet.Host) (list []kernel.Socket, err error) {
	err = h.Do(func() (err error) {
		list, err = kernel.Sockets()
		return err
	})
	return list, err
}

// appendMoments appends the states as a table.
func (s *stage) appendMoments(dst []byte) []byte {
	if len(s.moments) == 0 {
		return dst
	}
	dst = append(dst, ` Both ends, by the wire and by the kernel (sock_diag):
                        client                      server
                        wire          kernel        wire          kernel
`...)
	for _, m := range s.moments {
		line := fmt.Sprintf(" %-22s %-13s %-13s %-13s %s", m.What, m.ClientWire, m.ClientKernel, m.ServerWire, m.ServerKernel)
		dst = append(append(dst, strings.TrimRight(line, " ")...), '\n')
	}
	return append(dst, '\n')
}

// outcome is what must have come of a connection.
type outcome struct {
	handshake trace.HandshakeKind
	teardown  trace.TeardownKind
	closer    trace.Closer
	states    states
	// also checks more of it; nil: nothing. What it returns says what was wanted.
	also func(*trace.Conn) error
}

// expectation is an outcome that is looked at when the scenario has run.
type expectation struct {
	title string // "": it is not shown
	pipe  pipe
	conn  uint64 // its number; 0: the last one between its ends
	want  outcome
}

// expect says what must come of a connection or flow, and has it shown under a
// title of at most 10 characters, or not at all without one. It is called before
// another one begins between the same ends.
func (s *stage) expect(title string, p pipe, want outcome) {
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	x := expectation{title: title, pipe: p, want: want}
	if events := s.events(p); len(events) > 0 {
		x.conn = events[0].Conn
	}
	s.expected = append(s.expected, x)
}

// of returns the events of what is expected. The recorder must be locked.
func (s *stage) of(x *expectation) []trace.Event {
	if x.conn != 0 {
		return s.rec.events[x.conn]
	}
	return s.events(x.pipe)
}

// settled waits until the capture shows the states that are expected.
func (s *stage) settled() error {
	for i := range s.expected {
		x := &s.expected[i]
		var got states
		err := s.rec.until(s.ctx, s.patience(), x.pipe.String(), func() bool {
			events := s.of(x)
			if len(events) == 0 {
				return false
			}
			got = events[len(events)-1].States
			return events[0].Proto != decode.ProtoTCP || got == x.want.states
		})
		if err != nil {
			return fmt.Errorf("%w: %v in %v, want %v", err, x.pipe, got, x.want.states)
		}
	}
	return nil
}

// check compares what has come of each connection with what was expected. The
// capture has ended, and every connection has its verdict.
func (s *stage) check() error {
	for i := range s.expected {
		x := &s.expected[i]
		v := verdict(s.of(x))
		if v == nil {
			return checkf("%v: the capture does not show it", x.pipe)
		}
		if got := (outcome{handshake: v.Handshake, teardown: v.Teardown, closer: v.Closer, states: v.States}); v.Proto == decode.ProtoTCP && !got.equals(&x.want) {
			return checkf("%v: %v; want %v", x.pipe, &got, &x.want)
		}
		if x.want.also != nil {
			if err := x.want.also(v); err != nil {
				return fmt.Errorf("%v: %w", x.pipe, err)
			}
		}
	}
	return nil
}

func (o *outcome) equals(p *outcome) bool {
	return o.handshake == p.handshake && o.teardown == p.teardown && o.closer == p.closer && o.states == p.states
}

// String returns the outcome as it is told in an error.
func (o *outcome) String() string {
	closer := o.closer.String()
	if closer == "" {
		closer = "nobody"
	}
	return fmt.Sprintf("%v, %v by %s, %v and %v", o.handshake, o.teardown, closer, o.states[trace.Client], o.states[trace.Server])
}

// appendExpected appends the ladders of what was expected, and the verdicts.
func (s *stage) appendExpected(dst []byte) []byte {
	for i := range s.expected {
		x := &s.expected[i]
		events := s.of(x)
		if x.title == "" || len(events) == 0 {
			continue
		}
		dst = s.text.AppendLadder(dst, x.title, events)
		if v := verdict(events); v != nil && v.Proto == decode.ProtoTCP {
			how, where, _ := strings.Cut(string(s.text.AppendOutcome(nil, v)), "; ")
			dst = fmt.Appendf(dst, " %s\n %s\n", how, where)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// String returns "client > server".
func (p pipe) String() string { return p.client.String() + " > " + p.server.String() }
