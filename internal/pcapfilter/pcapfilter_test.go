package pcapfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
)

func TestErrorsPointAtTheWord(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{"gateway 10.0.0.1", "gateway: not supported: it needs a host name, and names are not resolved (at offset 0)"},
		{"tcp and not ip gateway x", "gateway: not supported: it needs a host name, and names are not resolved (at offset 15)"},
		{"ifname lo", "ifname: not supported: only pf's log files have it; ifindex takes an interface's number (at offset 0)"},
		{"on lo", "on: not supported: only pf's log files have it; ifindex takes an interface's number (at offset 0)"},
		{"wlan type mgt", "type: not supported: only IEEE 802.11 frames have it (at offset 5)"},
		{"radio[0] = 1", "radio: not supported: only IEEE 802.11 frames have it (at offset 0)"},
		{"1 = radio[0]", "radio: not supported: only IEEE 802.11 frames have it (at offset 4)"},
		{"vpi 3", "vpi: not supported: only ATM has it (at offset 0)"},
		{"tcp or sio 3", "sio: not supported: only SS7 has it (at offset 7)"},
		{"decnet host 1.2", "1.2: not supported: DECnet addresses (at offset 12)"},
		{"ether host $e0", "$e0: not supported: ARCnet addresses (at offset 11)"},
		{"byte 3 & 1", "&: not supported after byte: say ether[…] & … != 0 (at offset 7)"},
		{"byte 3 >= 1", ">=: unexpected here, want =, < or > (at offset 7)"},
		{"byte tcp", "tcp: unexpected here, want a number (at offset 5)"},
		{"vlan 4096", "4096: above 4095 (at offset 5)"},
		{"vlan ((4096))", "4096: above 4095 (at offset 7)"},
		{"mpls 1048576", "1048576: above 1048575 (at offset 5)"},
		{"pppoes 65536", "65536: above 65535 (at offset 7)"},
		{"geneve 16777216", "16777216: above 16777215 (at offset 7)"},
		{"vlan (tcp)", "tcp: unexpected here, want a number (at offset 6)"},
		{"vlan and arp broadcast", "broadcast: arp has no broadcast (at offset 13)"},
		{"ip6 broadcast", "broadcast: ip6 has no broadcast (at offset 4)"},
		{"ether protochain 6", "6: protochain cannot be qualified by ether (at offset 17)"},
		{"tcp protochain 6", "6: protochain cannot be qualified by tcp (at offset 15)"},
		{`iso proto \tcp`, `"\\tcp": unknown protocol name, give its number (at offset 10)`},
		{"llc nosuch", "nosuch: unknown LLC frame type (at offset 4)"},
		{"isis[0] = 1", "isis: its bytes cannot be used (at offset 0)"},
		{"ifindex lo", "lo: unexpected here, want a number (at offset 8)"},
		{"", ""},
		{" \n\t", ""},
		{"tcp and", "end of expression: unexpected here, want an expression (at offset 7)"},
		{"tcp port", "end of expression: unexpected here, want a value (at offset 8)"},
		{"(tcp", "end of expression: unexpected here, want ) (at offset 4)"},
		{"tcp)", "): unexpected here, want and, or (at offset 3)"},
		{"tcp udp", "udp: unexpected here, want and, or (at offset 4)"},
		{"tcp 80", "80: unexpected here, want and, or (at offset 4)"},
		{"port 80 443", "443: unexpected here, want and, or (at offset 8)"},
		{"10.0.0.1", "10.0.0.1: a bare value: say host, net, port, portrange or proto before it (at offset 0)"},
		{"80", "80: a bare value: say host, net, port, portrange or proto before it (at offset 0)"},
		{"tcp or 80", "80: a bare value: say host, net, port, portrange or proto before it (at offset 7)"},
		{"host example.com", "example.com: host names are not resolved, give the address (at offset 5)"},
		{"net mynet", "mynet: network names are not resolved, give the address (at offset 4)"},
		{"port nosuch", "nosuch: unknown port name, give its number (at offset 5)"},
		{"udp port http", "http: the name of a tcp port, not of udp (at offset 9)"},
		{"port 80 or 65536", "65536: port number above 65535 (at offset 11)"},
		{"portrange 1-x", "1-x: unknown port name, give its number (at offset 10)"},
		{"portrange 5-70000", "5-70000: port number above 65535 (at offset 10)"},
		{"tcp host 10.0.0.1", "10.0.0.1: tcp cannot qualify an IPv4 address (at offset 9)"},
		{"ip6 host 10.0.0.1", "10.0.0.1: ip6 cannot qualify an IPv4 address (at offset 9)"},
		{"ip host ::1", "::1: ip cannot qualify an IPv6 address (at offset 8)"},
		{"port ::1", "::1: port cannot qualify an IPv6 address (at offset 5)"},
		{"icmp port 7", "7: icmp cannot qualify a port (at offset 10)"},
		{"tcp proto 6", "6: proto cannot be qualified by tcp (at offset 10)"},
		{`ip proto \nosuch`, `"\\nosuch": unknown protocol name, give its number (at offset 9)`},
		{"ip proto tcp", "tcp: unexpected here, want a value (at offset 9)"},
		{"host 1.2.3.256", "1.2.3.256: invalid IPv4 address (at offset 5)"},
		{"net 10.1.2.3/8", "10.1.2.3: address has bits outside its mask (at offset 4)"},
		{"net fe80::1/10", "fe80::1: address has bits outside its mask (at offset 4)"},
		{"net 10.0.0.0/33", "33: prefix length too large (at offset 13)"},
		{"net ::/129", "129: prefix length too large (at offset 7)"},
		{"host 10.0.0.0/8", "10.0.0.0: only net takes a mask (at offset 5)"},
		{"host fe80::/10", "fe80::: only net takes a mask (at offset 5)"},
		{"net 10.0.0.0 mask 8", "8: unexpected here, want a dotted mask (at offset 18)"},
		{"host 00:11:22:33:44:55", "00:11:22:33:44:55: an Ethernet address needs ether host, ether src or ether dst (at offset 5)"},
		{"ether and tcp", "and: unexpected here, want host, src, dst, proto, broadcast, multicast or [ after ether (at offset 6)"},
		{"tcp[0:3] = 1", "3: only 1, 2 or 4 bytes can be used (at offset 6)"},
		{"tcp[13]", "end of expression: unexpected here, want a comparison (at offset 7)"},
		{"ip[-1] = 4", "-: offset below zero or above 524287 (at offset 3)"},
		{"ip[0x80000] = 4", "0x80000: offset below zero or above 524287 (at offset 3)"},
		{"ah[0] = 4", "ah: its bytes cannot be used (at offset 0)"},
		{"ip[0] / 0 = 1", "/: division by zero (at offset 6)"},
		{"ip[0] % (2 - 2) = 1", "%: division by zero (at offset 6)"},
		{"ip[0] << 32 = 1", "<<: shift by more than 31 bits (at offset 6)"},
		{"port 08", "08: octal number with a digit above 7 (at offset 5)"},
		{"port 4294967296", "4294967296: number does not fit 32 bits (at offset 5)"},
		{"port 80;", ";: unexpected character (at offset 7)"},
		{"port \x80", `"\x80": unexpected character (at offset 5)`},
		{"host ((10.0.0.1))", "(: more than one pair of parentheses around bare values (at offset 6)"},
		{"host (tcp)", "(: want bare values in these parentheses (at offset 5)"},
		{"port (tcp[0])", "(: want values in these parentheses, not arithmetic (at offset 5)"},
		{"port 1 or (2 or port 3)", "port: not a bare value as the others in these parentheses (at offset 16)"},
		{strings.Repeat("(", 1000) + "tcp", "(: nested too deeply (at offset 256)"},
		{strings.Repeat("not ", 1000) + "tcp", "not: nested too deeply (at offset 1024)"},
		{"ip[" + strings.Repeat("(", 1000), "(: nested too deeply (at offset 258)"},
		{strings.Repeat("tcp or ", 10000) + "tcp", "end of expression: expression longer than 65536 bytes (at offset 65536)"},
	} {
		_, err := Parse(tt.expr)
		got := ""
		if err != nil {
			got = err.Error()
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Expr != tt.expr || !strings.HasPrefix(tt.expr[syntax.Offset:], syntax.Word) {
				t.Errorf("%.60q: %#v does not point at its word", tt.expr, err)
			}
		}
		if got != tt.want {
			t.Errorf("%.60q:\n got %s\nwant %s", tt.expr, got, tt.want)
		}
	}
}

// TestMatches is the truth without any other program: which crafted frames an
// expression selects.
func TestMatches(t *testing.T) {
	frames := craftedFrames(t)
	frames = frames[:slices.IndexFunc(frames, func(f frame) bool { return strings.HasSuffix(f.name, " cut") })]
	for _, tt := range []struct {
		expr string
		want []string
	}{
		{"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and port 80", []string{"tcp4 S", "tcp4 SA", "tcp4 FA", "tcp4 F", "tcp4 SE"}},
		{"tcp[tcpflags] & tcp-rst != 0", []string{"tcp4 R", "tcp4 RA"}},
		{"port 53 or 5353", []string{"tcp4 same ports", "udp4", "udp6"}},
		{"tcp port 53", []string{"tcp4 same ports"}},
		{"portrange 6000-6008", []string{"tcp4 same hosts", "tcp4 options"}},
		{"host ::1", []string{"tcp6 data", "udp6"}},
		{"src host ::1 and port 53", []string{"udp6"}},
		{"src net 192.168 or 172.16.0.0", []string{"tcp4 from server", "udp4"}},
		{"net 172.16.0.0/12", []string{"udp4 big"}},
		{"host 192.168.1.1 and not ip", []string{"arp", "arp"}},
		{"ip host 10.0.0.2 and not tcp", []string{"udp4 big", "icmp4 unreachable", "sctp4", "ip4 chain", "ip4 chain"}},
		{"icmp or icmp6", []string{"icmp4 echo", "icmp4 unreachable", "icmp6", "icmp6", "ip6 fragment"}},
		{"tcp port 80 and ip6", []string{"tcp6"}},
		{"ip[6:2] & 0x1fff != 0", []string{"tcp4 later fragment"}},
		{"greater 500", []string{"udp4 big"}},
		{"ether dst ff:ff:ff:ff:ff:ff", []string{"broadcast"}},
		{"ether proto 0x88cc", []string{"ethertype"}},
		{"vlan and vlan", []string{"vlan double", "vlan triple"}},
		{"vlan 100 and arp", []string{"vlan arp"}},
		{"vlan 100 and vlan 200 and tcp", []string{"vlan double"}},
		{"mpls 100000 and mpls 1024", []string{"mpls stack"}},
		{"mpls and ip6 host fe80::1", []string{"mpls 6"}},
		{"pppoed", []string{"pppoe discovery"}},
		{"pppoes 39 and tcp", []string{"pppoe"}},
		{"geneve 0xb", []string{"geneve options"}},
		{"geneve and ip6", []string{"geneve ip6"}},
		{"geneve and vlan 100 and ip6", []string{"geneve vlan"}},
		{"geneve and broadcast", []string{"geneve broadcast"}},
		{"ip6 protochain 132 and not sctp", []string{"ip6 chain"}},
		{"ip multicast and ether multicast", []string{"broadcast", "ip4 multicast"}},
		{"broadcast and ip", []string{"broadcast"}},
		{"ip broadcast and not broadcast", []string{"ip4 zero"}},
		{"llc ui and ipx", []string{"llc", "llc dsap", "llc snap ipx"}},
		{"isis proto 18", []string{"isis"}},
		// and and or bind equally: this is (icmp or sctp) and ip6.
		{"icmp or sctp and ip6", []string{"sctp6"}},
		{"ip6 and icmp or sctp", []string{"sctp4", "sctp6"}},
	} {
		f, err := Parse(tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		prog, err := f.ForLink(1)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		var got []string
		for _, fr := range frames {
			if prog.Match(fr.data, len(fr.data)) {
				got = append(got, fr.name)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.expr, diff)
		}
		if f.String() != tt.expr {
			t.Errorf("String() of %q is %q", tt.expr, f)
		}
	}
}

// TestEveryLinkTypeSelectsTheSamePackets follows the IP packets of the crafted
// frames through every link type, also those that tcpdump cannot filter.
func TestEveryLinkTypeSelectsTheSamePackets(t *testing.T) {
	frames := craftedFrames(t)
	for _, expr := range []string{
		"tcp", "udp port 53", "host 10.0.0.1", "ip6 host fe80::1", "tcp[tcpflags] & tcp-fin != 0",
		"not tcp", "ip and not port 80", "src net 10.0.0.0/8 or icmp6",
	} {
		f, err := Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		program := func(link uint16) *Program {
			prog, err := f.ForLink(link)
			if errors.Is(err, ErrRejectsAll) {
				return &Program{}
			} else if err != nil {
				t.Fatalf("%d: %q: %v", link, expr, err)
			}
			return prog
		}
		want := program(1)
		for _, link := range []uint16{0, 9, 12, 14, 101, 108, 113, 129, 228, 229, 242, 276} {
			got := program(link)
			for _, fr := range frames {
				v4 := len(fr.data) >= 34 && fr.data[12] == 0x08 && fr.data[13] == 0
				v6 := len(fr.data) >= 54 && fr.data[12] == 0x86 && fr.data[13] == 0xdd
				if !v4 && !v6 || link == 228 && v6 || link == 229 && v4 || strings.HasPrefix(fr.name, "llc") {
					continue
				}
				if g, w := got.Match(relink(fr.data, link), 1000), want.Match(fr.data, 1000); g != w {
					t.Errorf("link %d: %q is %v on %s, on Ethernet it is %v", link, expr, g, fr.name, w)
				}
			}
		}
	}
}

// TestCookedFramesAreFilteredAsEthernet covers what tcpdump cannot filter in
// cooked frames, or not rightly: tags, labels, and what has an LLC header.
func TestCookedFramesAreFilteredAsEthernet(t *testing.T) {
	frames := slices.DeleteFunc(craftedFrames(t), func(f frame) bool {
		if strings.HasSuffix(f.name, " cut") || f.name == "802.3 ipx" {
			return true
		}
		proto := binary.BigEndian.Uint16(f.data[12:])
		return maxLength < proto && proto < 1536
	})
	for _, expr := range []string{
		"vlan", "vlan 100 and tcp", "vlan and vlan", "vlan and vlan and ip6", "vlan and mpls and tcp", "vlan and pppoes and udp", "vlan or tcp", "not vlan and tcp",
		"vlan and geneve and tcp", "vlan and arp", "mpls and tcp", "mpls 100000 and mpls 1024 and host 10.0.0.1", "mpls and ip6",
		"stp", "netbeui", "iso", "isis", "esis", "l1", "psnp", "ipx", "atalk", "aarp", "llc", "llc s", "llc xid",
	} {
		f, err := Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		ethernet, err := f.ForLink(1)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range []uint16{113, 276} {
			cooked, err := f.ForLink(link)
			if err != nil {
				t.Fatal(err)
			}
			for _, fr := range frames {
				if got, want := cooked.Match(relink(fr.data, link), 1000), ethernet.Match(fr.data, 1000); got != want {
					t.Errorf("link %d: %q is %v on %s, on Ethernet it is %v", link, expr, got, fr.name, want)
				}
			}
		}
	}
}

// TestProtochain covers chains that libpcap's program does not follow rightly,
// and its end.
func TestProtochain(t *testing.T) {
	auth := func(next byte) string { return string([]byte{next, 4}) + strings.Repeat("a", 22) }
	option := func(next byte) string { return string([]byte{next, 0}) + "aaaaaa" }
	for _, tt := range []struct {
		name, chain string
		v4          bool
		want        bool
	}{
		{"authentication twice", auth(51) + auth(6) + "tcp", true, true},
		{"authentication twice, in IPv6", auth(51) + auth(6) + "tcp", false, true},
		{"options behind authentication", auth(60) + option(6) + "tcp", false, true},
		{"16 headers", strings.Repeat(auth(51), 15) + auth(6), true, true},
		{"17 headers", strings.Repeat(auth(51), 16) + auth(6), true, false},
		{"cut off", auth(51)[:20], true, false},
		{"itself for ever", strings.Repeat(string([]byte{51, 254}), 700), true, false},
		{"another protocol", auth(17) + "udp", true, false},
	} {
		expr := "ip6 protochain 6"
		data := []byte("\x66\x77\x88\x99\xaa\xbb\x00\x11\x22\x33\x44\x55\x86\xdd\x60\x00\x00\x00\x00\x00\x33\x40" + strings.Repeat("a", 32) + tt.chain)
		if tt.v4 {
			expr = "ip protochain 6"
			data = []byte("\x66\x77\x88\x99\xaa\xbb\x00\x11\x22\x33\x44\x55\x08\x00\x45\x00\x00\x00\x00\x00\x00\x00\x40\x33" + strings.Repeat("a", 10) + tt.chain)
		}
		if got := mustProgram(t, expr).Match(data, len(data)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestWhatALinkCannotTellIsAnError(t *testing.T) {
	for _, tt := range []struct {
		expr string
		link uint16
		want string
	}{
		{"tcp", 105, "compile filter: link type 105 not supported"},
		{"tcp and ether src 00:11:22:33:44:55", 101, "compile filter: 00:11:22:33:44:55: frames of this link type have no Ethernet addresses (at offset 18)"},
		{"tcp and vlan", 101, "compile filter: vlan: frames of this link type have no VLAN tags (at offset 8)"},
		{"mpls and vlan", 1, "compile filter: vlan: not possible after mpls (at offset 9)"},
		{"mpls and arp", 1, "compile filter: arp: not possible after mpls: only IP and IPv6 are recognized there (at offset 9)"},
		{"mpls", 101, "compile filter: mpls: frames of this link type have no MPLS labels (at offset 0)"},
		{"llc", 9, "compile filter: llc: frames of this link type have no LLC header (at offset 0)"},
		{"pppoes and ether multicast", 1, "compile filter: multicast: frames of this link type have no Ethernet addresses (at offset 17)"},
		{"geneve and protochain 6", 1, "compile filter: 6: not possible after geneve (at offset 22)"},
		{"ifindex 2", 113, "compile filter: ifindex: frames of this link type do not tell their interface (at offset 0)"},
		{strings.Repeat("geneve and ", 6) + "tcp", 1, "compile filter: arithmetic and encapsulations nested too deeply for 16 scratch cells"},
		{"tcp and inbound", 1, "compile filter: inbound: frames of this link type do not tell their direction (at offset 8)"},
		{"arp", 101, `compile filter "arp": expression rejects all packets`},
		{"1 = 2", 1, `compile filter "1 = 2": expression rejects all packets`},
		{"ip6 and not ip6", 228, `compile filter "ip6 and not ip6": expression rejects all packets`},
		{strings.Repeat("host ::1 or ", 500) + "tcp", 1, "compile filter: filter program longer than 4096 instructions"},
		{strings.Repeat("host ::1 or ", 5000) + "tcp", 1, "compile filter: filter program longer than 4096 instructions"},
		{"len - (len - (" + strings.Repeat("len - (", 20) + "len" + strings.Repeat(")", 22) + " = 0", 1, "compile filter: arithmetic and encapsulations nested too deeply for 16 scratch cells"},
	} {
		f, err := Parse(tt.expr)
		if err != nil {
			t.Errorf("%.40q: %v", tt.expr, err)
			continue
		}
		_, err = f.ForLink(tt.link)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.40q on %d:\n got %v\nwant %s", tt.expr, tt.link, err, tt.want)
		}
	}
}

// TestCellsThatLastAreCounted: each geneve takes three of the 16 scratch cells,
// and a live program one more for the protocol.
func TestCellsThatLastAreCounted(t *testing.T) {
	f, err := Parse(strings.Repeat("geneve and ", 5) + "tcp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ForLink(1); err != nil {
		t.Error(err)
	}
	if _, err := f.Live(0); err == nil {
		t.Error("a live program with 16 cells that last: accepted")
	}
}

func TestTheEmptyExpressionAcceptsEverything(t *testing.T) {
	f, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Live(96)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bpf.RawInstruction{{Op: opRet, K: 96}}, raw); diff != "" {
		t.Error(diff)
	}
	prog, err := f.ForLink(1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bpf.RawInstruction{{Op: opRet, K: 262144}}, prog.Instructions()); diff != "" {
		t.Error(diff)
	}
}

func TestCommonFiltersAreShort(t *testing.T) {
	for _, tt := range []struct {
		expr string
		most int // tcpdump's program and a few more
	}{
		{"tcp", 12},
		{"tcp port 80", 20},
		{"port 80", 24},
		{"host 10.0.0.1", 14},
		{"host 10.0.0.1 and tcp port 80", 36},
		{"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", 12},
	} {
		f, err := Parse(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		prog, err := f.ForLink(1)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(prog.Instructions()); n > tt.most {
			t.Errorf("%q has %d instructions, want at most %d:\n%v", tt.expr, n, tt.most, prog)
		}
		raw, err := f.Live(0)
		if err != nil {
			t.Fatal(err)
		}
		const prelude = 6 // finds the protocol of tagged frames
		if len(raw) > tt.most+prelude {
			t.Errorf("%q has %d instructions live, want at most %d:\n%s", tt.expr, len(raw), tt.most+prelude, Listing(raw))
		}
	}
}

// TestLongJumps makes programs whose branches reach over more than 255
// instructions, in both senses.
func TestLongJumps(t *testing.T) {
	frames := craftedFrames(t)
	var ports []string
	for i := range 150 {
		ports = append(ports, fmt.Sprint(1000+i))
	}
	list := strings.Join(ports, " or ")
	for long, short := range map[string]string{
		"tcp and (port " + list + " or 80)":                                         "tcp and (port 80 or portrange 1000-1149)",
		"udp or not (port " + list + ") and tcp":                                    "udp or not portrange 1000-1149 and tcp",
		"not (tcp and (port " + list + " or 80)) and ip":                            "not (tcp and (port 80 or portrange 1000-1149)) and ip",
		"tcp[0:2] = 80 or (" + strings.Repeat("ip[8] = 1 or ", 300) + "tcp[13] = 2": "",
	} {
		if short == "" {
			long, short = long+")", "tcp[0:2] = 80 or ip[8] = 1 or tcp[13] = 2"
		}
		program := func(expr string) *Program {
			f, err := Parse(expr)
			if err != nil {
				t.Fatal(err)
			}
			prog, err := f.ForLink(1)
			if err != nil {
				t.Fatal(err)
			}
			return prog
		}
		got, want := program(long), program(short)
		for _, fr := range frames {
			if g, w := got.Match(fr.data, fr.wireLen()), want.Match(fr.data, fr.wireLen()); g != w {
				t.Errorf("the long form of %q is %v on %s (%d bytes)", short, g, fr.name, len(fr.data))
			}
		}
	}
}

// skb is a frame as the kernel holds it.
type skb struct {
	data            []byte
	net             uint32 // where the network header is said to be
	proto           uint32
	pktType, hatype uint32
	vlan            bool // a tag is beside the frame
	tci, tpid       uint32
}

// received returns an Ethernet frame as the kernel holds it when it has come
// in: it takes one tag out, and calls 802.3 frames by names of its own.
func received(frame []byte) skb {
	s := skb{data: frame, net: 14, hatype: 1}
	if tpid := binary.BigEndian.Uint16(frame[12:]); (tpid == 0x8100 || tpid == 0x88a8) && len(frame) >= 18 {
		s.vlan, s.tpid, s.tci = true, uint32(tpid), uint32(binary.BigEndian.Uint16(frame[14:]))
		s.data = slices.Concat(frame[:12], frame[16:])
	}
	s.proto = uint32(binary.BigEndian.Uint16(s.data[12:]))
	switch {
	case s.proto >= 1536:
	case len(s.data) >= 16 && s.data[14] == 0xff && s.data[15] == 0xff:
		s.proto = ethP8023
	default:
		s.proto = ethP8022
	}
	return s
}

// run runs a live program in the machine of x/net/bpf: what the kernel finds
// out about a frame is put into the program.
func (s skb) run(t testing.TB, live []bpf.RawInstruction) bool {
	t.Helper()
	present := uint32(0)
	if s.vlan {
		present = 1
	}
	prog := slices.Clone(live)
	for i := range prog {
		r := &prog[i]
		if r.Op&7 > 1 || r.Op == opLdImm { // LD and LDX
			continue
		}
		switch {
		case r.K >= skfAdOff:
			k, ok := map[uint32]uint32{
				skfAdProtocol: s.proto, skfAdPktType: s.pktType, skfAdHatype: s.hatype, skfAdIfindex: 7,
				skfAdVLANTagPresent: present, skfAdVLANTag: s.tci, skfAdVLANTPID: s.tpid,
			}[r.K]
			if !ok {
				t.Fatalf("a load from %#x", r.K)
			}
			r.Op, r.K = opLdImm, k
		case r.K >= skfNetOff:
			r.K = r.K - skfNetOff + s.net
		case r.K >= skfLLOff:
			r.K -= skfLLOff
		}
	}
	return verdict(t, newVM(t, prog), s.data)
}

// differsLive lists expressions that need not say the same live of tagged
// frames: they read where a tag was, or bytes of a protocol that they do not
// ask for, which libpcap lets them.
func differsLive(expr string) bool {
	for _, s := range []string{"ether[12", "ether[14", "byte 12", "byte 14", "1 << ", "100 - ip[8]", "100 - (ip[8]", "mpls or ip"} {
		if strings.Contains(expr, s) {
			return true
		}
	}
	return false
}

// TestLiveProgramsAreTheFilesPrograms runs live programs as the kernel would
// on Ethernet and demands the verdicts of the programs for Ethernet files, also
// for tagged frames: when they come in, and when they are sent with the tag in
// them and the network header, as it happens, at the tag or behind it.
func TestLiveProgramsAreTheFilesPrograms(t *testing.T) {
	frames := craftedFrames(t)
	tested := 0
	for _, expr := range expressions {
		f, err := Parse(expr)
		if err != nil || differsLive(expr) {
			continue
		}
		file, err := f.ForLink(1)
		if err != nil {
			continue
		}
		live, err := f.Live(1000)
		if err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		tested++
		for _, fr := range frames {
			if len(fr.data) < 18 {
				continue
			}
			proto := binary.BigEndian.Uint16(fr.data[12:])
			if len(fr.data) < 22 && proto <= maxLength {
				continue // too short for the kernel to tell what it is
			}
			if maxLength < proto && proto < 1536 {
				continue // neither a length nor an EtherType
			}
			in := received(fr.data)
			if in.vlan && in.proto == ethP8022 || in.vlan && in.proto == ethP8023 {
				continue // the length in it is not told
			}
			forms := []skb{in}
			if in.vlan {
				sent := skb{data: fr.data, net: 14, proto: uint32(proto), pktType: packetOutgoing, hatype: 1}
				forms = append(forms, sent)
				sent.net = 18
				forms = append(forms, sent)
			}
			want := file.Match(fr.data, len(fr.data))
			for _, s := range forms {
				if got := s.run(t, live); got != want {
					t.Errorf("%q is %v live (tag %v, network header at %d) and %v in a file on %s (%d bytes)\n%s", expr, got, s.vlan, s.net, want, fr.name, len(fr.data), Listing(live))
					break
				}
			}
		}
	}
	if tested < 450 {
		t.Errorf("only %d expressions were tested", tested)
	}
}

// TestLiveOnlyKnowledge covers what a file of Ethernet frames cannot tell.
func TestLiveOnlyKnowledge(t *testing.T) {
	tcp4 := craftedFrames(t)[0].data
	for _, tt := range []struct {
		expr            string
		pktType, hatype uint32
		want            bool
	}{
		{"inbound", 0, 1, true},
		{"inbound", 3, 1, true},
		{"inbound", packetOutgoing, 1, false},
		{"outbound", packetOutgoing, 1, true},
		{"outbound and tcp", 0, 1, false},
		{"not outbound and tcp", 0, 1, true},
		{"ifindex 7 and tcp", 0, 1, true},
		{"ifindex 8", 0, 1, false},
		{"ether src 00:11:22:33:44:55", 0, 1, true},
		{"ether src 00:11:22:33:44:55", 0, 772, true},
		{"ether src 00:11:22:33:44:55", 0, 65534, false}, // ARPHRD_NONE: a tun device
		{"ether[6] = 0", 0, 1, true},
		{"ether[6] = 0", 0, 65534, false},
		{"ether[6] != 0", 0, 65534, false},
		{"multicast", 0, 65534, false},
		{"vlan", 0, 65534, false},
	} {
		f, err := Parse(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		live, err := f.Live(0)
		if err != nil {
			t.Fatal(err)
		}
		s := received(tcp4)
		s.pktType, s.hatype = tt.pktType, tt.hatype
		if got := s.run(t, live); got != tt.want {
			t.Errorf("%q with type %d on hardware %d is %v", tt.expr, tt.pktType, tt.hatype, got)
		}
	}
}

// FuzzParse: nothing that Parse accepts makes a program that a machine refuses.
func FuzzParse(f *testing.F) {
	for _, expr := range expressions {
		f.Add(expr)
	}
	f.Add(strings.Repeat("(", 300))
	f.Add(strings.Repeat("host ::1 or ", 400) + "tcp")
	f.Add("1" + strings.Repeat("+len", 100) + "=1")
	frame := craftedFrames(f)[0].data
	f.Fuzz(func(t *testing.T, expr string) {
		filter, err := Parse(expr)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.HasPrefix(expr[syntax.Offset:], syntax.Word) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%#v", err)
			}
			return
		}
		for _, link := range []uint16{0, 1, 9, 101, 113, 129, 228, 229, 242, 276} {
			prog, err := filter.ForLink(link)
			if err != nil {
				continue
			}
			if n := len(prog.Instructions()); n > maxProgram {
				t.Fatalf("%d instructions", n)
			}
			if got, want := prog.Match(frame, len(frame)), verdict(t, newVM(t, prog.Instructions()), frame); got != want {
				t.Fatalf("%v, in the machine of x/net/bpf %v", got, want)
			}
		}
		if live, err := filter.Live(0); err == nil {
			if len(live) > maxProgram {
				t.Fatalf("%d instructions", len(live))
			}
			received(frame).run(t, live)
		}
	})
}
