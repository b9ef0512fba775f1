package render

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/trace"
)

// story is one connection with a half-close, a reused 4-tuple, a refused one
// over IPv6, a UDP exchange that ends in an ICMP error, a ping, and what they lead to.
func story(t testing.TB) (events []trace.Event, conns []*trace.Conn) {
	t.Helper()
	client := decode.EndpointOf(netip.MustParseAddrPort("10.0.0.1:40000"))
	server := decode.EndpointOf(netip.MustParseAddrPort("10.0.0.2:80"))
	v6 := decode.EndpointOf(netip.MustParseAddrPort("[2001:db8::1]:40001"))
	v6srv := decode.EndpointOf(netip.MustParseAddrPort("[2001:db8::2]:81"))
	tr := trace.New(&trace.Config{All: true})
	at := decode.TimestampOf(time.Date(2026, 1, 2, 3, 4, 5, 1, time.UTC))
	send := func(from, to decode.Endpoint, f decode.Flags, seq, ack uint32, n int) {
		at = at.Add(time.Millisecond)
		p := decode.Packet{
			Time: at, Proto: decode.ProtoTCP, Version: 4, Src: from, Dst: to, Len: n, IPID: uint32(len(events)),
			Segment: decode.Segment{Seq: seq, Ack: ack, Flags: f, Window: 512},
		}
		events = tr.Observe(&p, events)
	}
	send(client, server, decode.SYN, 100, 0, 0)
	send(server, client, decode.SYN|decode.ACK, 300, 101, 0)
	send(client, server, decode.ACK, 101, 301, 0)
	send(client, server, decode.PSH|decode.ACK, 101, 301, 5)
	send(client, server, decode.PSH|decode.ACK, 101, 301, 5)
	send(client, server, decode.FIN|decode.ACK, 106, 301, 0)
	send(server, client, decode.ACK, 301, 107, 0)
	send(server, client, decode.RST, 999, 0, 0)
	send(server, client, decode.PSH|decode.ACK, 301, 107, 20000)
	send(server, client, decode.FIN|decode.ACK, 20301, 107, 0)
	send(client, server, decode.ACK, 107, 20302, 0)
	at = at.Add(time.Second)
	send(server, client, decode.FIN|decode.ACK, 20301, 107, 0)
	send(client, server, decode.ACK, 107, 20302, 0)
	send(client, server, decode.SYN, 90000, 0, 0)
	send(v6, v6srv, decode.SYN, 1, 0, 0)
	send(v6srv, v6, decode.RST|decode.ACK, 0, 2, 0)
	udp := decode.Packet{Time: at, Proto: decode.ProtoUDP, Version: 4, Src: client, Dst: server, Len: 5}
	events = tr.Observe(&udp, events)
	events = tr.Observe(&decode.Packet{
		Time: at, Proto: decode.ProtoICMP, Version: 4, Src: server, Dst: client,
		ICMP: decode.ICMP{Type: 3, Code: 3, Error: true, QuotedProto: decode.ProtoUDP, QuotedSrc: client, QuotedDst: server},
	}, events)
	server.Port, client.Port = 0, 0
	events = tr.Observe(&decode.Packet{
		Time: at, Proto: decode.ProtoICMP, Version: 4, Src: server, Dst: client, ICMP: decode.ICMP{Type: 10},
	}, events)
	ping := decode.Packet{
		Time: at, Proto: decode.ProtoICMP, Version: 4, Src: server, Dst: client, Len: 56, ICMP: decode.ICMP{Type: 8, Echo: true, ID: 77},
	}
	events = tr.Observe(&ping, events)
	ping.Time, ping.Src, ping.Dst, ping.ICMP.Type = at.Add(time.Millisecond), client, server, 0
	events = tr.Observe(&ping, events)
	events = tr.Advance(at.Add(61*time.Second), events)
	for c := range tr.Conns() {
		conns = append(conns, c)
	}
	return events, conns
}

func TestText(t *testing.T) {
	events, conns := story(t)
	var tx Text
	var got []byte
	for i := range events {
		got = tx.AppendEvent(got, &events[i])
	}
	for _, c := range conns {
		got = tx.AppendConn(got, c)
	}
	const want = `03:04:05.001000 #1   10.0.0.1:40000 → 10.0.0.2:80
03:04:05.001000 #1   → SYN      seq=0                  SYN_SENT
03:04:05.002000 #1   ← SYN+ACK  seq=0 ack=1                         SYN_RECEIVED
03:04:05.003000 #1   → ACK      seq=1 ack=1            ESTABLISHED  ESTABLISHED
03:04:05.004000 #1   → PSH+ACK  seq=1 ack=1 len=5
03:04:05.005000 #1   → PSH+ACK  seq=1 ack=1 len=5, retransmission
03:04:05.006000 #1   → FIN+ACK  seq=6 ack=1            FIN_WAIT_1
03:04:05.007000 #1   ← ACK      seq=1 ack=7            FIN_WAIT_2   CLOSE_WAIT
03:04:05.008000 #1   ← RST      seq=699
03:04:05.008000 #1   ! reset-out-of-place: not at RCV.NXT: challenge ACK or dropped (RFC 5961 section 3.2)
03:04:05.009000 #1   ← PSH+ACK  seq=1 ack=7 len=20000
03:04:05.010000 #1   ← FIN+ACK  seq=20001 ack=7                     LAST_ACK
03:04:05.011000 #1   → ACK      seq=7 ack=20002        TIME_WAIT    CLOSED
#1 10.0.0.1:40000 → 10.0.0.2:80 closed by client, four-step, 10 ms; client TIME_WAIT (60 s left), server CLOSED; 6+5 segments, 10 B →, 20 kB ←, 1 retransmitted; rtt 1 ms, idle 1 ms before the close, half-closed 3 ms with 20 kB; RSTR ShADTFardf
`
	if d := cmp.Diff(want, string(got[:min(len(got), len(want))])); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, line := range []string{
		"#1   server CLOSED → LAST_ACK, revised: what was taken as said did not arrive",
		"#2   → SYN      seq=0                  SYN_SENT, 4-tuple used again",
		"#3 [2001:db8::1]:40001 → [2001:db8::2]:81 refused by server, 1 ms; client CLOSED, server CLOSED",
		"#4   ! ICMP port unreachable: answers a packet of the client",
		"! ICMP type 10 code 0, 10.0.0.2 → 10.0.0.1",
		"#5   → echo     len=56",
		"#5   ← echo reply len=56",
		"#5 10.0.0.2 → 10.0.0.1 ICMP echo, 1+1 messages, 56 B each way, first response after 1 ms",
		"#4 10.0.0.1:40000 → 10.0.0.2:80 UDP, 1+0 datagrams, 5 B →, 0 B ←; ICMP says: port unreachable",
		"#2 10.0.0.1:40000 → 10.0.0.2:80 unanswered SYN",
	} {
		if !strings.Contains(string(got), line) {
			t.Errorf("no line with %q in\n%s", line, got)
		}
	}
	for line := range strings.Lines(string(got)) {
		if strings.Contains(line, " seq=") && width([]byte(line)) > 81 && !strings.Contains(line, ", ") {
			t.Errorf("longer than 80 columns: %s", line)
		}
	}
}

// Of a socket that is connected to itself nothing is claimed that needs two ends.
func TestOutcomeOfOneAddress(t *testing.T) {
	addr := decode.EndpointOf(netip.MustParseAddrPort("127.0.0.1:7007"))
	c := &trace.Conn{
		Proto: decode.ProtoTCP, Client: addr, Server: addr, Handshake: trace.IncompleteHandshake,
		Teardown: trace.Unacknowledged, Closer: trace.ClosedByClient,
	}
	got := string((&Text{}).AppendOutcome(nil, c))
	if want := "one address at both ends, 0 s; client UNKNOWN, server UNKNOWN"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// With Verbose a connection's line is followed by its steps, with the
// arithmetic of RFC 9293's figure 12 spelled out, and by the evidence.
func TestSteps(t *testing.T) {
	_, conns := story(t)
	events, _ := story(t)
	for i := range events {
		if events[i].Kind == trace.ConnReleased {
			conns = append(conns, events[i].Verdict)
		}
	}
	steps := map[uint64]string{
		1: `   +0.005000 client FIN+ACK     x=6 ack=1
   +0.006000 server ACK         seq=1 ack=7 = x+1: it has the client's FIN
   +0.009000 server FIN+ACK     y=20001 ack=7 = x+1: it has the client's FIN
   +0.010000 client ACK         seq=7 ack=20002 = y+1: it has the server's FIN
   states: client FIN_WAIT_1 1 ms, FIN_WAIT_2 4 ms, TIME_WAIT 1 s; server CLOSE_WAIT 3 ms, LAST_ACK 2 ms
   why: server's FIN (ack=7) acknowledges client's FIN (seq=6): the client closed first
`,
		2: "",
		3: `   +0.001000 server RST+ACK     seq=0 ack=1
   why: server's RST answers client's SYN
`,
	}
	for _, c := range conns {
		want, ok := steps[c.ID]
		if !ok {
			continue
		}
		delete(steps, c.ID)
		brief := string((&Text{}).AppendConn(nil, c))
		got := string((&Text{Verbose: true}).AppendConn(nil, c))
		if d := cmp.Diff(brief+want, got); d != "" {
			t.Errorf("#%d (-want +got)\n%s", c.ID, d)
		}
	}
	if len(steps) > 0 {
		t.Errorf("no such connections: %v", steps)
	}
}

// What is said of the order of FINs, and of what keeps it from being known.
func TestWhy(t *testing.T) {
	fins := func(edit func(*trace.Conn)) *trace.Conn {
		c := &trace.Conn{
			NumSteps: 1, FINSeen: [2]bool{true, true}, FINAcked: [2]bool{true, true}, FINSeq: [2]uint32{1103, 5303}, FINAck: [2]uint32{5303, 1104},
			Base: [2]uint32{1000, 5000}, Packets: [2]uint64{5, 5}, Closer: trace.ClosedByClient, Handshake: trace.ThreeWay,
		}
		edit(c)
		return c
	}
	one := func(edit func(*trace.Conn)) *trace.Conn {
		return fins(func(c *trace.Conn) { c.FINSeen[trace.Server] = false; edit(c) })
	}
	reset := func(c *trace.Conn) {
		c.WasReset, c.ResetBy, c.Steps[0] = true, trace.Server, trace.Step{From: trace.Server, Flags: decode.RST, Seq: 5303}
	}
	for want, c := range map[string]*trace.Conn{
		"server's FIN (ack=104) acknowledges client's FIN (seq=103): the client closed first":                          fins(func(*trace.Conn) {}),
		"client's FIN (ack=304) acknowledges server's FIN (seq=303): the server closed first":                          fins(func(c *trace.Conn) { c.Closer, c.FINAck = trace.ClosedByServer, [2]uint32{5304, 1103} }),
		"neither FIN acknowledges the other (client's seq=103 ack=303, server's seq=303 ack=103): both closed at once": fins(func(c *trace.Conn) { c.Closer, c.FINAck[1] = trace.ClosedByBoth, 1103 }),
		"each FIN acknowledges the other: of one only a retransmission was captured, and the first acknowledged less":  fins(func(c *trace.Conn) { c.Closer = trace.ClosedUnknown }),
		"server's FIN (seq=303) was captured after what followed it: it may be a retransmission, and the first may have acknowledged less": fins(func(c *trace.Conn) {
			c.Closer, c.FINLate[1] = trace.ClosedUnknown, true
		}),
		"only client's FIN (seq=103) was seen":                   one(func(*trace.Conn) {}),
		"only client's FIN (seq=103) was seen, not acknowledged": one(func(c *trace.Conn) { c.FINAcked = [2]bool{} }),
		"only client's FIN (seq=103) was seen, not acknowledged, and nothing of the server, which may have closed before": one(func(c *trace.Conn) {
			c.Closer, c.FINAcked, c.Packets[1] = trace.ClosedUnknown, [2]bool{}, 0
		}),
		"only client's FIN (seq=103) was seen, and nothing shows that the server had not closed before the capture began": one(func(c *trace.Conn) {
			c.Closer = trace.ClosedUnknown
		}),
		"only client's FIN (seq=103) was seen, and what is missing of the server may have been its FIN": one(func(c *trace.Conn) {
			c.Closer, c.BaseISS = trace.ClosedUnknown, [2]bool{true, true}
		}),
		"only client's FIN (seq=103) was seen; server's RST (seq=303) cut the close short": one(reset),
		"server's RST (seq=303) ended it; no FIN was seen":                                 one(func(c *trace.Conn) { c.FINSeen, c.Closer = [2]bool{}, trace.NoCloser; reset(c) }),
		"server's RST answers client's SYN":                                                one(func(c *trace.Conn) { c.FINSeen, c.Handshake = [2]bool{}, trace.Refused; reset(c) }),
	} {
		if got := string(appendWhy(nil, c, false)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got, want := string(appendWhy(nil, fins(func(*trace.Conn) {}), true)), "server's FIN (ack=1104) acknowledges client's FIN (seq=1103): the client closed first"; got != want {
		t.Errorf("absolute: %s", got)
	}
}

func TestColorChangesNoText(t *testing.T) {
	events, _ := story(t)
	plainText, colored := Text{}, Text{Color: true}
	for i := range events {
		want := plainText.AppendEvent(nil, &events[i])
		got := colored.AppendEvent(nil, &events[i])
		if width(got) != width(want) {
			t.Errorf("%q is not as wide as %q", got, want)
		}
	}
}

func TestJSONIsValid(t *testing.T) {
	events, conns := story(t)
	var j JSON
	var got []byte
	for i := range events {
		got = j.AppendEvent(got, &events[i])
	}
	for _, c := range conns {
		got = j.AppendConn(got, c)
	}
	got = j.AppendTotals(got, &Totals{Frames: 3})
	types := map[string]int{}
	for line := range strings.Lines(string(got)) {
		if !strings.HasPrefix(line, `{"type":"`) {
			t.Errorf("type is not first: %s", line)
		}
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		types[o["type"].(string)]++
	}
	want := map[string]int{
		"segment": 16, "transition": types["transition"], "anomaly": 1, "datagram": 5,
		"connection": 3, "datagram_flow": 2, "summary": 1,
	}
	if d := cmp.Diff(want, types); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// The Community ID specification's own examples. For ICMP the ports are type and code.
func TestCommunityID(t *testing.T) {
	for _, tt := range []struct {
		proto    decode.Proto
		src, dst string
		want     string
	}{
		{decode.ProtoTCP, "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{decode.ProtoTCP, "66.35.250.204:80", "128.232.110.120:34855", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{decode.ProtoUDP, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
		{decode.ProtoICMP, "192.168.0.89:8", "192.168.0.1:0", "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="},
		{decode.ProtoICMP, "192.168.0.1:0", "192.168.0.89:0", "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="},
		{decode.ProtoICMP, "192.168.0.89:20", "192.168.0.1:0", "1:3o2RFccXzUgjl7zDpqmY7yJi8rI="},
		{decode.ProtoICMP, "192.168.0.89:20", "192.168.0.1:1", "1:tz/fHIDUHs19NkixVVoOZywde+I="},
		{decode.ProtoICMPv6, "[fe80::200:86ff:fe05:80da]:135", "[fe80::260:97ff:fe07:69ea]:0", "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="},
	} {
		src, dst := netip.MustParseAddrPort(tt.src), netip.MustParseAddrPort(tt.dst)
		got := string(appendCommunityID(nil, tt.proto, decode.EndpointOf(src), decode.EndpointOf(dst), uint8(src.Port()), uint8(dst.Port())))
		if got != tt.want {
			t.Errorf("%v %s %s: %s, want %s", tt.proto, tt.src, tt.dst, got, tt.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 9: "9 ns", 1500: "1.5 µs", 80 * time.Millisecond: "80 ms",
		80500 * time.Microsecond: "80.5 ms", 1234 * time.Millisecond: "1.23 s",
		60 * time.Second: "60 s", 15 * time.Minute: "15 min", -5: "0 s",
	} {
		if got := string(appendDuration(nil, d)); got != want {
			t.Errorf("%d ns: %q, want %q", int64(d), got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", 1: "0.000000001", 1100 * time.Millisecond: "1.1", 60 * time.Second: "60", -1500 * time.Millisecond: "-1.5",
	} {
		if got := string(appendSeconds(nil, d)); got != want {
			t.Errorf("%d ns: %q, want %q", int64(d), got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 9999: "9999 B", 10000: "10 kB", 1_500_000: "1.5 MB", 999_999: "1 MB"} {
		if got := string(appendBytes(nil, n)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// With Verbose a connection's first packet, every datagram and every JSON line
// tell the TTL and the interface; without, and where they have no name, not.
func TestVerboseTellsTTLAndInterface(t *testing.T) {
	names := func(i uint32) string { return map[uint32]string{7: "eth0", 8: `a"\b`}[i] }
	segment := trace.Event{Kind: trace.SegmentSeen, Proto: decode.ProtoTCP, Conn: 1, TTL: 63, Iface: 7, First: true, Flags: decode.SYN}
	datagram := trace.Event{Kind: trace.DatagramSeen, Proto: decode.ProtoUDP, Conn: 1, TTL: 1, Iface: 8}
	message := trace.Event{Kind: trace.ICMPSeen, Proto: decode.ProtoICMP, TTL: 255, Iface: 9, ICMPType: 3}
	for _, tt := range []struct {
		event      trace.Event
		text, json string
	}{
		{segment, "0.0.0.0:0 ttl=63 on eth0\n", `,"window":0,"ttl":63,"interface":"eth0",`},
		{datagram, `len=0 ttl=1 on a"\b` + "\n", `,"len":0,"ttl":1,"interface":"a\"\\b"}` + "\n"},
		{message, " ttl=255\n", `,"protocol":"icmp","ttl":255,"icmp_type"`},
	} {
		for _, verbose := range []bool{true, false} {
			text := string((&Text{Verbose: verbose, Interface: names}).AppendEvent(nil, &tt.event))
			line := string((&JSON{Verbose: verbose, Interface: names}).AppendEvent(nil, &tt.event))
			if strings.Contains(text, tt.text) != verbose || strings.Contains(text, "ttl=") != verbose {
				t.Errorf("verbose %v: %q, want %q", verbose, text, tt.text)
			}
			if strings.Contains(line, tt.json) != verbose || strings.Contains(line, "ttl") != verbose {
				t.Errorf("verbose %v: %s, want %s", verbose, line, tt.json)
			}
		}
	}
}

// A ladder says of an acknowledgment that it closes the window.
func TestLadderTellsClosedWindows(t *testing.T) {
	for _, tt := range []struct {
		event trace.Event
		want  string
	}{
		{trace.Event{Flags: decode.ACK}, "ACK ack=0 win=0 "},
		{trace.Event{Flags: decode.ACK, Window: 1}, "ACK ack=0  "},
		{trace.Event{Flags: decode.RST | decode.ACK}, "RST+ACK seq=0 ack=0  "}, // a RST's window says nothing
		{trace.Event{Flags: decode.SYN}, "SYN seq=0  "},
	} {
		tt.event.Kind, tt.event.Proto = trace.SegmentSeen, decode.ProtoTCP
		if rung := string((&Text{}).AppendRung(nil, &tt.event)); !strings.Contains(rung, " "+tt.want) {
			t.Errorf("got %q, want %q in it", rung, tt.want)
		}
	}
}

// Rendering allocates nothing, whatever the event.
func TestRenderAllocatesNothing(t *testing.T) {
	events, conns := story(t)
	buf := make([]byte, 0, 1<<16)
	for name, r := range map[string]interface {
		AppendEvent([]byte, *trace.Event) []byte
		AppendConn([]byte, *trace.Conn) []byte
	}{
		"text": &Text{}, "verbose": &Text{Verbose: true}, "color": &Text{Color: true, Location: time.FixedZone("x", 3600)}, "json": &JSON{},
		"verbose json": &JSON{Verbose: true, Interface: func(uint32) string { return "eth0" }},
	} {
		if n := testing.AllocsPerRun(100, func() {
			buf = buf[:0]
			for i := range events {
				buf = r.AppendEvent(buf, &events[i])
			}
			for _, c := range conns {
				buf = r.AppendConn(buf, c)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// manyConns is the end of a run of 59 connections: a server that closes after
// 5 seconds without data, clients that give up after 90, some resets.
func manyConns() *Totals {
	web := decode.EndpointOf(netip.MustParseAddrPort("10.0.0.2:80"))
	db := decode.EndpointOf(netip.MustParseAddrPort("10.0.0.3:5432"))
	s := &Totals{Frames: 1200, Summary: trace.Summary{Flows: 1}}
	add := func(n int, c trace.Conn, idle func(i int) time.Duration) {
		for i := range n {
			c.Proto = decode.ProtoTCP
			c.RTT, c.HasRTT = time.Duration(200+10*i)*time.Microsecond, c.Handshake == trace.ThreeWay
			c.HalfOpen, c.HasHalfOpen = c.RTT+40*time.Microsecond, c.HasRTT
			if idle != nil {
				c.Idle, c.HasIdle = idle(i), true
			}
			c.End = c.Start.Add(c.Idle + 20*c.RTT)
			s.Summary.Add(&c)
		}
	}
	add(38, trace.Conn{Server: web, Handshake: trace.ThreeWay, Teardown: trace.ThreeStep, Closer: trace.ClosedByServer},
		func(i int) time.Duration { return 5*time.Second + time.Duration(i%3-1)*25*time.Millisecond })
	add(2, trace.Conn{Server: web, Handshake: trace.ThreeWay, Teardown: trace.ThreeStep, Closer: trace.ClosedByClient},
		func(i int) time.Duration { return time.Duration(i+1) * time.Second })
	add(2, trace.Conn{Server: web, Handshake: trace.ThreeWay, Teardown: trace.Reset, WasReset: true, ResetBy: trace.Server},
		func(int) time.Duration { return 1200 * time.Microsecond })
	add(12, trace.Conn{
		Server: db, Handshake: trace.ThreeWay, Teardown: trace.FourStep, Closer: trace.ClosedByClient,
		HalfClose: trace.HalfClose{Seen: true, Duration: 30 * time.Millisecond},
	}, func(i int) time.Duration { return 90*time.Second + time.Duration(i%2*2-1)*100*time.Millisecond })
	add(4, trace.Conn{Server: web, Handshake: trace.Refused, Teardown: trace.Reset, WasReset: true, ResetBy: trace.Server}, nil)
	add(1, trace.Conn{Server: web, Handshake: trace.Midstream}, nil)
	return s
}

func TestTotals(t *testing.T) {
	const text = `1200 frames, 59 TCP connections, 1 datagram flow
  opened: 1 midstream, 54 three-way, 4 refused
  closed: 1 not at all, 12 four-step (by client),
          40 three-step (38 by server, 2 by client), 6 reset (by server)
  closed by: 14 client, 38 server
                           n       p50       p90       p99       max
  handshake RTT           54    310 µs    520 µs    570 µs    570 µs
  half-open               54    350 µs    560 µs    610 µs    610 µs
  idle before close       54       5 s    90.1 s    90.1 s    90.1 s
  half-close              12     30 ms     30 ms     30 ms     30 ms
  lifetime                59    5.01 s    90.1 s    90.1 s    90.1 s
  38 of 40 closes by 10.0.0.2:80 came 5.00 ± 0.02 s after the last data: an idle timeout
  12 of 12 closes by clients of 10.0.0.3:5432 came 90.0 ± 0.1 s after the last data: an idle timeout
`
	const json = `{"type":"summary","frames":1200,"connections":59,"datagram_flows":1,` +
		`"handshakes":{"midstream":1,"three-way":54,"refused":4},` +
		`"teardowns":{"none":1,"four-step":12,"three-step":40,"reset":6},` +
		`"teardowns_by":{"four-step":{"client":12},"three-step":{"client":2,"server":38},"reset":{"server":6}},` +
		`"active_closers":{"client":14,"server":38},` +
		`"handshake_rtt":{"n":54,"p50":0.00031,"p90":0.0005202,"p99":0.00057,"max":0.00057},` +
		`"half_open":{"n":54,"p50":0.0003502,"p90":0.0005601,"p99":0.00061,"max":0.00061},` +
		`"idle_before_close":{"n":54,"p50":5.004,"p90":90.1,"p99":90.1,"max":90.1},` +
		`"half_close":{"n":12,"p50":0.03,"p90":0.03,"p99":0.03,"max":0.03},` +
		`"lifetime":{"n":59,"p50":5.012,"p90":90.1062,"p99":90.1062,"max":90.1062},` +
		`"idle_timeouts":[{"server":"10.0.0.2:80","closed_by":"server","n":38,"of":40,"idle":4.999342,"spread":0.020267},` +
		`{"server":"10.0.0.3:5432","closed_by":"client","n":12,"of":12,"idle":90,"spread":0.1}],` +
		`"dropped":0,"malformed":0,"truncated":0,"unknown_link_type":0,"copies":0,"loopback_copies":0,` +
		`"bad_timestamps":0,"clock_steps":0,"evicted":0,"untracked":0}` + "\n"
	if d := cmp.Diff(text, string((&Text{}).AppendTotals(nil, manyConns()))); d != "" {
		t.Errorf("text (-want +got)\n%s", d)
	}
	if d := cmp.Diff(json, string((&JSON{}).AppendTotals(nil, manyConns()))); d != "" {
		t.Errorf("JSON (-want +got)\n%s", d)
	}
}

// Of one connection its own lines tell enough; of none there is nothing to tell.
func TestTotalsOfFewConnections(t *testing.T) {
	s := &Totals{Frames: 7}
	const none = "7 frames, 0 TCP connections, 0 datagram flows\n"
	if d := cmp.Diff(none, string((&Text{}).AppendTotals(nil, s))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got := string((&JSON{}).AppendTotals(nil, s)); strings.Contains(got, "lifetime") || strings.Contains(got, "idle") {
		t.Errorf("tells of what there was none: %s", got)
	}
	s.Summary.Add(&trace.Conn{Proto: decode.ProtoTCP, Handshake: trace.ThreeWay, Teardown: trace.FourStep, Closer: trace.ClosedByServer})
	const one = `7 frames, 1 TCP connection, 0 datagram flows
  opened: 1 three-way
  closed: 1 four-step (by server)
`
	if d := cmp.Diff(one, string((&Text{}).AppendTotals(nil, s))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// Where not all connections were chosen, or read, the first line says so.
func TestTotalsOfSome(t *testing.T) {
	s := &Totals{Frames: 7, Chosen: true, Tracker: trace.Stats{Conns: 12, Flows: 1}}
	first := func() string {
		line, _, _ := strings.Cut(string((&Text{}).AppendTotals(nil, s)), "\n")
		return line
	}
	if got, want := first(), "7 frames, 0 of 12 TCP connections and 0 of 1 datagram flow match"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s.Chosen, s.Interrupted = false, true
	if got, want := first(), "interrupted after 7 frames, 0 TCP connections, 0 datagram flows"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The text names the first idle timeouts, and says how many more there are and
// what was not looked at.
func TestManyIdleTimeouts(t *testing.T) {
	s := &Totals{}
	for port := range uint16(maxTimeouts + 2) {
		for range 10 {
			s.Summary.Add(&trace.Conn{
				Proto: decode.ProtoTCP, Server: decode.Endpoint{Port: 1000 + port},
				Closer: trace.ClosedByServer, Idle: 5 * time.Second, HasIdle: true,
			})
		}
	}
	s.Summary.IdleLeftOut = 7
	text := string((&Text{}).AppendTotals(nil, s))
	for _, line := range []string{
		"  10 of 10 closes by 0.0.0.0:1000 came 5.000 ± 0.001 s after the last data: an idle timeout\n",
		"  10 of 10 closes by 0.0.0.0:1009 came 5.000 ± 0.001 s after the last data: an idle timeout\n" +
			"  and 2 more idle timeouts, which --json lists\n" +
			"  7 closes not looked at for idle timeouts: too many endpoints or times\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	json := string((&JSON{}).AppendTotals(nil, s))
	if n := strings.Count(json, `"closed_by"`); n != maxTimeouts+2 || !strings.Contains(json, `"idle_left_out":7`) {
		t.Errorf("%d idle timeouts in %s", n, json)
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		mean, spread time.Duration
		want         string
	}{
		{5 * time.Second, 20 * time.Millisecond, "5.00 ± 0.02 s"},
		{5004 * time.Millisecond, 94 * time.Millisecond, "5.00 ± 0.09 s"},
		{90 * time.Second, 96 * time.Millisecond, "90.0 ± 0.1 s"},
		{90 * time.Second, 1400 * time.Millisecond, "90 ± 1 s"},
		{7203 * time.Second, 43 * time.Second, "7203 ± 43 s"},
		{5 * time.Second, 3 * time.Microsecond, "5.000 ± 0.001 s"},
		{5 * time.Second, 0, "5.000 ± 0.001 s"},
	} {
		if got := string(appendSpread(nil, tt.mean, tt.spread)); got != tt.want {
			t.Errorf("%v, %v: %s, want %s", tt.mean, tt.spread, got, tt.want)
		}
	}
}
