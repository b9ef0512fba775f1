package sockview

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"finack/decode"
	"finack/raw"
)

// directions are what a socket saw of a connection's packets: how many to the
// server and to the client, and how many of them left.
type directions struct{ there, thereOut, back, backOut int }

// comparisonOf is what a raw socket, one of ETH_P_IP and one of ETH_P_ALL saw.
func comparisonOf(client, server decode.Endpoint, seen [numCounters]directions) *Comparison {
	c := &Comparison{cfg: CompareConfig{Protocol: raw.IPPROTO_TCP}, dropped: make([]uint64, numCounters)}
	for i, s := range []raw.Socket{
		{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_TCP},
		{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM, Protocol: raw.ETH_P_IP},
		{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW, Protocol: raw.ETH_P_ALL},
	} {
		counter := &Counter{Socket: s, seen: make(map[[2]decode.Endpoint]*Tally)}
		d := seen[i]
		if d.there > 0 {
			counter.seen[[2]decode.Endpoint{client, server}] = &Tally{Packets: d.there, Outgoing: d.thereOut, First: 1}
		}
		if d.back > 0 {
			counter.seen[[2]decode.Endpoint{server, client}] = &Tally{Packets: d.back, Outgoing: d.backOut, First: 2}
		}
		c.counters = append(c.counters, counter)
	}
	return c
}

// What a router forwards leaves as often as it arrives, but is no loopback.
func TestForwardedPacketsDoNotLoop(t *testing.T) {
	client := decode.EndpointOf(netip.MustParseAddrPort("192.0.2.1:40000"))
	server := decode.EndpointOf(netip.MustParseAddrPort("198.51.100.1:80"))
	c := comparisonOf(client, server, [...]directions{{}, {6, 0, 5, 0}, {12, 6, 10, 5}})
	for _, t := range c.counters[ofAll].seen {
		t.Several = true
	}
	k := c.conns()[0]
	for i, want := range []string{
		"0 of the 11 packets that arrived: the others were not delivered on this host (forwarded, filtered, to another host), or were fragments",
		"only what arrives: none of the 11 packets that this host sent",
		"both directions, on several interfaces: packets count at each",
	} {
		if got := c.verdict(k, i); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// What a socket sends to itself is not counted for both directions.
func TestASocketThatSendsToItself(t *testing.T) {
	self := decode.EndpointOf(netip.MustParseAddrPort("127.0.0.1:99"))
	c := comparisonOf(self, self, [...]directions{{there: 3}, {there: 3}, {there: 6, thereOut: 3}})
	k := c.conns()[0]
	for i, want := range []int{3, 3, 6} {
		if v := k.views[i]; v[0].Packets != want || v[1].Packets != 0 {
			t.Errorf("%v: %d and %d packets, want %d and 0", c.counters[i].Socket, v[0].Packets, v[1].Packets, want)
		}
	}
}

// A verdict says what the counts prove, and no more.
func TestVerdicts(t *testing.T) {
	client := decode.EndpointOf(netip.MustParseAddrPort("203.0.113.101:40000"))
	server := decode.EndpointOf(netip.MustParseAddrPort("203.0.113.102:50443"))
	const (
		once    = "each packet once, as it arrives; what leaves is not shown to it"
		twice   = "each packet twice: once as it leaves, once as it arrives again (loopback)"
		both    = "both directions, each packet once: what arrives, and what this host sends"
		arrives = "what arrives; this host sent nothing"
		all     = "all of it: every packet arrived here"
	)
	for _, tt := range []struct {
		name string
		seen [numCounters]directions
		want [numCounters]string
	}{
		{"on loopback", [...]directions{{6, 0, 5, 0}, {6, 0, 5, 0}, {12, 6, 10, 5}}, [...]string{once, once, twice}},
		{"at the client", [...]directions{{0, 0, 5, 0}, {0, 0, 5, 0}, {6, 6, 5, 0}}, [...]string{
			"only what arrives: none of the 6 packets that this host sent",
			"only what arrives: none of the 6 packets that this host sent", both,
		}},
		{"at the server", [...]directions{{6, 0, 0, 0}, {6, 0, 0, 0}, {6, 0, 5, 5}}, [...]string{
			"only what arrives: none of the 5 packets that this host sent",
			"only what arrives: none of the 5 packets that this host sent", both,
		}},
		{"nobody answers", [...]directions{{}, {}, {3, 3, 0, 0}}, [...]string{
			"nothing: it sees what arrives, and all 3 packets were sent by this host",
			"nothing: it sees what arrives, and all 3 packets were sent by this host",
			"what this host sends, as it leaves; nothing came back",
		}},
		{"a server that is silent", [...]directions{{3, 0, 0, 0}, {3, 0, 0, 0}, {3, 0, 0, 0}}, [...]string{all, all, arrives}},
		{"others' packets", [...]directions{{}, {6, 0, 5, 0}, {6, 0, 5, 0}}, [...]string{
			"0 of the 11 packets that arrived: the others were not delivered on this host (forwarded, filtered, to another host), or were fragments",
			all, arrives,
		}},
		{"out of a tunnel", [...]directions{{6, 0, 5, 0}, {}, {}}, [...]string{
			"11 packets, where ETH_P_ALL saw 0 arrive: the others were inside others on the links",
			"nothing of it",
			"nothing: on the links these packets were inside others, or not of this filter",
		}},
		{"tagged", [...]directions{{6, 0, 5, 0}, {}, {6, 0, 5, 0}}, [...]string{
			all, "0 of the 11 packets that arrived: the others were not of this EtherType", arrives,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := comparisonOf(client, server, tt.seen)
			conns := c.conns()
			if len(conns) != 1 || conns[0].client != client || conns[0].server != server {
				t.Fatalf("%+v", conns)
			}
			for i, want := range tt.want {
				if got := c.verdict(conns[0], i); got != want {
					t.Errorf("%v: %s, want %s", c.counters[i].Socket, got, want)
				}
			}
			for line := range strings.Lines(string(c.AppendText(nil))) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > lineWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}

			// What lost packets proves nothing, and what is compared with it neither.
			c.dropped[ofProtocol] = 7
			if got := c.verdict(conns[0], ofProtocol); !strings.HasPrefix(got, "not comparable: 7 packets") {
				t.Error(got)
			}
			if got := c.verdict(conns[0], ofVersion); got != tt.want[ofVersion] {
				t.Error(got)
			}
			c.dropped[ofAll] = 1
			for i := range tt.want {
				if got := c.verdict(conns[0], i); !strings.HasPrefix(got, "not comparable") {
					t.Error(got)
				}
			}
			if c.Dropped() != 8 {
				t.Errorf("%d dropped", c.Dropped())
			}
		})
	}
}
