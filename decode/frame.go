// Package decode turns one captured frame into one packet: no state, no clock, no allocation.
//
// Link and IP headers are walked by hand; TCP headers are decoded by gopacket.
package decode

import "time"

// Timestamp is a moment in nanoseconds since 1970-01-01T00:00:00Z. The kernel
// and the capture formats count so too; unlike time.Time it has no pointer and
// costs one word in every record.
type Timestamp int64

// TimestampOf returns t as a Timestamp.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixNano()) }

// Time returns ts in UTC.
func (ts Timestamp) Time() time.Time { return time.Unix(0, int64(ts)).UTC() }

// Add returns ts+d.
func (ts Timestamp) Add(d time.Duration) Timestamp { return ts + Timestamp(d) }

// Sub returns ts−u.
func (ts Timestamp) Sub(u Timestamp) time.Duration { return time.Duration(ts - u) }

// Direction says how a frame passed the capturing host, as packet(7)'s
// sll_pkttype and pcapng's epb_flags tell it.
type Direction uint8

// The directions of a frame.
const (
	DirUnknown  Direction = iota
	DirInbound            // received by this host (PACKET_HOST, and broadcast or multicast to it)
	DirOutbound           // sent by this host (PACKET_OUTGOING)
	DirOther              // to another host, seen because of promiscuous mode (PACKET_OTHERHOST)
)

// String returns "inbound", "outbound", "other" or "unknown".
func (d Direction) String() string {
	switch d {
	case DirInbound:
		return "inbound"
	case DirOutbound:
		return "outbound"
	case DirOther:
		return "other"
	default:
		return "unknown"
	}
}

// Checksums says what the capture knows about a frame's transport checksum.
type Checksums uint8

// What a capture may know about checksums.
const (
	ChecksumsUnknown  Checksums = iota // nothing is known: a wrong one proves nothing
	ChecksumsPartial                   // sent by this host and left to the hardware (TP_STATUS_CSUMNOTREADY)
	ChecksumsComplete                  // as it was on the wire: a wrong one is wrong
)

// Frame is one captured frame as it lay on its link. It owns its bytes: a
// source copies into Data, reusing its capacity, and nothing else refers to it.
type Frame struct {
	Time      Timestamp
	Link      LinkType
	Dir       Direction
	Checksums Checksums
	Iface     uint32 // interface index, or the interface's number in a pcapng section
	Wire      int    // length on the wire, in bytes; len(Data) is smaller where a snaplen cut it
	Data      []byte
}
