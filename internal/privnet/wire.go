package privnet

import (
	"net/netip"
	"os"
	"time"
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
	// drop, and delays add up.
	Rules []Rule
}

// Rule says what becomes of the frames that it matches.
type Rule struct {
	From   Side          // the frames of the host at this end
	Filter string        // in tcpdump's language, pcap-filter(7); "": every frame
	Nth    uint64        // of the frames that match only this one, from 1; zero: all
	Drop   bool          // lose it
	Delay  time.Duration // hold it back; others overtake it, but not those held back as long
}

// RuleStats counts what a rule has done: Dropped and Delayed frames are among
// the Matched ones.
type RuleStats struct {
	Matched, Dropped, Delayed uint64
}

// WireStats counts what a wire has done since it was made.
type WireStats struct {
	Forwarded uint64      // frames that reached the other end; the ones held back not yet
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
