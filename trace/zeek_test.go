package trace

import (
	"strings"
	"testing"

	"finack/decode"
)

// What Zeek's documentation says of the stories' connections: conn_state, and
// history with the letters in order of first occurrence.
func TestZeekOfStories(t *testing.T) {
	want := map[string][]string{
		"ack-before-its-data":                {"S1 ShAga"},
		"ack-copy-after-fin-again":           {"S3 ShAf"},
		"ack-of-never-sent":                  {"S2 ShAFa"},
		"bad-checksum":                       {"S1 ShAc"},
		"corpus-bgp-session":                 {"SF ShADadfF"},
		"corpus-dns-over-tcp":                {"SF ShADadFf"},
		"corpus-mptcp-fastclose":             {"RSTR ShADadr"},
		"corpus-openflow-refused":            {"REJ Sr"},
		"corpus-redis-benchmark":             {"SF ShADadFf"},
		"corpus-whois":                       {"SF ShADadfF"},
		"duplicates":                         {"SF ShADTFaf"},
		"eviction":                           {"S0 S", "REJ Sr", "S0 S", "S0 S"},
		"fast-open":                          {"S1 SThA"}, // data on the SYN counts as sent before
		"fast-open-in-connection":            {"S1 ShA", "S1 SThA"},
		"fast-open-lost-final-ack":           {"S1 SThA"},
		"fin-after-capture-loss":             {"SF ShADaFGf"},
		"fin-after-probe":                    {"SF ShAdWFaf"},
		"fin-after-probe-taken":              {"SF ShAdWFaf"},
		"fin-again-denies":                   {"SF ShAFfa"},
		"fin-behind-a-gap":                   {"SF ShAFfa"},
		"fin-behind-lost-data":               {"SF ShADFfa"},
		"fin-behind-lost-data-interleaved":   {"SF ShAfaDF"},
		"fin-crosses-its-ack":                {"SF ShAfFa"},
		"fin-never-acknowledged":             {"S2 ShAF"},
		"fin-not-captured":                   {"S2 ShAFg"},
		"fin-not-captured-crossing":          {"S2 ShAFa"},
		"fin-not-captured-then-acks":         {"S2 ShAFga"},
		"fin-with-data":                      {"SF ShAFaf"}, // a packet with a FIN is no d
		"fin-with-data-crosses-its-ack":      {"SF ShAfFt"},
		"fins-swapped":                       {"SF ShAfGF"}, // the server's FIN acknowledges what comes later
		"four-step-client-first":             {"SF ShADdFaf"},
		"four-step-server-first":             {"SF ShAfFa"},
		"gap-and-late":                       {"S1 ShADTa"},
		"half-close-answered-with-data":      {"SF ShAFdf"},
		"half-close-with-data":               {"SF ShAFadf"},
		"half-closed":                        {"S2 ShAFa"},
		"icmp-quotes-tcp":                    {"S0 S"},
		"keep-alive":                         {"S1 ShADa"},
		"lost-final-ack":                     {"S1 ShADa"},
		"lost-last-ack":                      {"SF ShAFf"}, // the FIN again has the same number
		"midstream":                          {"SF DdFfA"},
		"midstream-alive":                    {"SH DdAFa"},
		"midstream-close":                    {"SF FafA"},
		"midstream-one-direction":            {"SHR ^dfa"},
		"old-duplicate-syn":                  {"RSTO ShRhA"},
		"one-direction":                      {"SH SADF"},
		"one-direction-beyond-syn":           {"SH SADF"},
		"one-direction-server":               {"OTH ^had"},
		"refused":                            {"REJ Sr"},
		"refused-first-seen":                 {"REJ ^rS"},
		"refused-retries":                    {"REJ Sr"},
		"reset-after-challenge":              {"RSTO ShADaRR"},
		"reset-after-close":                  {"SF ShAFfr"},
		"reset-after-half-close":             {"RSTR ShAFar"},
		"reset-before-syn-ack":               {"RSTO Rh"},
		"reset-below-window":                 {"RSTO ShADaR"},
		"reset-established":                  {"RSTR ShADr"},
		"reset-in-handshake":                 {"RSTO ShR"},
		"reset-in-window":                    {"RSTO ShADaRR"},
		"reset-in-window-crossing-fins":      {"SF ShAFfRa"},
		"reset-in-window-half-closed":        {"RSTR ShAFarf"},
		"reset-in-window-in-handshake":       {"RSTO ShRaA"},
		"reset-not-of-the-syn":               {"REJ SrhA"},
		"reset-out-of-place":                 {"RSTR ShArDa"}, // Zeek takes every RST
		"reset-without-ack-in-syn-sent":      {"REJ SrhA"},
		"reuse-after-refused":                {"REJ Sr", "S1 ShA"},
		"reuse-after-reset":                  {"RSTO ShAR", "S1 ShA"},
		"reuse-in-time-wait":                 {"SF ShAFf", "S1 ShA"},
		"reuse-in-time-wait-of-server":       {"SF ShAfFa", "S1 ShA"},
		"reuse-late-segment":                 {"RSTO ShAR", "S3 SfhA"},
		"simultaneous-close":                 {"SF ShAFfa"},
		"simultaneous-close-lost-then-acked": {"SF ShAFfa"},
		"simultaneous-close-one-ack":         {"SF ShAFf"},
		"simultaneous-close-one-fin-lost":    {"SF ShAFfa"},
		"simultaneous-close-reset":           {"SF ShAFfr"},
		"simultaneous-close-with-data":       {"SF ShAFfa"},
		"simultaneous-open":                  {"S1 SsA"},
		"swapped-fin":                        {"SF ShAfGF"},
		"swapped-refused":                    {"REJ ^rS"},
		"swapped-syn":                        {"S1 ^hSA"},
		"syn-ack-and-fin-not-captured":       {"SH SFa"},
		"syn-ack-crosses-its-ack":            {"S1 ShAd"},
		"syn-in-connection":                  {"RSTO ShAaR", "S1 ShA"},
		"syn-in-connection-accepted":         {"S1 ShA", "S1 ShA"},
		"syn-in-connection-refused":          {"S1 ShA", "REJ Sr"},
		"syn-in-connection-sent-again":       {"S1 ShA", "S1 ShA"},
		"syn-retry-new-isn":                  {"S0 S", "S1 ShA"},
		"synack-first":                       {"S1 ^hA"},
		"three-step":                         {"SF ShAFf"},
		"time-wait-expires":                  {"SF ShAFf"},
		"time-wait-restarted":                {"SF ShAFafR"},
		"unanswered-syn":                     {"S0 S"},
		"zero-window":                        {"S1 ShADaw"},
		"zero-window-probe-sent":             {"S1 ShADawdT"},
		"zero-window-probe-taken":            {"S1 ShADaw"},
	}
	for _, s := range readStories(t) {
		_, conns := play(t, s.config, s.lines)
		var got []string
		for _, c := range conns {
			if c.Proto == decode.ProtoTCP {
				got = append(got, c.ConnState.String()+" "+c.History.String())
			}
		}
		if strings.Join(got, ", ") != strings.Join(want[s.name], ", ") {
			t.Errorf("%s: %q, want %q", s.name, got, want[s.name])
		}
	}
}

// Letters that repeat: t, w, g and c at 1, 10, 100…; s, h, f and r with each
// new number; the others never. The case tells the side, and a history has an end.
func TestZeekLettersRepeat(t *testing.T) {
	tr, f := New(nil), newFeeder()
	f.open(tr, 1, nil)
	send := func(from Side, flags decode.Flags, seq uint32, n int, edit func(*decode.Packet)) {
		p := f.segment(1, from, flags, seq, 1, n)
		f.p.Time += 10_000_000
		if edit != nil {
			edit(p)
		}
		tr.Observe(p, nil)
		p.BadSum = false
	}
	check := func(want string) {
		t.Helper()
		for c := range tr.Conns() {
			if got := c.History.String(); got != want {
				t.Errorf("history %s, want %s", got, want)
			}
		}
	}
	for range 101 { // the first is no retransmission
		send(Client, decode.ACK, 1, 5, nil)
	}
	check("ShADTTT")
	for range 10 {
		send(Server, decode.ACK, 1, 0, func(p *decode.Packet) { p.Segment.Window = 0 })
		send(Client, decode.ACK, 1, 0, func(p *decode.Packet) { p.BadSum = true })
	}
	check("ShADTTTawCwC")
	for i := range uint32(200) {
		send(Server, decode.RST, 5_000_000+i, 0, nil)
	}
	check("ShADTTTawCwC" + strings.Repeat("r", maxZeekLetter-12))
}

// The RST behaviour that Zeek's own tests document.
func TestZeekResets(t *testing.T) {
	const orig, resp = Client, Server
	type packet struct {
		from  Side
		flags decode.Flags
		n     int
	}
	const syn, fin, rst, ack = decode.SYN, decode.FIN, decode.RST, decode.ACK
	handshake := []packet{{orig, syn, 0}, {resp, syn | ack, 0}, {orig, ack, 0}}
	for want, packets := range map[string][]packet{
		"OTH R":       {{orig, rst, 0}},
		"RSTOS0 SR":   {{orig, syn, 0}, {orig, rst, 0}},
		"RSTOS0 SaR":  {{orig, syn, 0}, {resp, ack, 0}, {orig, rst, 0}},
		"OTH SaFR":    {{orig, syn, 0}, {resp, ack, 0}, {orig, fin | ack, 0}, {orig, rst, 0}},
		"SH SF":       {{orig, syn, 0}, {orig, fin | ack, 0}},
		"REJ Sr":      {{orig, syn, 0}, {resp, rst | ack, 0}},
		"RSTRH ^hr":   {{resp, syn | ack, 0}, {resp, rst, 0}},
		"SHR ^hf":     {{resp, syn | ack, 0}, {resp, fin | ack, 0}},
		"SF ShADdFRf": append(handshake[:3:3], packet{orig, ack, 5}, packet{resp, ack, 5}, packet{orig, fin | ack, 0}, packet{orig, rst, 0}, packet{resp, fin | ack, 0}),
		"RSTO ShAI":   append(handshake[:3:3], packet{orig, fin | rst | ack, 0}),
		"SH Q":        {{orig, syn | fin, 0}},
	} {
		tr, f := New(nil), newFeeder()
		next := [2]uint32{}
		for _, p := range packets {
			f.p.Time += 10_000_000
			sent := f.segment(1, p.from, p.flags, next[p.from], next[p.from.Peer()], p.n)
			tr.Observe(sent, nil)
			next[p.from] += sent.SeqLen()
		}
		for c := range tr.Conns() {
			if got := c.ConnState.String() + " " + c.History.String(); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
}
