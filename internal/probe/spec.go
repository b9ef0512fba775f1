// Package probe sends packets that are made by hand and pairs them with what
// answers them: a segment, a datagram, an echo reply, or an ICMP error that
// quotes them. What it tells is what was on the wire, with the kernel's times.
package probe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"finack/internal/craft"
)

// Target is where packets go.
type Target struct {
	Scheme string // "tcp", "udp", "icmp" or "ip"
	Addr   netip.Addr
	Port   uint16 // of tcp and udp
}

// ParseTarget reads tcp://ADDRESS:PORT, udp://ADDRESS:PORT, icmp://ADDRESS (an
// echo request, of ICMPv6 for an IPv6 address) and ip://ADDRESS. IPv6 addresses
// are in brackets where a port follows, and may have a zone. Names are never
// resolved.
func ParseTarget(s string) (Target, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	t := Target{Scheme: scheme}
	var err error
	switch scheme {
	case "tcp", "udp":
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(rest); err != nil {
			return Target{}, fmt.Errorf("target %q: want %s://ADDRESS:PORT, an IPv6 address in brackets; names are not resolved", s, scheme)
		}
		t.Addr, t.Port = ap.Addr(), ap.Port()
	case "icmp", "ip":
		if t.Addr, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")); err != nil {
			return Target{}, fmt.Errorf("target %q: want %s://ADDRESS; names are not resolved", s, scheme)
		}
	default:
		return Target{}, fmt.Errorf("target %q: want tcp://ADDRESS:PORT, udp://ADDRESS:PORT, icmp://ADDRESS or ip://ADDRESS", s)
	}
	t.Addr = t.Addr.Unmap()
	if t.Addr.IsUnspecified() {
		return Target{}, fmt.Errorf("target %q: no host has this address", s)
	}
	return t, nil
}

// String returns t as ParseTarget reads it.
func (t Target) String() string {
	if t.Scheme == "tcp" || t.Scheme == "udp" {
		return t.Scheme + "://" + netip.AddrPortFrom(t.Addr, t.Port).String()
	}
	return t.Scheme + "://" + t.Addr.String()
}

// ParseSource reads ADDRESS, ADDRESS:PORT or :PORT; what is not given is the
// zero value.
func ParseSource(s string) (netip.Addr, uint16, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Unmap(), 0, nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), ap.Port(), nil
	}
	if port, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return netip.Addr{}, uint16(n), nil
		}
	}
	return netip.Addr{}, 0, fmt.Errorf("source %q: want ADDRESS, ADDRESS:PORT or :PORT, an IPv6 address with a port in brackets", s)
}

// ParseSum reads what a checksum is to be.
func ParseSum(s string) (craft.Sum, error) {
	switch s {
	case "right":
		return craft.SumRight, nil
	case "wrong":
		return craft.SumWrong, nil
	case "zero":
		return craft.SumZero, nil
	default:
		return 0, fmt.Errorf("%q: must be right, wrong or zero", s)
	}
}

// sourceFor returns the address from which this host sends to dst. No packet
// is sent for it: a UDP socket's connect looks the route up.
func sourceFor(dst netip.Addr) (netip.Addr, error) {
	c, err := net.Dial("udp", netip.AddrPortFrom(dst, 9).String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source address for %v: %w", dst, err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""), nil
}

// Linux's default of net.ipv4.ip_local_port_range.
const (
	firstPort = 32768
	lastPort  = 60999
)

// anyPort returns a source port as a kernel would choose one.
func anyPort() uint16 { return uint16(firstPort + rand.IntN(lastPort-firstPort+1)) }

// anyID returns an identification, which is never zero: for zero the kernel
// would choose one itself (raw(7)).
func anyID() uint16 { return uint16(1 + rand.IntN(65535)) }

// anySeq returns a sequence number.
func anySeq() uint32 { return rand.Uint32() }

// Spec says what the packets of a run are. One of TCP, UDP and Echo is set, or
// none: then Payload is Protocol's, as it is.
type Spec struct {
	IP       craft.IP
	TCP      *craft.TCP
	UDP      *craft.UDP
	Echo     *craft.Echo
	Protocol uint8
	Payload  []byte

	KeepPort   bool   // send every packet from the same port, not each from the next one
	MTU        int    // cut packets into fragments of so many bytes at most; zero: do not
	FragmentID uint32 // of IPv6's fragment headers, counting up
}

// ErrKernelID is the refusal to fragment a packet whose identification would be
// the kernel's choice, another one for each fragment.
var ErrKernelID = errors.New("fragments need an identification that is not 0")

// Build returns the packet number n, from 0, in its fragments. Of several
// packets the source ports count up, unless they are kept, and so do ICMP's
// sequence numbers and IP's identifications; sequence numbers of TCP are the same.
func (s *Spec) Build(n int) ([][]byte, error) {
	ip := s.IP
	if ip.ID != 0 {
		ip.ID = uint16((int(ip.ID)-1+n)%65535 + 1)
	}
	var b []byte
	var err error
	switch {
	case s.TCP != nil:
		tcp := *s.TCP
		tcp.SrcPort = s.port(tcp.SrcPort, n)
		b, err = craft.AppendTCP(nil, &ip, &tcp, s.Payload)
	case s.UDP != nil:
		udp := *s.UDP
		udp.SrcPort = s.port(udp.SrcPort, n)
		b, err = craft.AppendUDP(nil, &ip, &udp, s.Payload)
	case s.Echo != nil:
		echo := *s.Echo
		echo.Seq += uint16(n)
		b, err = craft.AppendEcho(nil, &ip, &echo, s.Payload)
	default:
		b, err = craft.AppendIP(nil, &ip, s.Protocol, s.Payload)
	}
	if err != nil || s.MTU == 0 {
		return [][]byte{b}, err
	}
	if ip.Dst.Is4() && ip.ID == 0 && len(b) > s.MTU {
		return nil, ErrKernelID
	}
	return craft.Fragment(b, s.MTU, s.FragmentID+uint32(n))
}

// port returns the source port of packet n.
func (s *Spec) port(port uint16, n int) uint16 {
	if s.KeepPort || n == 0 {
		return port
	}
	if port < firstPort || port > lastPort {
		port = firstPort
	}
	return uint16(firstPort + (int(port)-firstPort+n)%(lastPort-firstPort+1))
}

// sum is the transport checksum that was asked for.
func (s *Spec) sum() craft.Sum {
	switch {
	case s.TCP != nil:
		return s.TCP.Sum
	case s.UDP != nil:
		if s.UDP.Sum == craft.SumZero && s.IP.Dst.Is4() {
			return craft.SumRight // none is needed
		}
		return s.UDP.Sum
	case s.Echo != nil:
		return s.Echo.Sum
	default:
		return craft.SumRight
	}
}
