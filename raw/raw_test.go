package raw_test

import (
	"net"
	"testing"

	"finack/raw"
)

func TestSocketSaysItsCall(t *testing.T) {
	for _, tt := range []struct {
		socket raw.Socket
		want   string
	}{
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP}, "socket(AF_INET, SOCK_RAW, IPPROTO_TCP)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, 0}, "socket(AF_INET, SOCK_RAW, 0)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_RAW}, "socket(AF_INET, SOCK_RAW, IPPROTO_RAW)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_MPTCP}, "socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, raw.IPPROTO_UDP}, "socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP)"},
		{raw.Socket{raw.AF_INET6, raw.SOCK_DGRAM, raw.IPPROTO_ICMPV6}, "socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_SEQPACKET, raw.IPPROTO_SCTP}, "socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP)"},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_STREAM, 0}, "socket(AF_UNIX, SOCK_STREAM, 0)"},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_DGRAM, 1}, "socket(AF_UNIX, SOCK_DGRAM, 1)"},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL}, "socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)"},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, raw.ETH_P_IP}, "socket(AF_PACKET, SOCK_DGRAM, ETH_P_IP)"},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, 0}, "socket(AF_PACKET, SOCK_RAW, 0)"},

		// One number, two names.
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, 1}, "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)"},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, 1}, "socket(AF_PACKET, SOCK_RAW, ETH_P_802_3)"},

		// No name.
		{raw.Socket{}, "socket(0, 0, 0)"},
		{raw.Socket{99, 98, 97}, "socket(99, 98, 97)"},
		{raw.Socket{-1, -2, -3}, "socket(-1, -2, -3)"},
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, 254}, "socket(AF_INET, SOCK_RAW, 254)"},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, 0x1234}, "socket(AF_PACKET, SOCK_RAW, 4660)"},
	} {
		if got := tt.socket.String(); got != tt.want {
			t.Errorf("%#v: %s, want %s", tt.socket, got, tt.want)
		}
	}
}

func TestPacketAddressIsPrinted(t *testing.T) {
	for _, tt := range []struct {
		addr raw.Addr
		want string
	}{
		{raw.Addr{}, "any"},
		{raw.Addr{Interface: 2}, "%2"},
		{raw.Addr{Interface: 2, Hardware: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, "02:00:00:00:00:01%2"},
	} {
		if got := tt.addr.String(); got != tt.want {
			t.Errorf("%#v: %s, want %s", tt.addr, got, tt.want)
		}
	}
	for p, want := range map[raw.PacketType]string{
		raw.PACKET_HOST:      "PACKET_HOST",
		raw.PACKET_BROADCAST: "PACKET_BROADCAST",
		raw.PACKET_MULTICAST: "PACKET_MULTICAST",
		raw.PACKET_OTHERHOST: "PACKET_OTHERHOST",
		raw.PACKET_OUTGOING:  "PACKET_OUTGOING",
		9:                    "9",
	} {
		if got := p.String(); got != want {
			t.Errorf("packet type %d: %s, want %s", p, got, want)
		}
	}
}
