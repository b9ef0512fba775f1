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
	protoFragment  = 44
)

// ErrDF is the refusal to fragment what says "don't fragment".
var ErrDF = errors.New("don't fragment is set")

// Fragment cuts packet, one that an Append function has made, into fragments of
// at most mtu bytes each with their IP headers, in order (RFC 791 section 3.2,
// RFC 8200 section 4.5, id being the identification of IPv6's fragment header).
// A packet that fits is returned as its only fragment; the others are new.
func Fragment(packet []byte, mtu int, id uint32) ([][]byte, error) {
	if len(packet) <= mtu {
		return [][]byte{packet}, nil
	}
	header, more := header4, 0
	if packet[0]>>4 == 6 {
		header, more = header6, fragmentHeader
	} else if binary.BigEndian.Uint16(packet[fragment4:])&flagDF != 0 {
		return nil, fmt.Errorf("fragment %d bytes for an MTU of %d: %w", len(packet), mtu, ErrDF)
	}
	room := (mtu - header - more) &^ 7 // every fragment but the last is a multiple of 8
	if room <= 0 {
		return nil, fmt.Errorf("fragment for an MTU of %d: no room for 8 bytes behind the headers", mtu)
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

// fragmentIPv4 makes the header h that of n bytes at offset at. A checksum
// that was wrong stays wrong by as much.
func fragmentIPv4(h []byte, at uint16, last bool, n int) {
	off := binary.BigEndian.Uint16(h[sum4:])
	binary.BigEndian.PutUint16(h[sum4:], 0)
	off ^= checksum(add(0, h))
	word := at / 8
	if !last {
		word |= flagMF
	}
	binary.BigEndian.PutUint16(h[2:], uint16(header4+n))
	binary.BigEndian.PutUint16(h[fragment4:], word)
	binary.BigEndian.PutUint16(h[sum4:], checksum(add(0, h))^off)
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
