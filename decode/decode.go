package decode

import (
	"encoding/binary"
	"errors"

	"github.com/google/gopacket/layers"
)

// The ways in which a frame cannot be decoded. They are returned as they are,
// so that an error costs no allocation.
var (
	ErrMalformed = errors.New("malformed header")                        // a header contradicts itself or what was on the wire
	ErrTruncated = errors.New("header cut off by the snapshot length")   // or by fragmentation
	ErrLinkType  = errors.New("link type that this decoder cannot read") // no LinkType constant names it
)

// What hostile frames may make Decode walk over.
const (
	maxDepth      = 8  // encapsulations in a frame: VLAN tags, label stacks, PPPoE, tunnels
	maxLabels     = 32 // labels in an MPLS label stack
	maxExtensions = 16 // extension headers after one IPv6 header
)

// EtherTypes that lead to an IP header (IANA, "IEEE 802 Numbers").
const (
	etherIPv4      = 0x0800
	etherARP       = 0x0806
	etherTEB       = 0x6558 // Transparent Ethernet Bridging: an Ethernet frame
	etherVLAN      = 0x8100 // IEEE 802.1Q
	etherIPv6      = 0x86dd
	etherMPLS      = 0x8847
	etherMPLSUp    = 0x8848 // upstream-assigned label
	etherPPPoE     = 0x8864 // session stage
	etherPPP       = 0x880b
	etherQinQ      = 0x88a8 // IEEE 802.1ad
	etherQinQOld   = 0x9100
	etherTypeFirst = 0x0600 // what is less is an IEEE 802.3 length
)

// Decoder turns frames into packets. The zero value is ready. It is not safe
// for concurrent use and must not be copied after its first use.
type Decoder struct {
	sums  bool // the transport checksum of the packet at hand can be verified
	depth int  // encapsulations so far

	tcp     layers.TCP
	options [40]layers.TCPOption // tcp's: as many as a header can hold, so that gopacket never needs more
	header  [60]byte             // a TCP header with its bad options blanked
	quoted  Packet               // what an ICMP error quotes
}

// Decode sets p to what f says; p.Payload refers to f.Data. Of several IP
// headers the innermost counts; where a tunnel's content cannot be understood,
// p is the tunnel's own packet. A frame without an IP header (ARP, STP) is no
// error: p.Version is 0 then. A Linux cooked header adds the direction that the
// frame does not tell, and in version 2 the interface.
//
// The errors are ErrMalformed, ErrTruncated and ErrLinkType. With an error
// p.Proto is ProtoNone; p.Version, p.Src and p.Dst are set where an IP header
// was understood before it.
func (d *Decoder) Decode(f *Frame, p *Packet) error {
	if d.common(f, p) {
		return nil
	}
	return d.general(f, p)
}

// general is Decode for every frame there can be.
func (d *Decoder) general(f *Frame, p *Packet) error {
	*p = Packet{}
	p.Time, p.Dir, p.Iface = f.Time, f.Dir, f.Iface
	d.sums, d.depth = f.Checksums == ChecksumsComplete, 0
	// Some writers lose the length on the wire: what was captured was there.
	v := view{f.Data, max(f.Wire-len(f.Data), 0)}
	return d.link(f.Link, v, p)
}

// view is a part of a frame: the bytes of it that were captured, and how many
// more followed on the wire.
type view struct {
	b   []byte
	cut int
}

// wire returns v's length on the wire.
func (v view) wire() int { return len(v.b) + v.cut }

// skip returns v without its first n bytes, which must have been captured.
func (v view) skip(n int) view { return view{v.b[n:], v.cut} }

// limit returns the first n bytes of v, which must have been on the wire.
func (v view) limit(n int) view {
	if n <= len(v.b) {
		return view{v.b[:n], 0}
	}
	return view{v.b, n - len(v.b)}
}

// short returns the error for a header of n bytes that is not in v.b. whole
// tells that v holds all that was sent, not a fragment.
func (v view) short(n int, whole bool) error {
	if whole && v.wire() < n {
		return ErrMalformed
	}
	return ErrTruncated
}

// etherType decodes what follows the EtherType t.
func (d *Decoder) etherType(t uint16, v view, p *Packet) error {
	for {
		switch t {
		case etherIPv4:
			return d.ipv4(v, p)
		case etherIPv6:
			return d.ipv6(v, p)
		case etherVLAN, etherQinQ, etherQinQOld:
			if !d.enter() {
				p.EtherType = t
				return nil
			}
			if len(v.b) < 4 {
				return v.short(4, true)
			}
			t = binary.BigEndian.Uint16(v.b[2:])
			v = v.skip(4)
		case etherMPLS, etherMPLSUp, etherPPPoE, etherPPP:
			return d.shim(t, v, p)
		case etherTEB:
			if !d.enter() {
				p.EtherType = t
				return nil
			}
			return d.ethernet(v, p)
		default:
			if t < etherTypeFirst {
				return d.llc(v.limit(min(int(t), v.wire())), p)
			}
			p.EtherType = t
			return nil
		}
	}
}

// shim decodes what has no EtherTypes of its own.
func (d *Decoder) shim(t uint16, v view, p *Packet) error {
	var err error
	switch t {
	case etherPPPoE:
		err = d.pppoe(v, p)
	case etherPPP:
		err = d.ppp(v, p)
	default:
		err = d.mpls(v, p)
	}
	if p.Version == 0 {
		p.EtherType = t
	}
	return err
}

// enter counts one more encapsulation and reports whether it may be looked into.
func (d *Decoder) enter() bool {
	d.depth++
	return d.depth <= maxDepth
}
