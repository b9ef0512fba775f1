package privnet

import (
	"net/netip"
	"os"
	"time"

	"finack/decode"
)

// Side is an end of a wire.
type Side uint8

// The ends of a wire. The zero Side stands for both.
const (
	A Side = 1 + iota
	B
)

// WireConfig says what a wire does to the frames on it; the zero value, like
// nil, is a wire that carries every frame at once.
type WireConfig struct {
	// Rules are taken in their order: each sees what those before it did not
	// drop, as its sender sent it. Delays add up, and so do copies.
	Rules []Rule

	// Routed is a network behind A, as 10.9.7.0/24: B sends what is for it to A,
	// where no interface has an address of it. So A's kernel answers nothing
	// that comes for such an address, neither with RST nor with ICMP, and a
	// program at A can be a host of its own: it sends from the address with
	// IP_HDRINCL (raw(7)) or a packet socket and hears the answers with a packet
	// socket at A's eth0. The zero Prefix: there is none.
	Routed netip.Prefix
}

// Rule says what becomes of the frames that it matches. Of those, Skip, Nth and
// Chance choose the ones that it acts on; on these it does all that is set, but
// what it drops is only dropped. It acts until it is lifted (Wire.Lift).
type Rule struct {
	From   Side   // the frames of the host at this end
	Filter string // in tcpdump's language, pcap-filter(7); "": every frame
	// Flags are TCP control bits that must all be set, as decode.FIN; a SYN
	// alone is no SYN-ACK: with decode.SYN and nothing else ACK must be clear.
	// Zero: no matter.
	Flags  decode.Flags
	Skip   uint64  // leave alone so many of the frames that match first
	Nth    uint64  // of the frames that match only this one, from 1; zero: all
	Chance float64 // where Nth is zero: act on so many of them, as 0.01, chosen at random; zero: on all
	Seed   uint64  // of Chance: it and the number of frames that matched before decide, in every rule alike

	Drop bool // lose it
	// Hold holds it back until its rule is lifted, whatever other rules hold it,
	// too. Only then is it delayed, and so on.
	Hold      bool
	Delay     time.Duration // hold it back; others overtake it, but not those held back as long
	Duplicate bool          // let it arrive twice, one copy right behind the other
	// Corrupt inverts the last bit of its last byte, which is payload if it has
	// any, and leaves the checksums as they are: the receiver drops it, but for
	// a UDP datagram without checksum.
	Corrupt bool
	// Reorder holds it back until so many later frames of its direction have
	// overtaken it. It waits for them no longer than Delay, or ReorderLimit if
	// that is zero. What another rule delays as well is delayed first.
	Reorder uint64
}

// ReorderLimit is how long a frame waits for others to overtake it, if its rule
// does not say. It is less than TCP takes to think a segment lost: that is 200 ms.
const ReorderLimit = 100 * time.Millisecond

// RuleStats counts frames: those that matched a rule and, among them, those
// that it has acted on, each under all that was done to it. Reordered ones are
// counted when they are held back, Delayed only without Reorder.
type RuleStats struct {
	Matched, Dropped, Held, Delayed, Duplicated, Corrupted, Reordered uint64
}

// WireStats counts what a wire has done since it was made.
type WireStats struct {
	Forwarded uint64      // frames that reached the other end, each copy one; the ones held back not yet
	Lost      uint64      // frames that the wire was too slow for, whatever the rules say
	Rules     []RuleStats // of WireConfig.Rules, in their order
}

// Wire is two hosts, each in a network namespace of its own, and what connects
// them: a forwarder in the private network between them, which takes every
// frame from the one end to the other unless a rule says otherwise. On it is
// nothing but what programs send: the hosts have IPv4 only, they know each
// other's link address, and they leave nothing to offloads, so that every
// segment is a frame with its checksums.
type Wire struct {
	A, B *Host
	forwarder
}

// Host is one end of a wire.
type Host struct {
	Addr netip.Addr // of its interface eth0
	// Tap is the interface of the private network where the host's frames pass:
	// those it sends before the rules see them, those for it after that.
	Tap string

	ns    *os.File // its network namespace
	wired bool     // the tap is there
}
