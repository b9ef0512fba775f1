package capture

// LifecycleFilter returns a filter in tcpdump's language that passes what
// filter passes, empty: everything, as far as the births and deaths of TCP
// connections need it: segments with SYN, FIN or RST, segments without payload,
// and ICMP; no other UDP, nothing of other protocols. What it cannot judge
// passes whole: inner VLAN tags, MPLS, PPPoE, tunnels, IPv6 extension headers,
// first fragments. Later fragments do not pass.
func LifecycleFilter(filter string) string {
	if filter == "" {
		return lifecycle
	}
	return "(" + filter + ") and (" + lifecycle + ")"
}

// lifecycle judges by the lengths in the headers: frames may be padded. Where
// the IP header has none, the segment is larger than it could say: data. "and"
// and "or" bind alike, from left to right.
const lifecycle = "(ip[6:2] & 0x1fff = 0 and (" +
	// Without payload: total length, header lengths in words of four bytes.
	"ip[9] = 6 and (ip[6:2] & 0x2000 != 0 or " +
	"tcp[13] & 7 != 0 or (ip[2:2] != 0 and ip[2:2] <= (ip[0] & 0xf) * 4 + (tcp[12] >> 4) * 4)) or " +
	// ICMP; IP in IP, GRE, AH.
	"ip[9] = 1 or ip[9] = 4 or ip[9] = 41 or ip[9] = 47 or ip[9] = 51 or " +
	// VXLAN and Geneve.
	"udp dst port 4789 or udp dst port 8472 or udp dst port 6081)) or " +
	"(ip6[6] = 6 and (ip6[53] & 7 != 0 or (ip6[4:2] != 0 and ip6[4:2] <= (ip6[52] >> 4) * 4))) or " +
	// Extension headers, but for later fragments; ICMPv6, and the same tunnels.
	"(ip6[6] = 44 and ip6[42:2] & 0xfff8 = 0) or " +
	"ip6[6] = 58 or ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 51 or ip6[6] = 60 or ip6[6] = 135 or ip6[6] = 139 or ip6[6] = 140 or " +
	"ip6[6] = 4 or ip6[6] = 41 or ip6[6] = 47 or (ip6 and (udp dst port 4789 or udp dst port 8472 or udp dst port 6081)) or " +
	"ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100 or " +
	"ether proto 0x8847 or ether proto 0x8848 or ether proto 0x8864 or ether proto 0x880b"
