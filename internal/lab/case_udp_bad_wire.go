package lab

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

// udpCount is how many numbered datagrams are sent.
const udpCount = 6

func udpBadWire() *Scenario {
	return &Scenario{
		Name:  "udp-loss-reorder-dup",
		Title: "UDP over a bad wire: nobody tells, nobody mends",
		Life: "Any path, now and then; a busy receiver drops, too, when its buffer is full. Of six datagrams the wire loses the second, " +
			"delivers the third twice, and lets the fifth overtake the fourth. Every write has succeeded: that says that the " +
			"datagram has left, not that it arrives.",
		Cure: "Number the datagrams, answer them, send again what is not answered: or use TCP or QUIC, which do. Where a buffer " +
			"is full at the receiver, UdpRcvbufErrors of nstat(8) counts it; nobody tells of what is lost on the way.",
		wire: []privnet.Rule{
			numbered(2, privnet.Rule{Drop: true}),
			numbered(3, privnet.Rule{Duplicate: true}),
			numbered(4, privnet.Rule{Reorder: 1, Delay: stagePatience}),
		},
		run: sendNumbered,
	}
}

// numbered makes a rule match the datagrams that say n.
func numbered(n int, r privnet.Rule) privnet.Rule {
	r.From, r.Filter = privnet.A, fmt.Sprintf("udp port %d and udp[8] = %d", udpPort, '0'+n)
	return r
}

func sendNumbered(s *stage) error {
	server, err := s.listenUDP(s.server, udpPort)
	if err != nil {
		return err
	}
	client, err := s.dialUDP(s.client, server.LocalAddr())
	if err != nil {
		return err
	}
	for n := range udpCount {
		if _, err := client.Write(numberedData(n + 1)); err != nil {
			return checkf("write of %d bytes: %v; want every write to succeed", n+1, err)
		}
	}
	s.say("the client's writes: 1 2 3 4 5 6 bytes, each without an error")
	want := []int{1, 3, 3, 5, 4, 6}
	got, err := readNumbered(server, len(want))
	if err != nil {
		return err
	}
	s.say("the server's reads: " + strings.Trim(fmt.Sprint(got), "[]") + " bytes")
	if !slices.Equal(got, want) {
		return checkf("the server has %v, want %v", got, want)
	}
	var c calls
	c.tryRead("server", server)
	c.tryRead("client", client)
	if err := s.tell("Nothing more comes, and nothing comes back:", &c,
		`server: recv(MSG_DONTWAIT) = -1 EAGAIN`,
		`client: recv(MSG_DONTWAIT) = -1 EAGAIN`); err != nil {
		return err
	}
	stats, err := s.wire.Stats()
	if err != nil {
		return err
	}
	s.say(fmt.Sprintf("the wire: %d lost, %d twice, %d overtaken; a capture at the client, before it, shows six that are well",
		stats.Rules[0].Dropped, stats.Rules[1].Duplicated, stats.Rules[2].Reordered))
	p := pipeOf(client)
	s.expect("Bad wire", p, outcome{also: func(v *trace.Conn) error {
		if v.Packets != [2]uint64{udpCount, 0} || v.Unreachable || v.Proto != decode.ProtoUDP {
			return checkf("%v datagrams, unreachable %v; want %d by the client and no ICMP", v.Packets, v.Unreachable, udpCount)
		}
		return nil
	}})
	return s.awaitSeen(p, "every datagram", udpCount, ofKind(trace.DatagramSeen))
}

// numberedData is a datagram that says n, n times.
func numberedData(n int) []byte { return bytes.Repeat([]byte{'0' + byte(n)}, n) }

// readNumbered reads so many numbered datagrams, and returns their numbers.
func readNumbered(c *net.UDPConn, count int) (list []int, err error) {
	buf := make([]byte, usualRoom)
	if err := c.SetReadDeadline(time.Now().Add(stagePatience)); err != nil {
		return nil, err
	}
	for range count {
		n, err := c.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], numberedData(n)) {
			return nil, checkf("the server has %v, and then %q, %v; want %d datagrams", list, buf[:n], err, count)
		}
		list = append(list, n)
	}
	return list, nil
}
