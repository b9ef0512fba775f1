package decode

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071) is the same in either byte order, so that
// it is summed in the machine's favourite one, eight bytes at a time.

// sum adds b to acc as little-endian words, carries going around.
func sum(acc uint64, b []byte) uint64 {
	var c uint64
	for len(b) >= 64 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:]), c)
		acc, c = bits.Add64(acc, 0, c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	var last uint64
	for i, x := range b {
		last |= uint64(x) << (8 * i)
	}
	acc, c = bits.Add64(acc, last, 0)
	return acc + c
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16&0xffff + acc>>32 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// pseudoSumOK reports whether the checksum in b, a whole TCP segment, UDP
// datagram or ICMPv6 message, is right for p's addresses. An IPv4 address's
// twelve zeros add nothing to the pseudo-header, so both versions' are one sum.
func pseudoSumOK(p *Packet, proto Proto, b []byte) bool {
	acc := sum(0, p.Src.Addr[:])
	acc = sum(acc, p.Dst.Addr[:])
	acc = sum(acc, b)
	be := uint64(bits.ReverseBytes16(fold(acc)))
	return fold(be+uint64(len(b))+uint64(proto)) == 0xffff
}
