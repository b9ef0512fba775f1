package craft

import "encoding/binary"

// The Internet checksum (RFC 1071): the complement of the ones' complement sum
// of 16-bit words. 65,535 bytes and a pseudo-header fit into 32 bits of sum.

// add adds b to sum; an odd last byte is a word's upper half.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// checksum finishes a sum.
func checksum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudoSum sums the pseudo-header of n bytes of protocol (RFC 9293 section
// 3.1, RFC 8200 section 8.1).
func pseudoSum(ip *IP, protocol uint8, n int) uint32 {
	src, dst := ip.Src.As16(), ip.Dst.As16()
	words := [2][]byte{src[:], dst[:]}
	if ip.Src.Is4() {
		words = [2][]byte{src[12:], dst[12:]}
	}
	return add(add(uint32(protocol)+uint32(n), words[0]), words[1])
}

// putSum puts the checksum of b, whose field at offset at is still zero, there.
// pseudo is the sum of what else it covers.
func putSum(b []byte, at int, pseudo uint32, kind Sum) {
	if kind == SumZero {
		return
	}
	sum := checksum(add(pseudo, b))
	if kind == SumWrong {
		if sum ^= 1; sum == 0 {
			sum = 2 // zero would be SumZero, which UDP takes for right
		}
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}
