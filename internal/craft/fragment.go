package craft

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	flagDF = 0x4000 // don't fragment, in the IPv4 header's word at fragment4
	flagMF = 0x2000 // more fragments

	fragment4 = 6  // offset of flags and fragment offset in an IPv4 header
	sum4      = 10 // offset of the checksum in an IPv4 header

	fragmentHeader = 8 // bytes of IPv6's extension header

	protoHopByHop    = 0
	protoRouting     = 43
	protoFragment    = 44
	protoDestination = 60
)

// What Fragment refuses.
var (
	ErrDF       = errors.New("don't fragment is set")
	ErrNotWhole = errors.New("not a whole IP packet with a plain header")
)

// Fragment cuts packet, one that an Append function has made, into fragments of
// at most mtu bytes each with their IP headers, in order (RFC 791 section 3.2,
// RFC 8200 section 4.5). id is the identification of IPv6's fragment header;
// IPv4's is the packet's own, and must not be left to the kernel, which would
// give every fragment another one. A packet that fits is returned as its only
// fragment; the others are new.
func Fragment(packet []byte, mtu int, id uint32) ([][]byte, error) {
	if len(packet) <= mtu {
		return [][]byte{packet}, nil
	}
	header, more := header4, 0
	switch {
	case whole4(packet):
		if binary.BigEndian.Uint16(packet[fragment4:])&flagDF != 0 {
			return nil, fmt.Errorf("fragment %d bytes for an MTU of %d: %w", len(packet), mtu, ErrDF)
		}
	case whole6(packet):
		header, more = header6, fragmentHeader
	default:
		return nil, fmt.Errorf("fragment %d bytes: %w", len(packet), ErrNotWhole)
	}
	room := (mtu - header - more) &^ 7 // every fragment but the last is a multiple of 8
	if room <= 0 {
		return nil, fmt.Errorf("fragment for an MTU of %d: %d is the least that has room for 8 bytes", mtu, header+more+8)
	}
	var list [][]byte
	body := packet[header:]
	for at := 0; at < len(body); at += room {
		part := body[at:min(at+room, len(body))]
		last := at+room >= len(body)
		f := make([]byte, 0, header+more+len(part))
		f = append(f, packet[:header]...)
		if more > 0 {
			f = fragment6(f, uint16(at), last, id, len(part))
		} else {
			fragmentIPv4(f, uint16(at), last, len(part))
		}
		list = append(list, append(f, part...))
	}
	return list, nil
}

// whole4 reports whether b is an IPv4 packet with a header of 20 bytes and no
// fragment of another one.
func whole4(b []byte) bool {
	return len(b) >= header4 && b[0] == 4<<4|header4/4 && int(binary.BigEndian.Uint16(b[2:])) == len(b) &&
		binary.BigEndian.Uint16(b[fragment4:])&^flagDF == 0
}

// whole6 reports whether b is an IPv6 packet without extension headers that
// would belong into every fragment, or are a fragment's.
func whole6(b []byte) bool {
	if len(b) < header6 || b[0]>>4 != 6 || header6+int(binary.BigEndian.Uint16(b[4:])) != len(b) {
		return false
	}
	switch b[6] {
	case protoHopByHop, protoRouting, protoFragment, protoDestination:
		return false
	}
	return true
}

// fragmentIPv4 makes the header h that of n bytes at offset at. Its checksum
// stays right, wrong or zero.
func fragmentIPv4(h []byte, at uint16, last bool, n int) {
	kind := SumRight
	if binary.BigEndian.Uint16(h[sum4:]) == 0 {
		kind = SumZero
	} else if checksum(add(0, h)) != 0 {
		kind = SumWrong
	}
	word := at / 8
	if !last {
		word |= flagMF
	}
	binary.BigEndian.PutUint16(h[2:], uint16(header4+n))
	binary.BigEndian.PutUint16(h[fragment4:], word)
	binary.BigEndian.PutUint16(h[sum4:], 0)
	putSum(h, sum4, 0, kind)
}

// fragment6 makes the header h that of n bytes at offset at, and appends the
// fragment header.
func fragment6(h []byte, at uint16, last bool, id uint32, n int) []byte {
	next := h[6]
	binary.BigEndian.PutUint16(h[4:], uint16(fragmentHeader+n))
	h[6] = protoFragment
	word := at
	if !last {
		word |= 1
	}
	h = append(h, next, 0)
	h = binary.BigEndian.AppendUint16(h, word)
	return binary.BigEndian.AppendUint32(h, id)
}
