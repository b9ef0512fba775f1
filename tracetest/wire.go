package tracetest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"finack/internal/privnet"
)

// Rule says what a wire does to the frames that it matches. Its fields:
//
//	From      Side           those of the host at A or B; zero: of both
//	Filter    string         in tcpdump's language, as "tcp[tcpflags] & tcp-syn != 0"; "": every frame
//	Nth       uint64         of these only that one, counted from 1; zero: all
//	Chance    float64        where Nth is zero: only so many, as 0.01, chosen by Seed; zero: all
//	Seed      uint64         the same seed chooses the same frames
//	Drop      bool           lose it
//	Delay     time.Duration  hold it back
//	Duplicate bool           let it arrive twice
//	Corrupt   bool           damage it, so that its receiver drops it
//	Reorder   uint64         let so many later ones overtake it
type Rule = privnet.Rule

// WireStats counts what a wire has done, in Rules what each rule has.
type WireStats = privnet.WireStats

// RuleStats counts what a rule has done.
type RuleStats = privnet.RuleStats

// The ends of a wire, for Rule.From.
const (
	A = privnet.A
	B = privnet.B
)

// Wire is two hosts, each in a network namespace of its own, and what connects
// them. Nothing is on it but what programs send: IPv4 only, no ARP, and every
// segment a frame of 1500 bytes at most, with its checksums.
type Wire struct {
	A, B *Host
	wire *privnet.Wire
}

// Host is one end of a wire.
type Host struct {
	// Addr is its address: 10.9.0.1 at A, 10.9.0.2 at B.
	Addr netip.Addr
	// Interface is where the wire begins, for Config.Interface: what the host
	// sends passes before the rules see it, what is for it after that.
	Interface string
	host      *privnet.Host
}

// NewWire makes a wire that lasts until the test ends. Its rules are taken in
// their order. There is one wire at a time in a test binary: where parallel
// tests want one, each waits for the one before, but at most a minute.
//
// Like Start it skips the test where there is no private network.
func NewWire(t testing.TB, rules ...Rule) *Wire {
	t.Helper()
	if !privnet.Inside() && privnet.Refusal() == "" {
		t.Fatalf("tracetest: TestMain does not call tracetest.Main")
	}
	privnet.Require(t)
	lock, err := lockWire(patience(t, time.Minute))
	if err != nil {
		t.Fatalf("tracetest: wire: %v", err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	wire, err := privnet.NewWire(&privnet.WireConfig{Rules: rules})
	if err != nil {
		t.Fatalf("tracetest: %v", err)
	}
	w := &Wire{A: newHost(wire.A), B: newHost(wire.B), wire: wire}
	t.Cleanup(func() { w.close(t) })
	return w
}

func newHost(h *privnet.Host) *Host { return &Host{Addr: h.Addr, Interface: h.Tap, host: h} }

// close takes the wire down; it must have kept up with what was sent.
func (w *Wire) close(t testing.TB) {
	t.Helper()
	stats, err := w.wire.Stats()
	if err == nil && stats.Lost > 0 {
		t.Errorf("tracetest: wire: %d frames lost although no rule says so: more was sent than it can carry", stats.Lost)
	}
	if err = errors.Join(err, w.wire.Close()); err != nil {
		t.Errorf("tracetest: %v", err)
	}
}

// Stats returns what the wire has done so far.
func (w *Wire) Stats(t testing.TB) WireStats {
	t.Helper()
	stats, err := w.wire.Stats()
	if err != nil {
		t.Fatalf("tracetest: %v", err)
	}
	return stats
}

// wireLock is an abstract Unix socket, whose name belongs to the network
// namespace as the wire's interfaces do (unix(7)). Who listens has the wire.
const wireLock = "@finack/tracetest/wire"

// lockWire waits until no other test has a wire.
func lockWire(limit time.Duration) (net.Listener, error) {
	deadline := time.Now().Add(limit)
	for {
		lock, err := net.Listen("unix", wireLock)
		if err == nil {
			return lock, nil
		}
		holder, dialErr := net.DialTimeout("unix", wireLock, time.Until(deadline))
		if dialErr == nil {
			_ = holder.SetDeadline(deadline)
			_, _ = holder.Read(make([]byte, 1)) // which ends when the listener is closed
			_ = holder.Close()
		}
		if time.Now().After(deadline) {
			return nil, errors.New("there is one at a time, and another test, or this one, still has it")
		}
	}
}

// Do calls f in the host's network namespace and returns its error: the sockets
// that f opens belong to the host for as long as they live, and so do the programs
// that it starts. What f leaves to other goroutines does not.
func (h *Host) Do(f func() error) error { return h.host.Do(f) }

// Listen is net.Listen at the host, without Multipath TCP.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	err = h.Do(func() error {
		l, err = lc.Listen(context.Background(), network, address)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket at the host.
func (h *Host) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = h.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// DialContext is net.Dialer's at the host; it fits http.Transport's DialContext.
// The address is an IP address and a port: there are no names.
func (h *Host) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, err
	}
	err = h.Do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}
