package bench

import (
	"encoding/binary"
	"math/bits"

	"finack/decode"
)

// conn is a connection or flow in the making. What it has of a side is at the
// index of the side: 0 the client, 1 the server.
type conn struct {
	plan  *plan
	step  int32
	again int32     // how often the step has been taken, of one that repeats
	v6    bool      // IPv4 otherwise
	host  uint32    // the client's number
	port  [2]uint16 // in use
	id    [2]uint16 // IP identification of the next packet
	next  [2]uint32 // sequence number of what is sent next
	prev  [2]uint32 // sequence number of what was sent last
	acked [2]uint32 // what the side has acknowledged
	clock [2]uint32 // of its timestamps option, less the milliseconds of now
	echo  [2]uint32 // the side's last timestamp
	sum   uint32    // of the addresses and ports, for the checksums
	rtt   int32     // ns
	size  [2]uint16 // bytes in a data segment
	srv   uint8     // the server's number
}

const (
	servers  = 16
	portLow  = 32_768 // Linux's ip_local_port_range
	portHigh = 60_999
	hosts    = 1 << 12
	// maxConns is how many different 4-tuples there are.
	maxConns = hosts * (portHigh - portLow + 1)
)

// begin makes connection number n, which no other has. Its 4-tuple follows
// from the number, so that none is used again.
func (g *generator) begin(c *conn, n int, p *plan) {
	r := g.rand()
	*c = conn{
		plan: p,
		host: uint32(n) * 2_654_435_761 % hosts, // odd, so each number comes once in a round
		v6:   r&7 == 0,
		srv:  uint8(r>>3) % servers,
		port: [2]uint16{uint16(portLow + n/hosts), [...]uint16{443, 80, 5432, 8080}[r>>7&3]},
		id:   [2]uint16{uint16(r >> 9), uint16(r >> 25)},
		// Most are near, a few are far: 0.2 ms to 26 ms.
		rtt:  int32(200*microsecond) << (r >> 41 & 7 * (r >> 44 & 1)),
		size: [2]uint16{uint16(80 + r>>45&255), uint16(200 + r>>53&1023)},
	}
	if p.udp {
		c.port[1] = 9000 // of no protocol that a peer would dissect
		c.size = [2]uint16{uint16(30 + r>>45&31), uint16(60 + r>>53&127)}
	}
	if p.full {
		c.size = [2]uint16{300, uint16(c.mss()) - tsOption}
	}
	r = g.rand()
	c.next = [2]uint32{uint32(r), uint32(r >> 32)}
	r = g.rand()
	c.clock = [2]uint32{uint32(r), uint32(r >> 32)}
	var addrs [2 * 16]byte
	a := c.addrs(addrs[:0])
	c.sum = add(uint32(c.port[0])+uint32(c.port[1]), a)
	g.truth.add(p)
}

// addrs appends the client's and the server's address: documentation prefixes
// (RFC 3849, RFC 5737) for servers, private ones for clients.
func (c *conn) addrs(b []byte) []byte {
	return c.addr(c.addr(b, 0), 1)
}

func (c *conn) addr(b []byte, side int) []byte {
	host := c.host + 1 // zero is the network's
	switch {
	case c.v6 && side == 0:
		return append(b, 0xfd, 0x12, 0x34, 0x56, 0x78, 0x9a, 0, 1, 0, 0, 0, 0, 0, 0, byte(host>>8), byte(host))
	case c.v6:
		return append(b, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10+c.srv)
	case side == 0:
		return append(b, 10, 0, byte(host>>8), byte(host))
	default:
		return append(b, 192, 0, 2, 10+c.srv)
	}
}

// mss is the maximum segment size on Ethernet (RFC 6691).
func (c *conn) mss() uint32 {
	if c.v6 {
		return maxMSS - 20
	}
	return maxMSS
}

const (
	maxMSS   = 1460
	tsOption = 12 // bytes of a timestamps option and its padding
	synOpts  = 20
)

// send writes one packet of the connection.
func (g *generator) send(c *conn, s *step, now int64) {
	if c.plan.udp {
		g.datagram(c, s, now)
		return
	}
	me, peer := int(s.from), int(s.from^1)
	size := uint32(0)
	if s.flags.Has(decode.PSH) || s.data {
		size = uint32(c.size[me])
	}
	flags := s.flags
	if !s.crossed {
		c.acked[me] = c.next[peer]
	}
	ack := c.acked[me]
	seq := c.next[me]
	switch s.place {
	case inOrder:
		c.next[me] = seq + size
		if flags.Any(decode.SYN | decode.FIN) {
			c.next[me]++
		}
	case resent:
		seq = c.prev[me]
	case early:
		seq += size
	case filling:
		c.next[me] = seq + 2*size
	case unsent: // of an end that has sent nothing: RFC 9293 section 3.5.2
		seq = 0
	}
	c.prev[me] = seq
	if !flags.Has(decode.ACK) {
		ack = 0
	}
	opts := tsOption
	switch {
	case flags.Has(decode.SYN):
		opts = synOpts
	case flags.Has(decode.RST):
		opts = 0
	}
	n := 20 + opts + int(size)
	b := g.packet(c, me, 6, n, now)

	be := binary.BigEndian
	be.PutUint16(b, c.port[me])
	be.PutUint16(b[2:], c.port[peer])
	be.PutUint32(b[4:], seq)
	be.PutUint32(b[8:], ack)
	window := uint16(501 + seq>>27) // scaled by 7 bits: 64 kB
	if flags.Has(decode.SYN) {
		window = 64_240
	} else if flags.Has(decode.RST) {
		window = 0
	}
	word := uint16(20+opts)/4<<12 | uint16(flags)
	be.PutUint16(b[12:], word)
	be.PutUint16(b[14:], window)
	be.PutUint32(b[16:], 0)
	sum := c.sum + 6 + uint32(n) + seq>>16 + seq&0xffff + ack>>16 + ack&0xffff + uint32(word) + uint32(window)
	if opts > 0 {
		o := b[20:]
		val, ecr := c.clock[me]+uint32(now/millisecond), uint32(0)
		if flags.Has(decode.ACK) {
			ecr = c.echo[peer]
		}
		c.echo[me] = val
		if opts == synOpts {
			be.PutUint32(o, 0x0204<<16|c.mss())
			be.PutUint32(o[4:], 0x0402<<16|0x080a) // SACK permitted, timestamps
			be.PutUint32(o[16:], 0x01030307)       // window scale 7
			sum += 0x0204 + c.mss() + 0x0402 + 0x0103 + 0x0307
			o = o[8:]
			sum += 0x080a
		} else {
			be.PutUint32(o, 0x0101080a)
			sum += 0x0101 + 0x080a
			o = o[4:]
		}
		be.PutUint32(o, val)
		be.PutUint32(o[4:], ecr)
		sum += val>>16 + val&0xffff + ecr>>16 + ecr&0xffff
	}
	if size > 0 {
		copy(b[20+opts:], g.payload[:size])
		sum += g.payloadSum[size]
	}
	be.PutUint16(b[16:], checksum(sum))
}

// datagram writes one UDP datagram.
func (g *generator) datagram(c *conn, s *step, now int64) {
	me := int(s.from)
	size := int(c.size[me])
	b := g.packet(c, me, 17, 8+size, now)
	be := binary.BigEndian
	be.PutUint16(b, c.port[me])
	be.PutUint16(b[2:], c.port[me^1])
	be.PutUint16(b[4:], uint16(8+size))
	copy(b[8:], g.payload[:size])
	sum := checksum(c.sum + 17 + 2*uint32(8+size) + g.payloadSum[size])
	if sum == 0 {
		sum = 0xffff // zero would mean none (RFC 768)
	}
	be.PutUint16(b[6:], sum)
}

// packet begins a packet with the headers of the link and of IP, and returns
// room for n bytes above them.
func (g *generator) packet(c *conn, from int, proto byte, n int, now int64) []byte {
	const ethernet = 14
	ip := 20
	if c.v6 {
		ip = 40
	}
	b := g.out.record(now, ethernet+ip+n)
	// The clients are behind a router, the servers on this link.
	copy(b, "\x52\x54\x00\xc0\x00\x02\x00\x1b\x21\x3a\x70\x01")
	b[5] = 10 + c.srv
	if from == 1 {
		copy(b, "\x00\x1b\x21\x3a\x70\x01\x52\x54\x00\xc0\x00\x02")
		b[11] = 10 + c.srv
	}
	be := binary.BigEndian
	h := b[ethernet:]
	ttl := byte(64)
	if from == 0 {
		ttl -= 3 + byte(c.host)&7
	}
	if c.v6 {
		be.PutUint16(b[12:], 0x86dd)
		be.PutUint32(h, 6<<28|uint32(c.host)*977&0xfffff)
		be.PutUint16(h[4:], uint16(n))
		h[6], h[7] = proto, ttl
		c.addr(c.addr(h[8:8], from), from^1)
		return h[40:]
	}
	be.PutUint16(b[12:], 0x0800)
	be.PutUint16(h, 0x4500)
	be.PutUint16(h[2:], uint16(ip+n))
	be.PutUint16(h[4:], c.id[from])
	c.id[from]++
	be.PutUint16(h[6:], 0x4000) // DF
	h[8], h[9] = ttl, proto
	h[10], h[11] = 0, 0
	c.addr(c.addr(h[12:12], from), from^1)
	be.PutUint16(h[10:], checksum(add(0, h[:20])))
	return h[20:]
}

// The Internet checksum, RFC 1071. Lengths are even but for a payload's, whose
// sums are in a table.

func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	return sum
}

func checksum(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}

// makePayload fills the text that all payloads are the beginning of, and the
// sums of its beginnings.
func (g *generator) makePayload() {
	const text = "The quick brown fox jumps over the lazy dog. "
	for i := range g.payload {
		g.payload[i] = text[i%len(text)]
	}
	sum := uint32(0)
	for i, b := range g.payload {
		g.payloadSum[i] = sum
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
	}
}

// rand returns the next number of SplitMix64 (Steele, Lea and Flood 2014),
// which no release of a library changes.
func (g *generator) rand() uint64 {
	g.random += 0x9e3779b97f4a7c15
	z := g.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// upTo returns a random number from 0 to n−1.
func (g *generator) upTo(n int) int {
	hi, _ := bits.Mul64(g.rand(), uint64(n))
	return int(hi)
}
