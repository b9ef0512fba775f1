package raw_test

import (
	"fmt"
	"strings"
	"testing"

	"finack/raw"
)

func TestNamesAreParsed(t *testing.T) {
	domain := func(s string) (int, error) { d, err := raw.ParseDomain(s); return int(d), err }
	typ := func(s string) (int, error) { v, err := raw.ParseType(s); return int(v), err }
	protocol := func(d raw.Domain) func(string) (int, error) {
		return func(s string) (int, error) { p, err := raw.ParseProtocol(d, s); return int(p), err }
	}
	const bad = -1000
	for _, tt := range []struct {
		what  string
		parse func(string) (int, error)
		want  map[string]int
	}{
		{"domain", domain, map[string]int{
			"unix": 1, "inet": 2, "INET6": 10, "packet": 17, "AF_INET": 2, "af_packet": 17, "2": 2, "9999": 9999, "0": 0, "0x11": 17,
			"": bad, "ipx": bad, "AF_": bad, "2 ": bad, "0x": bad, "99999999999": bad, "SOCK_RAW": bad,
		}},
		{"type", typ, map[string]int{
			"stream": 1, "dgram": 2, "raw": 3, "seqpacket": 5, "SOCK_RAW": 3, "Sock_Dgram": 2, "10": 10, "-1": -1,
			"": bad, "rdm": bad, "AF_INET": bad,
		}},
		{"inet protocol", protocol(raw.AF_INET), map[string]int{
			"0": 0, "ip": 0, "IPPROTO_IP": 0, "tcp": 6, "TCP": 6, "IPPROTO_TCP": 6, "ipproto_udp": 17, "icmp": 1, "icmpv6": 58,
			"sctp": 132, "raw": 255, "mptcp": 262, "ipv6": 41, "47": 47, "0x2f": 47, "-1": -1, "100000": 100000,
			"": bad, "all": bad, "ETH_P_IP": bad, "tcp6": bad, "IPPROTO_": bad,
		}},
		{"inet6 protocol", protocol(raw.AF_INET6), map[string]int{"tcp": 6, "icmpv6": 58, "IPPROTO_RAW": 255, "arp": bad}},
		{"packet protocol", protocol(raw.AF_PACKET), map[string]int{
			"0": 0, "ip": 0x800, "ipv6": 0x86dd, "arp": 0x806, "all": 3, "ALL": 3, "0x0800": 0x800, "0X86DD": 0x86dd, "2048": 0x800,
			"ETH_P_ALL": 3, "eth_p_8021q": 0x8100, "8021q": 0x8100,
			"tcp": bad, "IPPROTO_TCP": bad, "": bad, "ETH_P_": bad, "0x": bad,
		}},
		{"unix protocol", protocol(raw.AF_UNIX), map[string]int{"0": 0, "1": 1, "tcp": bad, "": bad}},
	} {
		for text, want := range tt.want {
			got, err := tt.parse(text)
			if want == bad {
				// The error says what was wrong and what would be right.
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q: must be ", text)) {
					t.Errorf("%s %q: %d, %v; want an error that names it", tt.what, text, got, err)
				}
				continue
			}
			if err != nil || got != want {
				t.Errorf("%s %q: %d, %v; want %d", tt.what, text, got, err, want)
			}
		}
	}
}

// What a socket prints of itself is read again, in every domain.
func TestPrintedNamesAreParsedAgain(t *testing.T) {
	for _, d := range []raw.Domain{raw.AF_UNIX, raw.AF_INET, raw.AF_INET6, raw.AF_PACKET, 3} {
		if got, err := raw.ParseDomain(d.String()); err != nil || got != d {
			t.Errorf("%v is parsed as %v, %v", d, got, err)
		}
		for p := range raw.Protocol(0x10000) {
			if got, err := raw.ParseProtocol(d, d.ProtocolName(p)); err != nil || got != p {
				t.Fatalf("%v: %s is parsed as %d, %v", d, d.ProtocolName(p), got, err)
			}
		}
	}
	for typ := range raw.Type(12) {
		if got, err := raw.ParseType(typ.String()); err != nil || got != typ {
			t.Errorf("%v is parsed as %v, %v", typ, got, err)
		}
	}
}
