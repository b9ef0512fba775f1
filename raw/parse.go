package raw

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseDomain returns the domain that s names, in capitals or not: "inet",
// "AF_INET" or "2". A number need not be one that this package knows.
func ParseDomain(s string) (Domain, error) {
	for _, d := range []Domain{AF_UNIX, AF_INET, AF_INET6, AF_PACKET} {
		if named(s, d.String(), "AF_") {
			return d, nil
		}
	}
	if n, ok := parseNumber(s); ok {
		return Domain(n), nil
	}
	return 0, fmt.Errorf("domain %q: must be unix, inet, inet6, packet or a number", s)
}

// ParseType returns the type that s names, in capitals or not: "raw",
// "SOCK_RAW" or "3".
func ParseType(s string) (Type, error) {
	for _, t := range []Type{SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET} {
		if named(s, t.String(), "SOCK_") {
			return t, nil
		}
	}
	if n, ok := parseNumber(s); ok {
		return Type(n), nil
	}
	return 0, fmt.Errorf("type %q: must be stream, dgram, seqpacket, raw or a number", s)
}

// ParseProtocol returns the protocol that s names in domain d, in capitals or
// not: "tcp", "IPPROTO_TCP" or "6"; in AF_PACKET "ip", "ETH_P_IP" or "0x0800".
// Other domains have numbers only. Zero is the default of the type.
func ParseProtocol(d Domain, s string) (Protocol, error) {
	if n, ok := parseNumber(s); ok {
		return Protocol(n), nil
	}
	switch d {
	case AF_INET, AF_INET6:
		if named(s, "IPPROTO_IP", "IPPROTO_") {
			return IPPROTO_IP, nil
		}
		for p := range IPPROTO_MPTCP + 1 {
			if named(s, ipprotoName(p), "IPPROTO_") {
				return p, nil
			}
		}
		return 0, fmt.Errorf("protocol %q: must be a name like tcp, udp, icmp, icmpv6, sctp, raw, or a number", s)
	case AF_PACKET:
		for p := range Protocol(math.MaxUint16) {
			if named(s, ethName(p), "ETH_P_") {
				return p, nil
			}
		}
		return 0, fmt.Errorf("protocol %q: must be a name like ip, ipv6, arp, all, or a number like 0x0800", s)
	default:
		return 0, fmt.Errorf("protocol %q: must be a number in domain %v, 0 for the default", s, d)
	}
}

// named reports whether s is name, or what follows prefix in it.
func named(s, name, prefix string) bool {
	return name != "" && (strings.EqualFold(s, name) || strings.EqualFold(s, strings.TrimPrefix(name, prefix)))
}

// parseNumber reads a C int, in hexadecimal after 0x.
func parseNumber(s string) (int, bool) {
	base := 10
	if len(s) > 2 && strings.EqualFold(s[:2], "0x") {
		s, base = s[2:], 16
	}
	n, err := strconv.ParseInt(s, base, 32)
	return int(n), err == nil
}
