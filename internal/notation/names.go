package notation

import (
	"strconv"

	"finack/decode"
)

// names gives names to the ends of connections and flows: client and server,
// then client2 and server2, and so on; host, host2… to those of which only an
// ICMP message is known.
type names struct {
	flows map[flow]*[2]*named        // by addresses and ports
	paths map[flow]*[2]*named        // the newest one by addresses
	hosts map[decode.Endpoint]*named // the newest one by address
	pairs int
	lone  int
	moved []*named // what is to be declared before the line
}

// flow is a pair of endpoints, the lower one first.
type flow struct{ lo, hi decode.Endpoint }

func flowOf(a, b decode.Endpoint) flow {
	if less(b, a) {
		a, b = b, a
	}
	return flow{a, b}
}

func less(a, b decode.Endpoint) bool {
	if a.V6 != b.V6 {
		return b.V6
	}
	if c := string(a.Addr[:]); c != string(b.Addr[:]) {
		return c < string(b.Addr[:])
	}
	return a.Port < b.Port
}

// host is an endpoint without its port.
func host(e decode.Endpoint) decode.Endpoint {
	e.Port = 0
	return e
}

// named is an end and what the text says of it so far.
type named struct {
	end
	known    bool   // the connection has shown where its numbers begin
	declared bool   // the text has its address
	said     uint32 // the initial sequence number that the text has
}

// ends are those of a packet, and of what it quotes.
type ends struct {
	src, to *named
	quote   *ends
}

// of returns the ends of a packet; new ones, and new numbers, are to be declared.
func (n *names) of(p *packet) ends {
	if p.kind != isICMP {
		src, to := n.pair(p)
		if p.kind == isTCP {
			n.numbers(src, to, p)
		}
		return ends{src: src, to: to}
	}
	if p.quote == nil {
		src, to := n.path(p)
		return ends{src: src, to: to}
	}
	q := n.of(p.quote)
	src := n.near(p.src, q.to, q.src)
	to := n.near(p.dst, q.src, q.to)
	return ends{src: src, to: to, quote: &q}
}

// pair returns the ends of a segment or datagram.
func (n *names) pair(p *packet) (src, to *named) {
	pair := n.flows[flowOf(p.src, p.dst)]
	switch {
	case pair != nil:
	case p.fromClient():
		pair = n.newPair(p.src, p.dst)
	default:
		pair = n.newPair(p.dst, p.src)
	}
	if pair[0].at == p.src {
		return pair[0], pair[1]
	}
	return pair[1], pair[0]
}

// fromClient reports whether the client has sent the first packet of a
// connection or flow that is seen: the sender of a SYN, the receiver of a
// SYN-ACK, else the one with the higher port; of datagrams, whoever is the first.
func (p *packet) fromClient() bool {
	switch {
	case p.kind != isTCP:
		return true
	case p.tcp.Flags.Has(decode.SYN):
		return !p.tcp.Flags.Has(decode.ACK)
	}
	return p.src.Port >= p.dst.Port
}

// newPair names the ends of a connection.
func (n *names) newPair(client, server decode.Endpoint) *[2]*named {
	if n.flows == nil {
		n.flows, n.paths, n.hosts = map[flow]*[2]*named{}, map[flow]*[2]*named{}, map[decode.Endpoint]*named{}
	}
	n.pairs++
	c := n.newEnd(numbered(clientName, n.pairs), client)
	if n.pairs == 1 {
		c.isn, c.said, c.declared = clientISN, clientISN, client == clientAt()
	}
	s := c // of a socket that is connected to itself
	if client != server {
		s = n.newEnd(numbered(serverName, n.pairs), server)
		if n.pairs == 1 {
			s.isn, s.said, s.declared = serverISN, serverISN, server == serverAt()
		}
	}
	pair := &[2]*named{c, s}
	n.flows[flowOf(client, server)] = pair
	n.paths[flowOf(host(client), host(server))] = pair
	return pair
}

func (n *names) newEnd(name string, at decode.Endpoint) *named {
	e := &named{end: end{name, at, otherISN}, said: otherISN}
	n.hosts[host(at)] = e
	n.moved = append(n.moved, e)
	return e
}

func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + strconv.Itoa(n)
}

// numbers notes where the numbers of a segment's ends begin: with a SYN, or
// before the first number that is seen. A SYN with another number begins
// another connection; one that is quoted does not.
func (n *names) numbers(src, to *named, p *packet) {
	f := p.tcp.Flags
	switch {
	case f.Has(decode.SYN) && p.first == 0, !src.known && (p.first != 0 || f.Any(decode.SYN|decode.RST)):
		n.number(src, p.tcp.Seq)
	case !src.known:
		n.number(src, p.tcp.Seq-1)
	}
	if f.Has(decode.ACK) && !to.known {
		n.number(to, p.tcp.Ack-1)
	}
}

func (n *names) number(e *named, isn uint32) {
	e.known = true
	if e.isn != isn {
		e.isn = isn
		n.moved = append(n.moved, e)
	}
}

// path returns the ends of an ICMP message that quotes nothing: those of the
// newest connection between the two addresses.
func (n *names) path(p *packet) (src, to *named) {
	if n.paths[flowOf(p.src, p.dst)] == nil && n.hosts[p.src] == nil && n.hosts[p.dst] == nil {
		client, server := p.src, p.dst
		if reply, _ := p.echo(); reply {
			client, server = server, client
		}
		if n.pairs == 0 && client == host(clientAt()) && server == host(serverAt()) {
			client, server = clientAt(), serverAt() // the address is all that counts
		}
		n.newPair(client, server)
	}
	pair := n.paths[flowOf(p.src, p.dst)]
	if pair == nil {
		return n.near(p.src), n.near(p.dst)
	}
	if host(pair[0].at) == p.src {
		return pair[0], pair[1]
	}
	return pair[1], pair[0]
}

// near returns an end at an address: one of those that are preferred, the
// newest, or one of that address alone.
func (n *names) near(addr decode.Endpoint, prefer ...*named) *named {
	for _, e := range prefer {
		if host(e.at) == addr {
			return e
		}
	}
	if e := n.hosts[addr]; e != nil {
		return e
	}
	n.lone++
	return n.newEnd(numbered("host", n.lone), addr)
}

// appendDeclared appends the lines that declare what is new.
func (n *names) appendDeclared(dst []byte) []byte {
	for _, e := range n.moved {
		if e.declared && e.said == e.isn {
			continue
		}
		dst = append(dst, e.name...)
		if !e.declared {
			dst = append(dst, ' ')
			if e.at.Port == 0 {
				dst = e.at.AddrPort().Addr().AppendTo(dst)
			} else {
				dst = e.at.AppendTo(dst)
			}
		}
		if e.said != e.isn {
			dst = appendWord(dst, "isn", e.isn)
		}
		dst = append(dst, '\n')
		e.declared, e.said = true, e.isn
	}
	n.moved = n.moved[:0]
	return dst
}
