package lab

import (
	"fmt"
	"net"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

// talkerPort is where the server listens for the client that sends at once.
const talkerPort = serverPort + 1

func lostFinalACK() *Scenario {
	return &Scenario{
		Name:  "lost-final-ack",
		Title: "The ACK of the handshake is lost: only one end is open",
		Life: "connect(2) has returned, accept(2) has not. A client that speaks first mends it with its first " +
			"segment, which has the same ACK. Where the server speaks first (SMTP, FTP, MySQL) both wait, until the " +
			"SYN-ACK comes again after 1 s.",
		Cure: "None is needed. SYN_RECEIVED that lasts (ss -tan state syn-recv) means that no ACK comes back: a " +
			"client that is gone or whose address is forged, or a way on which the ACKs are dropped.",
		wire: []privnet.Rule{
			{From: privnet.A, Flags: decode.ACK, Filter: "dst port 7007", Drop: true},
			// All that are nothing but an ACK: data has PSH, too.
			{From: privnet.A, Filter: "dst port 7008 and tcp[tcpflags] = tcp-ack", Drop: true},
		},
		run: func(s *stage) error {
			if err := s.silentClient(); err != nil {
				return err
			}
			return s.talkingClient()
		},
	}
}

// halfOpen connects the client to a port of the server, over a wire that loses
// its ACKs.
func (s *stage) halfOpen(what string, port int) (a *attempt, ln *net.TCPListener, err error) {
	if ln, err = s.listen(s.server, port); err != nil {
		return nil, nil, err
	}
	if a, err = s.dialing(port); err != nil {
		return nil, nil, err
	}
	if err := s.returned(a, 0); err != nil {
		return nil, nil, err
	}
	established := states{trace.Established, trace.Established} // taken as said
	return a, ln, s.endsDiffer(what, a.pipe, established, states{trace.Established, trace.SynReceived})
}

// silentClient has the client wait: the SYN-ACK comes again.
func (s *stage) silentClient() error {
	a, ln, err := s.halfOpen("silent: ACK lost", serverPort)
	if err != nil {
		return err
	}
	if err := s.caught(0); err != nil {
		return err
	}
	if err := s.lift(0); err != nil {
		return err
	}
	if _, err := s.accept(ln); err != nil {
		return err
	}
	s.expect("Silent", a.pipe, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown,
		states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			again := v.Retransmits[trace.Server]
			if again < 1 || v.SYN != [2]uint32{1, 1 + again} || v.Packets != [2]uint64{2 + uint64(again), 1 + uint64(again)} {
				return checkf("%v segments again, SYNs %v, packets %v; want a SYN-ACK again, and an ACK of each", v.Retransmits, v.SYN, v.Packets)
			}
			return nil
		},
	})
	return s.ends("the SYN-ACK came again", a.pipe, trace.Established, trace.Established)
}

// talkingClient has the client send at once.
func (s *stage) talkingClient() error {
	a, ln, err := s.halfOpen("talking: ACK lost", talkerPort)
	if err != nil {
		return err
	}
	n, err := a.Write([]byte("hello"))
	if err != nil {
		return err
	}
	if _, err := s.accept(ln); err != nil {
		return err
	}
	s.say(fmt.Sprintf("accept(2) returned: for the silent client when the SYN-ACK had come again, for the talking one with its %d bytes.", n))
	s.expect("Talking", a.pipe, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown,
		states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			if v.Retransmits[trace.Client] != 0 || v.Bytes != [2]uint64{uint64(n), 0} {
				return checkf("%v segments again, bytes %v; want %d bytes sent once", v.Retransmits, v.Bytes, n)
			}
			return nil
		},
	})
	return s.ends("the data came", a.pipe, trace.Established, trace.Established)
}
