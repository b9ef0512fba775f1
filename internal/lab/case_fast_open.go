package lab

import (
	"fmt"
	"net"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

// fastOpenQueue is how many connections may be in SYN_RECEIVED with their data.
const fastOpenQueue = 16

// The ports of the client's two connections.
const (
	firstPort  = 40001
	secondPort = 40002
)

func fastOpen() *Scenario {
	return &Scenario{
		Name:  "fast-open",
		Title: "TCP Fast Open: data on the SYN, a round trip saved",
		Life: "A client that comes back (RFC 7413): its first connection asks for a cookie, the later ones send it " +
			"with the request on the SYN. The server reads before the handshake is complete.",
		Cure: "net.ipv4.tcp_fastopen must be 1 at clients (the default) and 2 at servers, 3 for both; programs opt in " +
			"by TCP_FASTOPEN_CONNECT and TCP_FASTOPEN. A SYN may come twice, so only requests that may be " +
			"repeated belong on it. Middleboxes that drop it cost 1 s.",
		wire: []privnet.Rule{
			// The ACK of the second handshake, for a look at both ends before it comes.
			{From: privnet.A, Filter: "src port 40002", Flags: decode.ACK, Hold: true},
		},
		run: func(s *stage) error {
			for _, h := range []*privnet.Host{s.client, s.server} {
				if err := s.setSysctl(h, "net.ipv4.tcp_fastopen", "3"); err != nil {
					return err
				}
			}
			ln, err := s.listen(s.server, serverPort)
			if err != nil {
				return err
			}
			if err := setTCP(ln, "TCP_FASTOPEN", tcpFastOpen, fastOpenQueue); err != nil {
				return err
			}
			if err := s.fetchCookie(ln); err != nil {
				return err
			}
			return s.sendOnSYN(ln)
		},
	}
}

// dialFastOpen begins a connect(2) whose SYN may wait for the data.
func (s *stage) dialFastOpen(from int) (*attempt, error) {
	c, err := s.bound(s.client, socketPort(s.client.Addr, from))
	if err != nil {
		return nil, err
	}
	if err := setTCP(c, "TCP_FASTOPEN_CONNECT", tcpFastOpenConnect, 1); err != nil {
		return nil, err
	}
	a := s.connecting(c, socketPort(s.server.Addr, serverPort))
	return a, s.returned(a, 0)
}

// fetchCookie connects for the first time: an ordinary handshake, with the
// cookie in its options.
func (s *stage) fetchCookie(ln *net.TCPListener) error {
	a, err := s.dialFastOpen(firstPort)
	if err != nil {
		return err
	}
	if _, err := s.accept(ln); err != nil {
		return err
	}
	s.expect("First", a.pipe, outcome{
		handshake: trace.ThreeWay, states: states{trace.Established, trace.Established},
	})
	return s.ends("the first: a cookie", a.pipe, trace.Established, trace.Established)
}

// sendOnSYN connects again: the SYN waits for the data, and has the cookie.
func (s *stage) sendOnSYN(ln *net.TCPListener) error {
	a, err := s.dialFastOpen(secondPort)
	if err != nil {
		return err
	}
	sent, err := a.Write([]byte("hello"))
	if err != nil {
		return err
	}
	c, err := s.accept(ln)
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(s.patience())); err != nil {
		return err
	}
	got := make([]byte, 64)
	n, err := c.Read(got)
	if err != nil {
		return err
	}
	// The client's ACK, on its way, is taken as said.
	established := states{trace.Established, trace.Established}
	if err := s.endsDiffer("the server has read", a.pipe, established, states{trace.Established, trace.SynReceived}); err != nil {
		return err
	}
	s.say(fmt.Sprintf("accept(2) returned, and the server read %d bytes (%q), while its end was in SYN_RECEIVED.", n, got[:n]))
	if err := s.countFastOpens(); err != nil {
		return err
	}
	if err := s.lift(0); err != nil {
		return err
	}
	s.expect("Second", a.pipe, outcome{
		handshake: trace.FastOpen, states: established,
		also: func(v *trace.Conn) error {
			if v.SYN[trace.Client] != 1 || n != sent || v.Bytes != [2]uint64{uint64(n), 0} || v.Retransmits[trace.Client] != 0 {
				return checkf("SYNs %v, %v bytes, %v segments again; want %d bytes, on the SYN", v.SYN, v.Bytes, v.Retransmits, sent)
			}
			return nil
		},
	})
	return s.ends("its ACK has come", a.pipe, trace.Established, trace.Established)
}

// countFastOpens says what the kernels have counted.
func (s *stage) countFastOpens() error {
	client, err := s.counters(s.client)
	if err != nil {
		return err
	}
	server, err := s.counters(s.server)
	if err != nil {
		return err
	}
	active, passive, asked := client["TcpExtTCPFastOpenActive"], server["TcpExtTCPFastOpenPassive"], server["TcpExtTCPFastOpenCookieReqd"]
	s.say(fmt.Sprintf("TcpExtTCPFastOpenCookieReqd %d and TCPFastOpenPassive %d at the server, TCPFastOpenActive %d at the client.", asked, passive, active))
	if active != 1 || passive != 1 || asked != 1 {
		return checkf("fast opens: %d by the client, %d by the server, %d cookies; want one of each", active, passive, asked)
	}
	return nil
}
