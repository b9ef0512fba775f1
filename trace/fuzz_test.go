package trace

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"finack/decode"
)

// FuzzTracker feeds a tracker with segments, datagrams and ICMP errors of a few
// 4-tuples, made of six bytes each, and holds what checker holds: no panic,
// bounded memory, each connection reported once, and states that move only
// along RFC 9293's diagram between revisions.
func FuzzTracker(f *testing.F) {
	for _, s := range seedStreams() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		play(t, Config{MaxConns: 3, All: len(data)%2 == 0}, fuzzLines(data))
	})
}

// fuzzLines turns each six bytes into a packet:
//
//	0  4-tuple (2 bits), direction, new data or not, kind
//	1  flags
//	2  sequence number, relative to what its sender has sent
//	3  acknowledgment, relative to what its receiver has sent
//	4  payload length
//	5  time since the packet before, in steps of growing size; one of them backwards
func fuzzLines(data []byte) []storyLine {
	var lines []storyLine
	now := storyStart
	var sent [4][2]uint32
	for i := range sent {
		sent[i] = [2]uint32{uint32(i) * 1000, 0xfffffff0}
	}
	steps := [...]time.Duration{0, time.Microsecond, time.Millisecond, 10 * time.Millisecond, time.Second, 20 * time.Second, 61 * time.Second, -time.Second}
	for ; len(data) >= 6 && len(lines) < 2000; data = data[6:] {
		now = now.Add(steps[data[5]&7] * time.Duration(1+data[5]>>6))
		tuple, dir := int(data[0]&3), int(data[0]>>2&1)
		p := decode.Packet{Time: now, Version: 4, Proto: decode.ProtoTCP, Len: int(data[4] & 15)}
		ends := [2]decode.Endpoint{{Addr: [16]byte{10, 0, 0, 1}, Port: 1000 + uint16(tuple)}, {Addr: [16]byte{10, 0, 0, 2}, Port: 80}}
		if tuple == 3 {
			ends[1] = ends[0] // a socket connected to itself
		}
		p.Src, p.Dst = ends[dir], ends[1-dir]
		p.IPID = uint32(data[5]>>3) & 7
		switch data[0] >> 3 & 31 {
		case 1:
			p.Proto = decode.ProtoUDP
		case 2:
			p.Proto, p.ICMP = decode.ProtoICMP, decode.ICMP{Type: 3, Code: 3, Error: true, QuotedProto: decode.ProtoTCP, QuotedSrc: p.Src, QuotedDst: p.Dst}
		case 3:
			p.Proto, p.ICMP = decode.ProtoICMP, decode.ICMP{Type: 3, Code: 3, Error: true, QuotedProto: decode.ProtoUDP, QuotedSrc: p.Src, QuotedDst: p.Dst}
		case 4:
			p.BadSum = true
		case 5:
			lines = append(lines, storyLine{advance: true, time: now})
			continue
		case 6:
			p.Proto = decode.ProtoNone
		case 7:
			sent[tuple][dir] += uint32(data[2]) << 24 // other numbers: a new ISN, or nonsense
		}
		if p.Proto == decode.ProtoTCP {
			p.Segment.Flags = decode.Flags(data[1])
			p.Segment.Seq = sent[tuple][dir] + uint32(int8(data[2])/16)
			p.Segment.Ack = sent[tuple][1-dir] + uint32(int8(data[3])/16)
			p.Segment.Window = uint16(data[3]) << 8
			if end := p.Segment.Seq + p.SeqLen(); seqLT(sent[tuple][dir], end) {
				sent[tuple][dir] = end
			}
		}
		lines = append(lines, storyLine{time: now, packet: p})
	}
	return lines
}

// seedStreams are ordinary connections in the fuzzer's six bytes.
func seedStreams() [][]byte {
	const c, s = 0, 4
	stream := func(rows ...[3]byte) []byte {
		var out []byte
		for _, r := range rows {
			out = append(out, r[0], r[1], 0, 0, r[2], 2)
		}
		return out
	}
	open := [][3]byte{{c, 0x02, 0}, {s, 0x12, 0}, {c, 0x10, 0}, {c, 0x18, 5}, {s, 0x18, 5}}
	with := func(rows ...[3]byte) []byte { return stream(append(slices.Clone(open), rows...)...) }
	return [][]byte{
		with([3]byte{c, 0x11, 0}, [3]byte{s, 0x10, 0}, [3]byte{s, 0x11, 0}, [3]byte{c, 0x10, 0}),
		with([3]byte{s, 0x11, 3}, [3]byte{c, 0x11, 0}, [3]byte{s, 0x10, 0}, [3]byte{c, 0x02, 0}, [3]byte{s, 0x12, 0}),
		with([3]byte{c, 0x14, 0}, [3]byte{s | 7<<3, 0x02, 0}, [3]byte{c, 0x12, 0}),
		stream([3]byte{c, 0x02, 0}, [3]byte{s, 0x02, 0}, [3]byte{c, 0x12, 0}, [3]byte{s, 0x12, 0}),
		stream([3]byte{c | 1<<3, 0, 9}, [3]byte{s | 1<<3, 0, 9}, [3]byte{c | 3<<3, 0, 0}),
		stream([3]byte{3, 0x02, 0}, [3]byte{3, 0x12, 0}, [3]byte{3, 0x10, 4}, [3]byte{3, 0x11, 0}, [3]byte{3, 0x11, 0}),
	}
}

// TestRandomStreams is the fuzzer's work, always and a little.
func TestRandomStreams(t *testing.T) {
	seed := uint64(1)
	for range 300 {
		play(t, Config{MaxConns: 3}, fuzzLines(randomStream(&seed)))
	}
}

// randomStream returns bytes for fuzzLines: flags as they come, mostly ACK.
func randomStream(seed *uint64) []byte {
	data := make([]byte, 0, 1800)
	for len(data) < 1800 {
		*seed = mix(*seed+0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
		data = binary.LittleEndian.AppendUint64(data, *seed)
	}
	for i := 1; i < len(data); i += 6 {
		data[i] = [...]byte{0x10, 0x10, 0x18, 0x10, 0x11, 0x11, 0x02, 0x12, 0x14, 0x04, 0x10, 0x19, 0x03, 0x06, 0x01, 0x00}[data[i]&15]
	}
	return data
}
