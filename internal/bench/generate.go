// Package bench makes captures for benchmarks and tests, the same bytes every
// time, and knows what is in them; and it measures programs that read them.
package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"finack/decode"
	"finack/trace"
)

// Kind is a kind of capture.
type Kind string

// The kinds of capture.
const (
	Short Kind = "short" // many short connections, a thousand a second, with all kinds of openings and closings
	Bulk  Kind = "bulk"  // few connections with many full segments
	Open  Kind = "open"  // connections that all stay open, with their packets in random order
	Flood Kind = "flood" // SYNs that nobody answers, each from elsewhere, beside connections that go on
)

// Kinds returns all of them.
func Kinds() []Kind { return []Kind{Short, Bulk, Open, Flood} }

// Spec says what to make; zero values mean the defaults.
type Spec struct {
	Kind  Kind   // default Short
	Conns int    // connections; default 500,000 short, 8 bulk, 1,000,000 open, 5,000,000 in a flood
	Seed  uint64 // another one makes another capture
}

// Truth is what was made.
type Truth struct {
	Packets    uint64
	Conns      int
	Flows      int
	Handshakes [trace.Refused + 1]int
	Teardowns  [trace.Reset + 1]int
	Closers    [trace.ClosedUnknown + 1]int // of those with a FIN
}

// Sizes of captures.
const (
	concurrent   = 1000   // short connections at a time
	bulkSegments = 50_000 // of each bulk connection
	floodedConns = 1000   // connections that live through a flood
	floodedEvery = 2000   // SYNs between two of their segments
)

// Generate writes a capture: a pcap file of Ethernet frames with times in
// nanoseconds, whose payloads are zeros and whose checksums are right. It takes
// the memory of the connections that are open at a time.
func Generate(w io.Writer, spec Spec) (Truth, error) {
	defaults := map[Kind]int{Short: 500_000, Bulk: 8, Open: 1_000_000, Flood: 5_000_000}
	if spec.Kind == "" {
		spec.Kind = Short
	}
	if spec.Conns <= 0 {
		spec.Conns = defaults[spec.Kind]
	}
	g := &generator{w: bufio.NewWriterSize(w, 1<<20), rnd: rand.New(rand.NewPCG(spec.Seed, 0)), now: 1_700_000_000e9}
	g.header()
	switch spec.Kind {
	case Short:
		g.short(spec.Conns)
	case Bulk:
		g.bulk(spec.Conns)
	case Open:
		g.open(spec.Conns)
	case Flood:
		g.flood(spec.Conns)
	default:
		return Truth{}, fmt.Errorf("generate %s: no such kind of capture", spec.Kind)
	}
	return g.truth, g.w.Flush() // a bufio.Writer keeps the first error
}

type generator struct {
	w     *bufio.Writer
	rnd   *rand.Rand
	now   int64 // nanoseconds since 1970
	truth Truth
	buf   [16 + 14 + 40 + 20 + 12 + 1448]byte
}

// conn is a connection in the making.
type conn struct {
	id  uint32
	nxt [2]uint32 // the next number of client and server
	way *way
	at  int // of way.steps
}

// way is how a connection goes.
type way struct {
	share     int // of 1000 connections
	steps     []step
	handshake trace.HandshakeKind
	teardown  trace.TeardownKind
	closer    trace.Closer
	flow      bool // UDP
}

// step is a packet of a way.
type step struct {
	from   trace.Side
	flags  decode.Flags
	len    int
	again  bool // what was sent last from here is sent again
	behind bool // sent before the peer's FIN had come
}

const (
	client = trace.Client
	server = trace.Server
)

// ways returns how short connections go, for the most part by the book.
func ways() []way {
	const (
		syn, ack, fin, rst, psh = decode.SYN, decode.ACK, decode.FIN, decode.RST, decode.PSH
	)
	open := []step{{from: client, flags: syn}, {from: server, flags: syn | ack}, {from: client, flags: ack}}
	talk := []step{
		{from: client, flags: psh | ack, len: 100},
		{from: server, flags: ack},
		{from: server, flags: psh | ack, len: 400},
		{from: client, flags: ack},
	}
	lost := slices.Insert(slices.Clone(talk), 1, step{from: client, flags: psh | ack, len: 100, again: true})
	three := func(x trace.Side) []step {
		return []step{{from: x, flags: fin | ack}, {from: x.Peer(), flags: fin | ack}, {from: x, flags: ack}}
	}
	four := func(x trace.Side) []step {
		return []step{{from: x, flags: fin | ack}, {from: x.Peer(), flags: ack}, {from: x.Peer(), flags: fin | ack}, {from: x, flags: ack}}
	}
	all := func(parts ...[]step) []step { return slices.Concat(parts...) }
	byClient, byServer, byBoth := trace.ClosedByClient, trace.ClosedByServer, trace.ClosedByBoth
	return []way{
		{share: 430, steps: all(open, talk, three(client)), handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: byClient},
		{share: 250, steps: all(open, talk, three(server)), handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: byServer},
		{share: 100, steps: all(open, talk, four(client)), handshake: trace.ThreeWay, teardown: trace.FourStep, closer: byClient},
		{share: 80, steps: all(open, talk, four(server)), handshake: trace.ThreeWay, teardown: trace.FourStep, closer: byServer},
		{share: 20, steps: all(open, lost, three(client)), handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: byClient},
		{share: 10, steps: all(open, talk, []step{{from: client, flags: fin | ack}}, talk[2:], four(client)[2:]), handshake: trace.ThreeWay, teardown: trace.FourStep, closer: byClient},
		{share: 10, steps: all(open, talk, []step{
			{from: client, flags: fin | ack},
			{from: server, flags: fin | ack, behind: true},
			{from: client, flags: ack},
			{from: server, flags: ack},
		}), handshake: trace.ThreeWay, teardown: trace.SimultaneousClose, closer: byBoth},
		{share: 10, steps: all(open, talk, four(server)[:2]), handshake: trace.ThreeWay, teardown: trace.HalfClosed, closer: byServer},
		{share: 20, steps: all(open, talk, []step{{from: client, flags: rst | ack}}), handshake: trace.ThreeWay, teardown: trace.Reset},
		{share: 20, steps: all(open, talk, []step{{from: server, flags: rst | ack}}), handshake: trace.ThreeWay, teardown: trace.Reset},
		{share: 20, steps: []step{{from: client, flags: syn}, {from: server, flags: rst | ack}}, handshake: trace.Refused, teardown: trace.Reset},
		{share: 10, steps: []step{{from: client, flags: syn}, {from: client, flags: syn, again: true}}, handshake: trace.IncompleteHandshake},
		{share: 20, steps: []step{{from: client, len: 40}, {from: server, len: 200}}, flow: true},
	}
}

// short makes connections that are open side by side and end soon.
func (g *generator) short(n int) {
	all := ways()
	var lots []*way
	for i := range all {
		lots = append(lots, slices.Repeat([]*way{&all[i]}, all[i].share)...)
	}
	active := make([]conn, 0, concurrent)
	for next := 0; next < n || len(active) > 0; {
		for len(active) < concurrent && next < n {
			c := g.conn(uint32(next))
			c.way = lots[g.rnd.IntN(len(lots))]
			g.count(c.way)
			active = append(active, c)
			next++
		}
		g.now += 50_000 + g.rnd.Int64N(100_000)
		i := g.rnd.IntN(len(active))
		c := &active[i]
		g.step(c, &c.way.steps[c.at])
		if c.at++; c.at == len(c.way.steps) {
			*c = active[len(active)-1]
			active = active[:len(active)-1]
		}
	}
}

// conn returns a new connection.
func (g *generator) conn(id uint32) conn {
	return conn{id: id, nxt: [2]uint32{g.rnd.Uint32(), g.rnd.Uint32()}}
}

func (g *generator) count(w *way) {
	if w.flow {
		g.truth.Flows++
		return
	}
	g.truth.Conns++
	g.truth.Handshakes[w.handshake]++
	g.truth.Teardowns[w.teardown]++
	if w.closer != trace.NoCloser {
		g.truth.Closers[w.closer]++
	}
}

// opening returns the way of a connection that stays open.
func opening() way {
	return way{handshake: trace.ThreeWay, steps: []step{
		{from: client, flags: decode.SYN},
		{from: server, flags: decode.SYN | decode.ACK},
		{from: client, flags: decode.ACK},
		{from: client, flags: decode.PSH | decode.ACK, len: 100},
		{from: server, flags: decode.PSH | decode.ACK, len: 400},
		{from: client, flags: decode.ACK},
	}}
}

// open makes connections that stay open: the first packets of all, then the
// second ones of all, each time in another order.
func (g *generator) open(n int) {
	w, conns := opening(), make([]conn, n)
	for i := range conns {
		conns[i] = g.conn(uint32(i))
		g.count(&w)
	}
	for i := range w.steps {
		g.rnd.Shuffle(n, func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
		for j := range conns {
			g.now += 1000
			g.step(&conns[j], &w.steps[i])
		}
	}
}

// bulk makes connections whose server sends full segments, with an
// acknowledgment of every second one.
func (g *generator) bulk(n int) {
	w := way{handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: trace.ClosedByServer}
	conns := make([]conn, n)
	turn := func(s step) {
		for i := range conns {
			g.now += 1200
			g.step(&conns[i], &s)
		}
	}
	for i := range conns {
		conns[i] = g.conn(uint32(i))
		g.count(&w)
	}
	for _, s := range opening().steps[:3] {
		turn(s)
	}
	for i := range bulkSegments {
		turn(step{from: server, flags: decode.ACK, len: 1448})
		if i%2 == 1 {
			turn(step{from: client, flags: decode.ACK})
		}
	}
	turn(step{from: server, flags: decode.FIN | decode.ACK})
	turn(step{from: client, flags: decode.FIN | decode.ACK})
	turn(step{from: server, flags: decode.ACK})
}

// flood makes SYNs, and connections that were there before, go on, and end
// after it.
func (g *generator) flood(n int) {
	old := make([]conn, floodedConns)
	w := way{handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: trace.ClosedByClient}
	for i := range old {
		old[i] = g.conn(uint32(i))
		g.count(&w)
	}
	turn := func(steps ...step) {
		for i := range steps {
			for j := range old {
				g.now += 1000
				g.step(&old[j], &steps[i])
			}
		}
	}
	first := opening().steps
	turn(first[:3]...)
	for i := range n {
		g.now += 1000
		c := g.conn(uint32(floodedConns + i))
		g.step(&c, &first[0])
		g.count(&way{handshake: trace.IncompleteHandshake})
		if i%floodedEvery == 0 {
			g.step(&old[g.rnd.IntN(len(old))], &first[3])
		}
	}
	fin, ack := decode.FIN|decode.ACK, decode.ACK
	turn(step{from: client, flags: fin}, step{from: server, flags: fin}, step{from: client, flags: ack})
}

// step makes a packet of a connection.
func (g *generator) step(c *conn, s *step) {
	me, peer := &c.nxt[s.from], &c.nxt[s.from.Peer()]
	n := uint32(s.len)
	if s.flags.Any(decode.SYN | decode.FIN) {
		n++
	}
	seq, ack := *me, *peer
	switch {
	case s.again:
		seq -= n
	default:
		*me += n
	}
	if s.behind {
		ack--
	}
	if s.flags.Has(decode.RST) && c.at == 1 { // refuses a SYN
		seq = 0
	}
	g.packet(c.id, s, seq, ack)
}

// The pcap file format, draft-ietf-opsawg-pcap: nanoseconds, Ethernet.
func (g *generator) header() {
	var h [24]byte
	le := binary.LittleEndian
	le.PutUint32(h[0:], 0xa1b23c4d)
	le.PutUint16(h[4:], 2)
	le.PutUint16(h[6:], 4)
	le.PutUint32(h[16:], 262144)
	le.PutUint32(h[20:], 1)
	_, _ = g.w.Write(h[:])
}

// Lengths of headers.
const (
	recordLen = 16
	etherLen  = 14
	tcpLen    = 20 + 12 // with timestamps
	udpLen    = 8
)

// packet writes a packet of connection id. Every eighth is IPv6.
func (g *generator) packet(id uint32, s *step, seq, ack uint32) {
	be, le := binary.BigEndian, binary.LittleEndian
	udp := s.flags == 0
	header, v6 := tcpLen, id%8 == 7
	if udp {
		header = udpLen
	}
	ip := 20
	if v6 {
		ip = 40
	}
	total := etherLen + ip + header + s.len
	b := g.buf[:recordLen+total]
	clear(b[:recordLen+etherLen+ip+header])
	le.PutUint32(b, uint32(g.now/1e9))
	le.PutUint32(b[4:], uint32(g.now%1e9))
	le.PutUint32(b[8:], uint32(total))
	le.PutUint32(b[12:], uint32(total))

	ether := b[recordLen:]
	ether[0], ether[5], ether[6], ether[11] = 2, 1+byte(s.from), 2, 2-byte(s.from) // locally administered addresses
	l3 := ether[etherLen:]
	proto := byte(decode.ProtoTCP)
	if udp {
		proto = byte(decode.ProtoUDP)
	}
	// Distinct for 2^24 × 2^15 connections.
	clientAddr, clientPort := 0x0a000000|id&0xffffff, uint16(32768+id>>24)
	serverAddr, serverPort := 0xc0a80000|id%16, uint16(443)
	src, dst, sport, dport := clientAddr, serverAddr, clientPort, serverPort
	if s.from == server {
		src, dst, sport, dport = dst, src, dport, sport
	}
	var sum uint32 // of the pseudo-header
	if v6 {
		be.PutUint16(ether[12:], 0x86dd)
		l3[0], l3[6], l3[7] = 0x60, proto, 64
		be.PutUint16(l3[4:], uint16(header+s.len))
		be.PutUint32(l3[8:], 0xfd000000)
		be.PutUint32(l3[20:], src)
		be.PutUint32(l3[24:], 0xfd000000)
		be.PutUint32(l3[36:], dst)
		sum = add(0, l3[8:40])
	} else {
		be.PutUint16(ether[12:], 0x0800)
		l3[0], l3[8], l3[9] = 0x45, 64, proto
		be.PutUint16(l3[2:], uint16(ip+header+s.len))
		be.PutUint16(l3[4:], uint16(g.truth.Packets))
		be.PutUint32(l3[12:], src)
		be.PutUint32(l3[16:], dst)
		be.PutUint16(l3[10:], ^fold(add(0, l3[:20])))
		sum = add(0, l3[12:20])
	}
	l4 := l3[ip:]
	be.PutUint16(l4, sport)
	be.PutUint16(l4[2:], dport)
	sum += uint32(proto) + uint32(header+s.len)
	if udp {
		be.PutUint16(l4[4:], uint16(header+s.len))
		be.PutUint16(l4[6:], ^fold(add(sum, l4[:header])))
	} else {
		be.PutUint32(l4[4:], seq)
		if s.flags.Has(decode.ACK) {
			be.PutUint32(l4[8:], ack)
		}
		be.PutUint16(l4[12:], tcpLen/4<<12|uint16(s.flags))
		be.PutUint16(l4[14:], 501)
		be.PutUint32(l4[20:], 0x0101080a) // two NOPs, timestamps
		be.PutUint32(l4[24:], uint32(g.now/1e6))
		be.PutUint32(l4[28:], uint32(g.now/1e6))
		be.PutUint16(l4[16:], ^fold(add(sum, l4[:header])))
	}
	clear(l4[header:])
	_, _ = g.w.Write(b)
	g.truth.Packets++
}

// add adds b to an Internet checksum (RFC 1071). The payload, zeros, adds nothing.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
