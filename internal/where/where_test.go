package where

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"finack/decode"
	"finack/trace"
)

func end(s string) decode.Endpoint { return decode.EndpointOf(netip.MustParseAddrPort(s)) }

// closed is a connection that has nearly everything.
func closed() trace.Conn {
	return trace.Conn{
		ID: 7, Proto: decode.ProtoTCP, Client: end("10.0.0.1:40000"), Server: end("10.0.1.2:443"), Role: trace.RoleSYN,
		Start: 1e9, End: 7e9, Handshake: trace.ThreeWay, RTT: 20 * time.Millisecond, HasRTT: true, SYNRetransmits: 1,
		Teardown: trace.Reset, Closer: trace.ClosedByClient, Complete: true, WasReset: true, ResetBy: trace.Server, ResetAfter: trace.HalfClosed,
		Steps: [6]trace.Step{{Time: 5e9}, {Time: 7e9}}, NumSteps: 2,
		States:   [2]trace.State{trace.FinWait2, trace.CloseWait},
		HalfOpen: 3 * time.Millisecond, HasHalfOpen: true, Idle: 4 * time.Second, HasIdle: true,
		HalfClose: trace.HalfClose{Seen: true, Duration: 2 * time.Second},
		Packets:   [2]uint64{6, 5}, Bytes: [2]uint64{1500, 2_000_000},
		Retransmits: [2]uint32{1, 2}, Duplicates: [2]uint32{0, 4}, OutOfOrder: [2]uint32{5, 0}, Gaps: [2]uint32{6, 0},
		KeepAlives: [2]uint32{0, 7}, ZeroWindowProbes: [2]uint32{8, 0}, ChallengeACKs: [2]uint32{0, 9},
		Completeness: 63, ConnState: trace.ConnRSTR, Evicted: true,
	}
}

// query is a UDP flow that was answered, and then was not.
func query() trace.Conn {
	return trace.Conn{
		ID: 8, Proto: decode.ProtoUDP, Client: end("[2001:db8::1]:5353"), Server: end("[2001:db8::2]:53"),
		Start: 1e9, End: 2e9, RTT: time.Millisecond, HasRTT: true, Packets: [2]uint64{2, 1}, Bytes: [2]uint64{60, 100}, Unreachable: true,
	}
}

// Each field: what is true of the connection (or, after "udp", of the flow),
// and what is not.
var truths = []struct{ field, yes, no string }{
	{"state", "state=close_wait", "state=ESTABLISHED"},
	{"state", "state=FinWait2", "state!=FIN-WAIT-2"}, // one of both is
	{"state", "state!=time-wait", "state!=CLOSE_WAIT"},
	{"client-state", "client-state=FIN_WAIT_2", "client-state=CLOSE_WAIT"},
	{"server-state", "server_state=CLOSE_WAIT", "server-state!=CLOSE_WAIT"},
	{"closed-by", "closed-by=client", "closed-by=none"},
	{"teardown", "teardown=reset", "teardown=four-step"},
	{"complete", "complete", "complete=false"},
	{"complete", "complete==true", "complete!=true"},
	{"reset-by", "reset-by=server", "reset-by=client"},
	{"reset-by", "reset-by", "not reset-by"},
	{"reset-after", "reset-after=half-closed", "reset-after=none"},
	{"handshake", "handshake=three-way", "handshake=refused"},
	{"role", "role=syn", "role=guess"},
	{"conn-state", "conn-state=RSTR", "conn-state=SF"},
	{"duration", "duration>5s", "duration>6s"},
	{"duration", "duration=6s and duration<=6s and duration>=6000ms", "duration<6s"},
	{"rtt", "rtt<100ms", "rtt<=19.9ms"},
	{"half-open", "half-open=3ms", "half-open>3ms"},
	{"idle-before-close", "idle-before-close>=4s", "idle-before-close>=5s"},
	{"half-close", "half-close>1.5s", "half-close>2m"},
	{"teardown-duration", "teardown-duration=2s", "teardown-duration<2s"},
	{"packets", "packets=11", "packets>11"},
	{"client-packets", "client-packets=6", "client-packets=5"},
	{"server-packets", "server-packets=5", "server-packets=6"},
	{"bytes", "bytes>2MB", "bytes<2.001M"},
	{"client-bytes", "client-bytes=1.5k", "client-bytes=2MB"},
	{"server-bytes", "server-bytes=2MB", "server-bytes=1500"},
	{"syn-retransmits", "syn-retransmits=1", "syn-retransmits>1"},
	{"retransmits", "retransmits=3", "retransmits=1"},
	{"client-retransmits", "client-retransmits=1", "client-retransmits=3"},
	{"server-retransmits", "server-retransmits=2", "server-retransmits=3"},
	{"gaps", "gaps=6", "gaps=0"},
	{"out-of-order", "out-of-order=5", "out-of-order=6"},
	{"duplicates", "duplicates=4", "duplicates=5"},
	{"keep-alives", "keep-alives=7", "keep-alives=8"},
	{"zero-window-probes", "zero-window-probes=8", "zero-window-probes=7"},
	{"challenge-acks", "challenge-acks=9", "challenge-acks=8"},
	{"completeness", "completeness=63", "completeness=31"},
	{"proto", "proto=tcp", "proto=udp"},
	{"host", "host=10.0.0.1", "host=10.0.0.2"},
	{"host", "host=10.0.1.2:443", "host=10.0.1.2:40000"},
	{"host", "host=10.0.1.0/24", "host=10.1.0.0/16"},
	{"host", "host!=10.0.0.9", "host!=10.0.0.1"},
	{"client", "client=10.0.0.0/24", "client=10.0.1.2"},
	{"server", "server=10.0.1.2:443", "server=10.0.0.1"},
	{"port", "port=443", "port<443"},
	{"port", "port>1024", "port!=443"},
	{"client-port", "client-port=40000", "client-port=443"},
	{"server-port", "server-port=443", "server-port=40000"},
	{"id", "id=7", "id=8"},
	{"evicted", "evicted", "not evicted"},
}

var flowTruths = []struct{ field, yes, no string }{
	{"first-response", "first-response=1ms", "first-response>1ms"},
	{"unreachable", "unreachable", "unreachable=false"},
	{"proto", "proto!=tcp", "proto=icmp"},
	{"host", "host=2001:db8::/32", "host=10.0.0.0/8"},
	{"host", "host=[2001:db8::2]:53", "host=2001:db8::3"},
	{"port", "port=53", "port=443"},
	{"duration", "duration=1s", "duration>1s"},
	{"packets", "packets=3", "packets=2"},
	{"bytes", "bytes=160", "bytes=100"},
	{"evicted", "evicted=false", "evicted"},
}

func match(t *testing.T, expr string, c *trace.Conn) bool {
	t.Helper()
	p, err := Parse(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return p.Match(c)
}

func TestFields(t *testing.T) {
	conn, flow := closed(), query()
	var told []string
	for _, tt := range truths {
		told = append(told, tt.field)
		if !match(t, tt.yes, &conn) {
			t.Errorf("%s is not true", tt.yes)
		}
		if match(t, tt.no, &conn) {
			t.Errorf("%s is true", tt.no)
		}
	}
	for _, tt := range flowTruths {
		told = append(told, tt.field)
		if !match(t, tt.yes, &flow) {
			t.Errorf("of a flow, %s is not true", tt.yes)
		}
		if match(t, tt.no, &flow) {
			t.Errorf("of a flow, %s is true", tt.no)
		}
	}
	for _, f := range Fields() {
		if !slices.Contains(told, f.Name) {
			t.Errorf("no test of %s", f.Name)
		}
	}
}

// A test of what a connection does not have is false, however it compares.
func TestAbsent(t *testing.T) {
	conn := trace.Conn{Proto: decode.ProtoTCP, Client: end("10.0.0.1:1"), Server: end("10.0.0.2:2")}
	flow, ping := query(), trace.Conn{Proto: decode.ProtoICMP, Client: end("10.0.0.1:443"), Server: end("10.0.0.2:443")}
	for expr, c := range map[string]*trace.Conn{
		"rtt": &conn, "rtt<1h": &conn, "rtt!=1s": &conn, "half-open>=0s": &conn, "idle-before-close>=0s": &conn,
		"half-close": &conn, "teardown-duration": &conn, "reset-by!=client": &conn, "reset-after": &conn,
		"first-response": &conn, "unreachable=false": &conn,
		"state!=CLOSED": &flow, "closed-by=none": &flow, "teardown=none": &flow, "complete=false": &flow, "rtt>0s": &flow,
		"gaps=0": &flow, "conn-state=OTH": &flow, "handshake=midstream": &flow, "role=guess": &flow, "completeness=0": &flow,
		"port=443": &ping, "port!=443": &ping, "server-port>0": &ping, "host=10.0.0.1:443": &ping,
	} {
		if match(t, expr, c) {
			t.Errorf("%s is true of %v", expr, c.Proto)
		}
		if !match(t, "not "+expr, c) {
			t.Errorf("not %s is false of %v", expr, c.Proto)
		}
	}
}

func TestPrecedence(t *testing.T) {
	conn := closed()
	// y is true of it, n is not.
	fill := strings.NewReplacer("y", "id=7", "n", "id=8")
	for expr, want := range map[string]bool{
		"y | y & n": true, "y | n & n": true, "n & n | y": true, "n & (n | y)": false, "(y | n) & n": false,
		"! n & n": false, "! (n & n)": true, "! y | y": true, "!! y": true, "y & y & y & n": false, "n | n | n | y": true,
	} {
		expr := fill.Replace(expr)
		for _, spelled := range []string{
			strings.NewReplacer("|", "||", "&", "&&").Replace(expr),
			strings.NewReplacer("|", "or", "&", "and", "!", "not ").Replace(expr),
			strings.NewReplacer("|", "OR", "&", "And", "!", "NOT ").Replace(expr),
		} {
			if got := match(t, spelled, &conn); got != want {
				t.Errorf("%s: %v, want %v", spelled, got, want)
			}
		}
	}
}

// An error points at the word and says what would be right.
func TestErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"":                          "end of expression: want a field, such as state=CLOSE_WAIT (at offset 0)",
		"state":                     "end of expression: want = or != after state (at offset 5)",
		"state CLOSE_WAIT":          "CLOSE_WAIT: want = or != after state (at offset 6)",
		"state>CLOSED":              ">: want = or != after state (at offset 5)",
		"closed-by=me":              "me: want none, client, server, both or unknown (at offset 10)",
		"closed-by=":                "end of expression: want none, client, server, both or unknown (at offset 10)",
		"duration>5":                "5: want a duration such as 5s, 100ms or 1.5h (at offset 9)",
		"duration>-5s":              "-5s: want a duration such as 5s, 100ms or 1.5h (at offset 9)",
		"bytes>1e9":                 "1e9: want a number of bytes such as 1500, 10k or 1.5MB (at offset 6)",
		"packets>1.5":               "1.5: want a number such as 3 or 10k (at offset 8)",
		"packets>9999999T":          "9999999T: want a number such as 3 or 10k (at offset 8)",
		"port=http":                 "http: want a port, 0 to 65535 (at offset 5)",
		"port=65536":                "65536: want a port, 0 to 65535 (at offset 5)",
		"host=example.org":          "example.org: want an address, a net (10.0.0.0/8) or address:port (at offset 5)",
		"host=fe80::1%eth0":         "fe80::1%eth0: want an address, a net (10.0.0.0/8) or address:port (at offset 5)",
		"host>10.0.0.1":             ">: want = or != after host (at offset 4)",
		"complete=maybe":            "maybe: want false or true (at offset 9)",
		"sate=CLOSED":               "sate: no such field: is it state? (at offset 0)",
		"closer=server":             "closer: no such field: want state, client-state, ",
		"protocol=udp":              "protocol: no such field: is it proto? (at offset 0)",
		"rtt<1s and":                "end of expression: want a field, such as state=CLOSE_WAIT (at offset 10)",
		"rtt<1s duration>1s":        `duration: want "and", "or" or the end (at offset 7)`,
		"(rtt<1s":                   `end of expression: want "and", "or" or ")" (at offset 7)`,
		"rtt<1s)":                   `): want "and", "or" or the end (at offset 6)`,
		"rtt & rtt":                 `&: want "and", "or" or the end (at offset 4)`,
		"duration & rtt":            "&: want =, !=, <, <=, > or >= after duration (at offset 9)",
		"\x1b[31m=1":                `"\x1b[31m": no such field: `,
		strings.Repeat("(", 200):    "(: more than 100 brackets and nots in one another (at offset 100)",
		strings.Repeat("not ", 200): "not: more than 100 brackets and nots in one another (at offset 400)",
	} {
		_, err := Parse(expr)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		if got := err.Error(); got != want && !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%q:\n     %s\nwant %s", expr, got, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	conn, flow := closed(), query()
	var all []string
	for _, tt := range append(slices.Clone(truths), flowTruths...) {
		all = append(all, tt.no)
	}
	p, err := Parse(strings.Join(all, " or ") + " or host=10.0.0.0/8 and not rtt")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { p.Match(&conn); p.Match(&flow) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What String gives is the same predicate, and gives itself.
func FuzzParse(f *testing.F) {
	for _, tt := range append(slices.Clone(truths), flowTruths...) {
		f.Add(tt.yes + " and not (" + tt.no + " or " + tt.yes + ")")
	}
	f.Add("!(id=1||(id=2&&!id=3)||((id=4)))and host=[::1]:80")
	conns := []trace.Conn{closed(), query(), {}, {Proto: decode.ProtoTCP}, {Proto: decode.ProtoICMP}}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(text) || !strings.HasPrefix(text[syntax.Offset:], syntax.Word) {
				t.Errorf("%q: %#v", text, err)
			}
			return
		}
		again, err := Parse(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q: %q parses to %v, %v", text, p, again, err)
		}
		for i := range conns {
			if p.Match(&conns[i]) != again.Match(&conns[i]) {
				t.Errorf("%q and %q differ of %+v", text, p, conns[i])
			}
		}
	})
}

func TestComplete(t *testing.T) {
	for text, want := range map[string]string{
		"clos":                        "closed-by",
		"state=CL":                    "state=CLOSED state=CLOSE_WAIT state=CLOSING",
		"closed-by!=s":                "closed-by!=server",
		"complete=":                   "complete=false complete=true",
		"role=syn and (not client_st": "role=syn and (not client-state",
		"rtt>1s ":                     "",
		"rtt>":                        "",
		"nosuch=c":                    "",
	} {
		if got := Complete(text); strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Complete("not "); len(got) != len(fields) || got[0] != "not state" {
		t.Errorf("%d fields: %q", len(got), got)
	}
}
