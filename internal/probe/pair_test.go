package probe

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"finack/decode"
	"finack/internal/craft"
	"finack/internal/render"
)

// stage is a run without sockets: packets are put before it as a capture would.
type stage struct {
	t   testing.TB
	m   pairing
	dec decode.Decoder
	now decode.Timestamp
}

var (
	here  = netip.MustParseAddr("10.0.0.1")
	there = netip.MustParseAddr("10.0.0.2")
	hop   = netip.MustParseAddr("10.0.0.254")
)

func newStage(t testing.TB, s Spec) *stage {
	s.IP.Src, s.IP.Dst, s.IP.ID = here, there, 100
	return &stage{t: t, m: pairing{spec: &s}, now: 1e9}
}

// send sends the next packet and has it pass the wire.
func (st *stage) send() Event {
	st.t.Helper()
	e, ok := st.see(st.give()[0], 1)
	if !ok || e.Kind != Sent {
		st.t.Fatalf("our own packet is %+v, %v", e, ok)
	}
	return e
}

// give gives the next packet to the kernel.
func (st *stage) give() [][]byte {
	st.t.Helper()
	parts, err := st.m.spec.Build(len(st.m.probes))
	if err != nil {
		st.t.Fatal(err)
	}
	st.m.add(parts, st.now.Time())
	return parts
}

// see puts a packet before it, a millisecond later, on an interface.
func (st *stage) see(b []byte, iface uint32) (Event, bool) {
	st.t.Helper()
	st.now = st.now.Add(time.Millisecond)
	f := decode.Frame{Link: decode.LinkRaw, Data: b, Wire: len(b), Time: st.now, Iface: iface}
	var p decode.Packet
	if err := st.dec.Decode(&f, &p); err != nil {
		st.t.Fatal(err)
	}
	return st.m.see(&p)
}

// want checks an event.
func (st *stage) want(b []byte, kind Kind, n int, rtt time.Duration, meaning string) Event {
	st.t.Helper()
	e, ok := st.see(b, 1)
	if !ok || e.Kind != kind || e.N != n || e.RTT != rtt || e.Proves != meaning {
		st.t.Errorf("kind %d of packet %d after %v, %q, %v; want kind %d of packet %d after %v, %q", e.Kind, e.N, e.RTT, e.Proves, ok, kind, n, rtt, meaning)
	}
	return e
}

func (st *stage) none(b []byte) {
	st.t.Helper()
	if e, ok := st.see(b, 1); ok {
		st.t.Errorf("what is not ours is %+v", e)
	}
}

func (st *stage) built(b []byte, err error) []byte {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
	return b
}

func (st *stage) segment(ip craft.IP, src, dst uint16, flags decode.Flags, seq, ack uint32) []byte {
	st.t.Helper()
	return st.built(craft.AppendTCP(nil, &ip, &craft.TCP{SrcPort: src, DstPort: dst, Flags: flags, Seq: seq, Ack: ack}, nil))
}

var (
	back = craft.IP{Src: there, Dst: here}
	from = craft.IP{Src: here, Dst: there}
)

// quote is an ICMP error that quotes a packet's header and eight bytes.
func (st *stage) quote(src netip.Addr, kind, code byte, packet []byte) []byte {
	st.t.Helper()
	ip := craft.IP{Src: src, Dst: here}
	return st.built(craft.AppendIP(nil, &ip, 1, append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, packet[:28]...)))
}

func syn() Spec {
	return Spec{TCP: &craft.TCP{SrcPort: 40000, DstPort: 80, Seq: 1000, Flags: decode.SYN}}
}

func TestSYNs(t *testing.T) {
	st := newStage(t, syn())
	if e := st.send(); e.N != 1 || !e.First || e.Fragments != 1 {
		t.Errorf("%+v", e)
	}
	if e := st.send(); e.N != 2 || !e.First || e.Packet.Src.Port != 40001 {
		t.Errorf("%+v", e)
	}
	st.send()
	const sa, ra = decode.SYN | decode.ACK, decode.RST | decode.ACK
	st.none(st.segment(back, 81, 40000, sa, 5, 1001)) // of another port
	st.want(st.segment(back, 80, 40001, sa, 5, 1001), Answer, 2, 3*time.Millisecond, meansOpen)
	st.want(st.segment(from, 40001, 80, decode.RST, 1001, 0), KernelReset, 2, 0, "")
	st.want(st.segment(back, 80, 40000, ra, 0, 1001), Answer, 1, 6*time.Millisecond, meansRefused)
	st.none(st.segment(from, 40002, 80, decode.RST, 7, 0)) // for no answer
	if e := st.want(st.segment(back, 80, 40001, sa, 5, 1001), Answer, 2, 7*time.Millisecond, meansOpen); !e.Again {
		t.Errorf("a second answer is not again: %+v", e)
	}
	st.want(st.segment(back, 80, 40002, sa, 5, 77), Answer, 3, 7*time.Millisecond, "") // acknowledges something else
}

// From one port, an answer goes to the packet that it acknowledges, else to the
// first without one.
func TestAnswersToOnePort(t *testing.T) {
	s := syn()
	s.KeepPort = true
	st := newStage(t, s)
	st.send()
	if e := st.send(); e.N != 2 || e.First {
		t.Errorf("%+v", e)
	}
	reply := st.segment(back, 80, 40000, decode.SYN|decode.ACK, 5, 1001)
	st.want(reply, Answer, 1, 2*time.Millisecond, meansOpen)
	st.want(reply, Answer, 2, 2*time.Millisecond, meansOpen)
}

func TestCopiesOnAnotherInterface(t *testing.T) {
	st := newStage(t, syn())
	b := st.give()[0]
	st.want(b, Sent, 1, 0, "")
	if e, ok := st.see(b, 2); ok {
		t.Errorf("a copy of ours is %+v", e)
	}
	reply := st.segment(back, 80, 40000, decode.SYN|decode.ACK, 5, 1001)
	st.want(reply, Answer, 1, 2*time.Millisecond, meansOpen)
	if e, ok := st.see(reply, 2); ok {
		t.Errorf("a copy of the answer is %+v", e)
	}
	if e, ok := st.see(reply, 1); !ok || !e.Again {
		t.Errorf("the answer again is %+v, %v", e, ok)
	}
}

func TestICMPErrorsByWhatTheyQuote(t *testing.T) {
	st := newStage(t, Spec{UDP: &craft.UDP{SrcPort: 40000, DstPort: 53}, Payload: []byte("hi")})
	first := st.give()[0]
	st.want(first, Sent, 1, 0, "")
	second := st.give()[0]
	st.want(second, Sent, 2, 0, "")
	other := st.built(craft.AppendUDP(nil, &from, &craft.UDP{SrcPort: 40000, DstPort: 54}, []byte("hi")))
	st.none(st.quote(there, 3, 3, other))
	st.want(st.quote(there, 3, 3, second), Answer, 2, 2*time.Millisecond, meansPort)
	// A redirect is no answer: that is yet to come.
	st.want(st.quote(hop, 5, 1, first), Answer, 1, 4*time.Millisecond, "")
	if e := st.want(st.quote(hop, 11, 0, first), Answer, 1, 5*time.Millisecond, ""); e.Again {
		t.Errorf("%+v", e)
	}
	if e := st.want(st.built(craft.AppendUDP(nil, &back, &craft.UDP{SrcPort: 53, DstPort: 40001}, nil)), Answer, 2, 5*time.Millisecond, meansServed); !e.Again {
		t.Errorf("%+v", e)
	}
}

func TestEchoesByIdentifierAndNumber(t *testing.T) {
	st := newStage(t, Spec{Echo: &craft.Echo{ID: 7, Seq: 65535}})
	st.send()
	if e := st.send(); e.Packet.ICMP.Seq != 0 || e.First {
		t.Errorf("%+v", e)
	}
	reply := func(id, seq uint16) []byte {
		return st.built(craft.AppendEcho(nil, &back, &craft.Echo{Reply: true, ID: id, Seq: seq}, nil))
	}
	st.none(reply(8, 0))
	st.none(reply(7, 1))
	st.want(reply(7, 0), Answer, 2, 3*time.Millisecond, meansReply)
	st.want(reply(7, 65535), Answer, 1, 5*time.Millisecond, meansReply)
	st.none(st.built(craft.AppendEcho(nil, &back, &craft.Echo{ID: 7, Seq: 0}, nil))) // a request
}

func TestAnotherProtocol(t *testing.T) {
	st := newStage(t, Spec{Protocol: 253, Payload: []byte("hello")})
	b := st.give()[0]
	st.want(b, Sent, 1, 0, "")
	st.want(st.quote(there, 3, 2, b), Answer, 1, time.Millisecond, meansProtocol)
	st.want(st.built(craft.AppendIP(nil, &back, 253, []byte("yes"))), Answer, 1, 2*time.Millisecond, "")
	st.none(st.built(craft.AppendIP(nil, &back, 252, []byte("yes"))))
}

// Fragments pass one by one, and whole where connection tracking is at work.
func TestFragmentsOfOurs(t *testing.T) {
	spec := Spec{UDP: &craft.UDP{SrcPort: 40000, DstPort: 9}, Payload: make([]byte, 1000), MTU: 576}
	for _, whole := range []bool{false, true} {
		st := newStage(t, spec)
		parts := st.give()
		if len(parts) != 2 {
			t.Fatalf("%d fragments", len(parts))
		}
		if whole {
			uncut := *st.m.spec
			uncut.MTU = 0
			var err error
			if parts, err = uncut.Build(0); err != nil {
				t.Fatal(err)
			}
		}
		if e := st.want(parts[0], Sent, 1, 0, ""); e.Fragments != 2 || e.Len != 1000 {
			t.Errorf("%+v", e)
		}
		if !whole {
			st.none(parts[1])
		}
	}
}

func TestMeanings(t *testing.T) {
	const syn, ack, rst, fin = decode.SYN, decode.ACK, decode.RST, decode.FIN
	for _, tt := range []struct {
		sent, got decode.Flags
		all       bool // our segment is acknowledged
		want      string
	}{
		{syn, syn | ack, true, meansOpen},
		{syn, syn | ack, false, ""},
		{syn | decode.ECE, syn | ack, true, meansOpen},
		{syn | ack, syn | ack, true, ""},
		{syn, rst | ack, true, meansRefused},
		{syn, rst | ack, false, ""},
		{syn, rst, true, ""},
		{syn, ack, false, meansExists},
		{fin | decode.PSH | decode.URG, rst | ack, true, meansClosed},
		{0, rst | ack, true, meansClosed},
		{fin, rst | ack, false, ""},
		{ack, rst, true, meansNoConn},
		{fin | ack, rst, true, meansNoConn},
		{syn | ack, rst, true, meansNoConn},
		{ack, rst, false, ""},
		{ack, ack, false, meansExists},
		{syn, syn, false, ""},
	} {
		if got := segmentProves(tt.sent, tt.got, tt.all, false); got != tt.want {
			t.Errorf("%v answered by %v (%v): %q, want %q", tt.sent, tt.got, tt.all, got, tt.want)
		}
	}
	for text, s := range map[string]Spec{
		"dropped, filtered or lost":  syn2(decode.SYN, craft.SumRight),
		"a wrong checksum":           syn2(decode.SYN, craft.SumWrong),
		"a RST is never answered":    syn2(decode.RST, craft.SumRight),
		"LISTEN drops it":            syn2(decode.FIN, craft.SumRight),
		"nobody needs to answer":     {UDP: &craft.UDP{}},
		"dropped, filtered or lost:": {Echo: &craft.Echo{}},
	} {
		if got := s.silence(time.Second); !strings.HasPrefix(got, "nothing in 1s: "+text) {
			t.Errorf("%q, want %s", got, text)
		}
	}
}

func syn2(flags decode.Flags, sum craft.Sum) Spec {
	return Spec{TCP: &craft.TCP{Flags: flags, Sum: sum}}
}

// Lines fit 80 columns, whatever numbers they hold.
func TestLines(t *testing.T) {
	st := newStage(t, Spec{TCP: &craft.TCP{SrcPort: 40000, DstPort: 80, Seq: 1<<32 - 1, Ack: 1<<32 - 1, Flags: 0x1ff}, Payload: make([]byte, 1460)})
	var lines Text
	var text []byte
	b := st.give()[0]
	for _, packet := range [][]byte{
		b, st.segment(back, 80, 40000, decode.SYN|decode.ACK, 1<<32-1, 1<<32-2), st.segment(from, 40000, 80, decode.RST, 1<<32-2, 0),
		st.quote(hop, 11, 0, b), st.quote(there, 3, 3, b), st.quote(there, 3, 99, b),
	} {
		e, ok := st.see(packet, 1)
		if !ok {
			t.Fatalf("% x is nothing", packet)
		}
		text = lines.AppendEvent(text, &e)
	}
	text = lines.AppendResult(text, &Result{
		Sent: 3, Answered: 2, Unseen: 1, Resets: 1, Lost: 7, RTT: Times{time.Microsecond, 1500 * time.Microsecond, 2 * time.Second},
		Outcomes: []Outcome{{meansOpen, 2}, {"nothing in 1s", 1}},
	})
	want := `00:00:01.001000 #1   10.0.0.1:40000 → 10.0.0.2:80
00:00:01.001000 #1   → FIN+SYN+RST+PSH+ACK+URG+ECE+CWR+AE seq=4294967295 ack=4294967295 len=1460
00:00:01.002000 #1   ← SYN+ACK  seq=4294967295 ack=4294967294 1 ms
00:00:01.003000 #1   → RST      seq=4294967294                by this kernel
00:00:01.004000 #1   ← ICMP time exceeded                 10.0.0.254 3 ms, again
00:00:01.005000 #1   ← ICMP port unreachable                  4 ms, again
00:00:01.006000 #1   ← ICMP unreachable                       5 ms, again
2 × SYN+ACK: the port is open (LISTEN)
1 × nothing in 1s
RST by this kernel: it knows no such connection, no socket of its own asked
1 not seen on the wire: dropped on this host, or no neighbour's address is known
7 frames lost by the capture: there may be more answers
3 sent, 2 answered; round trip min 1 µs, p50 1.5 ms, max 2 s
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzPairing puts any packets before a run.
func FuzzPairing(f *testing.F) {
	st := newStage(f, syn())
	f.Add(uint8(0), st.segment(back, 80, 40000, decode.SYN|decode.ACK, 5, 1001), st.segment(from, 40000, 80, decode.RST, 1001, 0))
	f.Add(uint8(3), st.built(craft.AppendEcho(nil, &back, &craft.Echo{Reply: true, ID: 7, Seq: 1}, nil)), []byte{})
	f.Fuzz(func(t *testing.T, how uint8, first, second []byte) {
		spec := syn()
		switch how % 4 {
		case 1:
			spec = Spec{UDP: &craft.UDP{SrcPort: 40000, DstPort: 80}}
		case 2:
			spec = Spec{Protocol: 253}
		case 3:
			spec = Spec{Echo: &craft.Echo{ID: 7, Seq: 1}}
		}
		spec.KeepPort = how&4 != 0
		st := newStage(t, spec)
		st.send()
		st.send()
		var lines Text
		for _, b := range [][]byte{first, second, first} {
			var p decode.Packet
			link := decode.LinkRaw
			_ = st.dec.Decode(&decode.Frame{Link: link, Data: b, Wire: len(b), Time: st.now}, &p)
			e, ok := st.m.see(&p)
			if !ok {
				continue
			}
			if e.N < 1 || e.N > 2 || e.RTT < 0 || e.Kind == Sent {
				t.Errorf("%+v", e)
			}
			text := string(lines.AppendEvent(nil, &e))
			if strings.Count(text, "\n") != 1 || strings.Count(string(JSON{}.AppendEvent(nil, &e)), "\n") != 1 {
				t.Errorf("%q", text)
			}
		}
	})
}

// Every line of JSON is as the schema has it.
func TestJSONFollowsSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(render.Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	show := func(st *stage, packets ...[]byte) {
		t.Helper()
		for _, b := range packets {
			e, ok := st.see(b, 1)
			if !ok {
				t.Fatalf("% x is nothing", b)
			}
			text = JSON{}.AppendEvent(text, &e)
		}
	}
	st := newStage(t, syn())
	b := st.give()[0]
	reply := st.segment(back, 80, 40000, decode.SYN|decode.ACK, 5, 1001)
	show(st, b, reply, reply, st.segment(from, 40000, 80, decode.RST, 1001, 0), st.quote(hop, 11, 0, b))
	st = newStage(t, Spec{Echo: &craft.Echo{ID: 7, Seq: 1}})
	show(st, st.give()[0], st.built(craft.AppendEcho(nil, &back, &craft.Echo{Reply: true, ID: 7, Seq: 1}, nil)))
	st = newStage(t, Spec{Protocol: 253, Payload: []byte("hello")})
	b = st.give()[0]
	show(st, b, st.quote(there, 3, 2, b))
	st = newStage(t, Spec{UDP: &craft.UDP{SrcPort: 1, DstPort: 9}, Payload: make([]byte, 1000), MTU: 576})
	show(st, st.give()[0])
	text = JSON{}.AppendResult(text, &Result{})
	text = JSON{}.AppendResult(text, &Result{Sent: 3, Answered: 2, Unseen: 1, Lost: 1, RTT: Times{1, 2, 3}, Outcomes: []Outcome{{meansOpen, 2}}})
	types := map[string]int{}
	for line := range strings.Lines(string(text)) {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%s%v", line, err)
			continue
		}
		o := v.(map[string]any)
		types[o["type"].(string)]++
		o["colour"] = "red"
		if schema.Validate(o) == nil {
			t.Errorf("takes a member more: %s", line)
		}
	}
	if want := map[string]int{"sent": 4, "answer": 5, "kernel_reset": 1, "result": 2}; !cmp.Equal(types, want) {
		t.Errorf("%v, want %v", types, want)
	}
}
