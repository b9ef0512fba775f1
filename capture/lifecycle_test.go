package capture_test

import (
	"encoding/binary"
	"testing"

	"finack/capture"
	"finack/internal/pcapfilter"
)

const (
	ack = 1 << 4
	syn = 1 << 1
	fin = 1 << 0
	rst = 1 << 2
	psh = 1 << 3
)

// tcpHeader is one with n bytes of options and a payload.
func tcpHeader(flags byte, options, payload int) []byte {
	b := make([]byte, 20+options+payload)
	b[12], b[13] = byte(5+options/4)<<4, flags
	return b
}

// ip4 is a packet with n bytes of options and 6 bytes of the link's padding.
func ip4(proto byte, options int, fragment uint16, payload []byte) []byte {
	b := make([]byte, 20+options)
	b[0], b[9] = 0x40|byte(5+options/4), proto
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	return append(b, make([]byte, 6)...)
}

func ip6(next byte, payload []byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	return append(append(b, payload...), make([]byte, 6)...)
}

// unsaid makes the length in an IP header 0, as where it is too large for it.
func unsaid(b []byte) []byte {
	at := 2
	if b[0]>>4 == 6 {
		at = 4
	}
	b[at], b[at+1] = 0, 0
	return b
}

func ether(t uint16, payload []byte) []byte {
	return append(append(make([]byte, 12), byte(t>>8), byte(t)), payload...)
}

func udpTo(port uint16) []byte {
	return []byte{0, 1, byte(port >> 8), byte(port), 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func TestLifecycleFilter(t *testing.T) {
	const v4, v6 = 0x0800, 0x86dd
	for _, c := range []struct {
		name  string
		frame []byte
		pass  bool
	}{
		{"SYN", ether(v4, ip4(6, 0, 0, tcpHeader(syn, 20, 0))), true},
		{"SYN with data", ether(v4, ip4(6, 0, 0, tcpHeader(syn, 20, 100))), true},
		{"FIN with data", ether(v4, ip4(6, 0, 0, tcpHeader(fin|psh|ack, 12, 100))), true},
		{"RST with data", ether(v4, ip4(6, 0, 0, tcpHeader(rst, 0, 58))), true},
		{"ACK", ether(v4, ip4(6, 0, 0x4000, tcpHeader(ack, 12, 0))), true},
		{"ACK with IP options", ether(v4, ip4(6, 8, 0, tcpHeader(ack, 40, 0))), true},
		{"data", ether(v4, ip4(6, 0, 0x4000, tcpHeader(psh|ack, 12, 1))), false},
		{"data with IP options", ether(v4, ip4(6, 40, 0, tcpHeader(ack, 0, 1))), false},
		{"data without a length", ether(v4, unsaid(ip4(6, 0, 0, tcpHeader(ack, 12, 2000)))), false},
		{"FIN without a length", ether(v4, unsaid(ip4(6, 0, 0, tcpHeader(fin|ack, 12, 2000)))), true},
		{"first fragment", ether(v4, ip4(6, 0, 0x2000, tcpHeader(ack, 0, 100))), true},
		{"later fragment", ether(v4, ip4(6, 0, 0x2001, tcpHeader(ack, 0, 0))), false},
		{"last fragment", ether(v4, ip4(6, 0, 0x0001, tcpHeader(fin, 0, 0))), false},
		{"UDP", ether(v4, ip4(17, 0, 0, udpTo(53))), false},
		{"VXLAN", ether(v4, ip4(17, 0, 0, udpTo(4789))), true},
		{"Geneve over IPv6", ether(v6, ip6(17, udpTo(6081))), true},
		{"ICMP", ether(v4, ip4(1, 0, 0, make([]byte, 36))), true},
		{"later fragment of ICMP", ether(v4, ip4(1, 0, 0x0001, make([]byte, 36))), false},
		{"GRE", ether(v4, ip4(47, 0, 0, make([]byte, 36))), true},
		{"OSPF", ether(v4, ip4(89, 0, 0, make([]byte, 36))), false},
		{"IPv6: SYN", ether(v6, ip6(6, tcpHeader(syn, 20, 0))), true},
		{"IPv6: ACK", ether(v6, ip6(6, tcpHeader(ack, 12, 0))), true},
		{"IPv6: data", ether(v6, ip6(6, tcpHeader(ack, 12, 1))), false},
		{"IPv6: jumbo data", ether(v6, unsaid(ip6(6, tcpHeader(ack, 12, 2000)))), false},
		{"IPv6: jumbo FIN", ether(v6, unsaid(ip6(6, tcpHeader(fin|ack, 12, 2000)))), true},
		{"IPv6: extension header", ether(v6, ip6(60, append(make([]byte, 8), tcpHeader(ack, 0, 100)...))), true},
		{"IPv6: first fragment", ether(v6, ip6(44, append([]byte{6, 0, 0, 1, 0, 0, 0, 1}, tcpHeader(ack, 0, 100)...))), true},
		{"IPv6: later fragment", ether(v6, ip6(44, append([]byte{6, 0, 0, 9, 0, 0, 0, 1}, tcpHeader(fin, 0, 0)...))), false},
		{"ICMPv6", ether(v6, ip6(58, make([]byte, 48))), true},
		{"IPv6: UDP", ether(v6, ip6(17, udpTo(53))), false},
		{"ARP", ether(0x0806, make([]byte, 46)), false},
		{"VLAN tag", ether(0x8100, append([]byte{0, 5, 8, 0}, ip4(6, 0, 0, tcpHeader(ack, 0, 100))...)), true},
		{"MPLS", ether(0x8847, append([]byte{0, 0, 1, 64}, ip4(6, 0, 0, tcpHeader(ack, 0, 100))...)), true},
		{"PPPoE", ether(0x8864, append([]byte{0x11, 0, 0, 1, 0, 122, 0, 0x21}, ip4(6, 0, 0, tcpHeader(ack, 0, 100))...)), true},
	} {
		for _, expr := range []string{"", "ip or ip6 or ether[0] = 0", "arp", "tcp or udp"} {
			pass := matches(t, capture.LifecycleFilter(expr), c.frame)
			if want := c.pass && (expr == "" || matches(t, expr, c.frame)); pass != want {
				t.Errorf("%s, filter %q: passes %t, want %t", c.name, expr, pass, want)
			}
		}
	}
}

// matches runs a filter on an Ethernet frame.
func matches(t *testing.T, expr string, frame []byte) bool {
	t.Helper()
	f, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := f.ForLink(1)
	if err != nil {
		t.Fatal(err)
	}
	return prog.Match(frame, len(frame))
}
