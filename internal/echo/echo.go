// Package echo has servers and a client of the Echo protocol (RFC 862) on
// stream, datagram and Unix sockets: whatever a server receives it sends back.
//
// It is a live tool on package net: it reads the clock and sets deadlines.
package echo

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Endpoint names one end of a conversation.
type Endpoint struct {
	Network string // as package net has it: tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram or unixpacket
	Address string // "host:port", or the path of a Unix socket; "@name" is in Linux's abstract namespace
}

const (
	networks = "tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram, unixpacket"

	// maxPath is what fits into sun_path with its final NUL (unix(7)).
	maxPath = 107
)

// ParseEndpoint reads "tcp://host:port", "udp://:7" (every address),
// "unix:///run/x.sock", "unixgram://…" (datagrams), "unixpacket://…"
// (SOCK_SEQPACKET); tcp4, tcp6, udp4 and udp6 choose an IP version. Without a
// scheme host:port means TCP. No name is resolved here.
func ParseEndpoint(s string) (Endpoint, error) {
	network, address, ok := strings.Cut(s, "://")
	if !ok {
		network, address = "tcp", s
	}
	e := Endpoint{network, address}
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			if !ok {
				return Endpoint{}, fmt.Errorf("endpoint %q: want host:port or scheme://address with a scheme of %s", s, networks)
			}
			return Endpoint{}, fmt.Errorf("endpoint %q: want %s://host:port, an IPv6 address in brackets", s, network)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Endpoint{}, fmt.Errorf("endpoint %q: port %q is not a number from 0 to 65535", s, port)
		}
	case "unix", "unixgram", "unixpacket":
		switch {
		case address == "" || address == "@":
			return Endpoint{}, fmt.Errorf("endpoint %q: want %s:///path", s, network)
		case len(address) > maxPath:
			return Endpoint{}, fmt.Errorf("endpoint %q: a Unix socket's path has at most %d bytes, not %d", s, maxPath, len(address))
		case strings.ContainsRune(address, 0):
			return Endpoint{}, fmt.Errorf("endpoint %q: a path has no NUL", s)
		}
	default:
		return Endpoint{}, fmt.Errorf("endpoint %q: scheme %q is none of %s", s, network, networks)
	}
	return e, nil
}

// String returns e as ParseEndpoint reads it.
func (e Endpoint) String() string { return e.Network + "://" + e.Address }

// isDatagram reports whether messages arrive whole, or not at all, and have no end.
func (e Endpoint) isDatagram() bool {
	return strings.HasPrefix(e.Network, "udp") || e.Network == "unixgram"
}

// isUnix reports whether the address is a path.
func (e Endpoint) isUnix() bool { return strings.HasPrefix(e.Network, "unix") }
