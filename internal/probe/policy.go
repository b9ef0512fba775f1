package probe

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// How much may be sent.
const (
	MaxRate  = 100    // packets a second outside of a private network, each fragment counted
	MaxCount = 10_000 // packets a run, all of which are remembered
)

// Policy guards what is not ours: the networks around this host.
type Policy struct {
	Private   bool // this is a private network: anything may go anywhere, at any rate
	ToNetwork bool // the user has said that it may leave this host

	// Local reports whether an address is this host's. nil: ask the kernel.
	Local func(netip.Addr) bool
}

// Check returns why a run is refused: packets that would leave this host, or
// whose answers would; too many; too fast.
func (p *Policy) Check(cfg *Config) error {
	if cfg.Count > MaxCount {
		return fmt.Errorf("--count %d: %d is the most", cfg.Count, MaxCount)
	}
	if p.Private {
		return nil
	}
	fragments, err := cfg.Build(0)
	if err != nil {
		return err
	}
	if least := time.Duration(len(fragments)) * time.Second / MaxRate; cfg.Count > 1 && cfg.Interval < least {
		return fmt.Errorf("--interval %v: must be at least %v: %d packets a second are the most, fragments counted", cfg.Interval, least, MaxRate)
	}
	src, dst := cfg.IP.Src, cfg.IP.Dst
	switch {
	case p.ToNetwork:
	case !dst.IsLoopback():
		return fmt.Errorf("%v is not a loopback address: nothing leaves this host without --to-network", dst)
	case !p.here(src):
		return fmt.Errorf("source %v is not this host's: nothing is answered elsewhere without --to-network", src)
	}
	return nil
}

// Leaves reports whether packets of a run, or their answers, leave what is ours.
func (p *Policy) Leaves(cfg *Config) bool {
	return !p.Private && (!cfg.IP.Dst.IsLoopback() || !p.here(cfg.IP.Src))
}

// here reports whether an address is this host's.
func (p *Policy) here(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	if p.Local != nil {
		return p.Local(a)
	}
	return isLocal(a)
}

// isLocal reports whether an interface of this host has the address.
func isLocal(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range addrs {
		if ipnet, ok := x.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(ipnet.IP); ok && ip.Unmap() == a.WithZone("") {
				return true
			}
		}
	}
	return false
}
