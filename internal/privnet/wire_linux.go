package privnet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"finack/decode"
	"finack/internal/pcapfilter"
)

// forwarder is the part of a Wire that moves frames.
type forwarder struct {
	ends    [2]*os.File // packet sockets at the two taps
	running sync.WaitGroup
	closing sync.Once

	mu     sync.Mutex
	rules  []rule
	stats  WireStats // without Rules
	closed bool      // the ends are, or will be at once
	err    error     // what ended a direction before that
}

// rule is a Rule ready for use.
type rule struct {
	Rule
	filter *pcapfilter.Program
	random *rand.Rand
	stats  RuleStats
	lifted bool
}

const (
	// maxFrame is longer than any frame on the wire, whose MTU is 1500.
	maxFrame = 4096
	// wireBuffer is how many bytes of frames may wait for the forwarder; the
	// kernel gives less, net.core.rmem_max, to whom is no root outside.
	wireBuffer = 4 << 20
	// carrierTimeout is how long interfaces may take to come up: they are
	// virtual, so it takes microseconds.
	carrierTimeout = 10 * time.Second
)

// NewWire makes two hosts, 10.9.0.1 at A and 10.9.0.2 at B, and the wire
// between them. It must be called in a private network (Setup), where the
// hosts' frames pass the interfaces wire-a and wire-b: so there is one wire at
// a time.
func NewWire(cfg *WireConfig) (*Wire, error) {
	if !Inside() {
		return nil, errors.New("private network: wire: not inside of one")
	}
	if cfg == nil {
		cfg = &WireConfig{}
	}
	w := &Wire{}
	err := w.compile(cfg.Rules)
	if err == nil {
		err = w.build()
	}
	if err == nil && cfg.Routed.IsValid() {
		err = w.route(cfg.Routed)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("private network: wire: %w", err), w.Close())
	}
	fromA := direction{wire: w, from: A, in: w.ends[0], out: w.ends[1]}
	fromB := direction{wire: w, from: B, in: w.ends[1], out: w.ends[0]}
	w.running.Go(func() { w.end(fromA.forward()) })
	w.running.Go(func() { w.end(fromB.forward()) })
	return w, nil
}

// compile makes the rules ready.
func (w *Wire) compile(rules []Rule) error {
	for i, r := range rules {
		if !(r.Chance >= 0 && r.Chance <= 1) { // nor NaN
			return fmt.Errorf("rule %d: chance %v: must be from 0 to 1", i, r.Chance)
		}
		if r.Flags > 0xff {
			return fmt.Errorf("rule %d: flags %v: only those of tcp[tcpflags] can be matched", i, r.Flags)
		}
		filter, err := pcapfilter.Parse(r.expression())
		if err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		prog, err := filter.ForLink(uint16(decode.LinkEthernet))
		if err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		w.rules = append(w.rules, rule{Rule: r, filter: prog, random: rand.New(rand.NewPCG(r.Seed, 0))})
	}
	return nil
}

// expression is the filter for all that a rule wants of a frame.
func (r *Rule) expression() string {
	if r.Flags == 0 {
		return r.Filter
	}
	mask := r.Flags
	if r.Flags == decode.SYN {
		mask |= decode.ACK
	}
	flags := fmt.Sprintf("tcp[tcpflags] & %d = %d", mask, r.Flags)
	if r.Filter == "" {
		return flags
	}
	return "(" + r.Filter + ") and " + flags
}

// build makes the hosts and everything between them.
func (w *Wire) build() (err error) {
	if w.A, err = newHost(netip.AddrFrom4([4]byte{10, 9, 0, 1}), "wire-a"); err != nil {
		return err
	}
	if w.B, err = newHost(netip.AddrFrom4([4]byte{10, 9, 0, 2}), "wire-b"); err != nil {
		return err
	}
	news, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return os.NewSyscallError("subscribe to rtnetlink", err)
	}
	defer news.Close()
	if err := w.A.connect(w.B); err != nil {
		return err
	}
	if err := w.B.connect(w.A); err != nil {
		return err
	}
	for i, tap := range []string{w.A.Tap, w.B.Tap} {
		if err := awaitCarrier(news, tap); err != nil {
			return fmt.Errorf("raise %s: %w", tap, err)
		}
		if w.ends[i], err = openEnd(tap); err != nil {
			return fmt.Errorf("open %s: %w", tap, err)
		}
	}
	return nil
}

// awaitCarrier waits until an interface sends what it is given: the kernel
// notices that the other end is up a little later, and drops frames until then.
func awaitCarrier(news *nl.NetlinkSocket, name string) error {
	timeout := unix.NsecToTimeval(carrierTimeout.Nanoseconds())
	if err := news.SetReceiveTimeout(&timeout); err != nil {
		return err
	}
	for {
		link, err := netlink.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return err
		}
		if _, _, err := news.Receive(); err != nil {
			return err
		}
	}
}

// openEnd opens a packet socket that hears what comes in at an interface, and
// not what this or another program sends there (packet(7)).
func openEnd(name string) (*os.File, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	end := os.NewFile(uintptr(fd), name)
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wireBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wireBuffer)
	}
	if err != nil {
		end.Close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // in network order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}); err != nil {
		end.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return end, nil
}

// direction takes frames from one end to the other.
type direction struct {
	wire      *Wire
	from      Side
	in, out   *os.File
	untilLift []held // in their order
	delayed   []held // by due
	reordered []held // in their order
}

// held is a frame that is held back.
type held struct {
	fate
	due   time.Time
	frame []byte
}

// hold puts a frame behind those that are due no later.
func hold(queue []held, h held) []held {
	i, _ := slices.BinarySearchFunc(queue, h.due, func(q held, due time.Time) int {
		if q.due.After(due) {
			return 1
		}
		return -1
	})
	return slices.Insert(queue, i, h)
}

// forward takes frames until either end is closed. What is held back makes the
// deadline of waiting for the next frame.
func (d *direction) forward() error {
	buf := make([]byte, maxFrame)
	for {
		if err := d.in.SetReadDeadline(d.deadline()); err != nil {
			return err
		}
		// After that: a Lift from here on ends the Read.
		if lifted, err := d.releaseLifted(); err != nil {
			return err
		} else if lifted {
			continue
		}
		n, rerr := d.in.Read(buf)
		now := time.Now()
		if err := d.release(now); err != nil {
			return err
		}
		if errors.Is(rerr, os.ErrDeadlineExceeded) {
			continue
		}
		if rerr != nil {
			return rerr
		}
		if err := d.take(buf[:n], now); err != nil {
			return err
		}
	}
}

// take does to a frame what the rules say.
func (d *direction) take(frame []byte, now time.Time) error {
	f := d.wire.judge(d.from, frame)
	if f.drop {
		return nil
	}
	if f.corrupt {
		corrupt(frame)
	}
	if f.holder != nil {
		d.untilLift = append(d.untilLift, held{fate: f, frame: bytes.Clone(frame)})
		return nil
	}
	return d.delay(f, now, frame)
}

// delay sends a frame, or has it wait until its time has come.
func (d *direction) delay(f fate, now time.Time, frame []byte) error {
	if f.delay > 0 {
		d.delayed = hold(d.delayed, held{f, now.Add(f.delay), bytes.Clone(frame)})
		return nil
	}
	return d.pass(f, now, frame)
}

// releaseLifted lets go of what was held back by a rule that has been lifted.
func (d *direction) releaseLifted() (any bool, err error) {
	for i := 0; i < len(d.untilLift); {
		h := d.untilLift[i]
		if !d.wire.lifted(h.holder) {
			i++
			continue
		}
		d.untilLift = slices.Delete(d.untilLift, i, i+1)
		any = true
		if err := d.delay(h.fate, time.Now(), h.frame); err != nil {
			return any, err
		}
	}
	return any, nil
}

// deadline is when the next frame that is held back is due; zero: none is.
func (d *direction) deadline() (next time.Time) {
	if len(d.delayed) > 0 {
		next = d.delayed[0].due
	}
	for i := range d.reordered {
		if due := d.reordered[i].due; next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// release lets go of what is due.
func (d *direction) release(now time.Time) error {
	for len(d.delayed) > 0 && !d.delayed[0].due.After(now) {
		h := d.delayed[0]
		d.delayed = slices.Delete(d.delayed, 0, 1)
		if err := d.pass(h.fate, now, h.frame); err != nil {
			return err
		}
	}
	for i := 0; i < len(d.reordered); {
		if d.reordered[i].due.After(now) {
			i++
			continue
		}
		d.reordered[i].behind = 0
		if err := d.sendOvertaken(); err != nil {
			return err
		}
		i = 0
	}
	return nil
}

// pass sends a frame, whose delay is over, or has it wait for others to
// overtake it. The frame is the caller's again after that.
func (d *direction) pass(f fate, now time.Time, frame []byte) error {
	if f.behind > 0 {
		d.reordered = append(d.reordered, held{f, now.Add(f.limit), bytes.Clone(frame)})
		return nil
	}
	if err := d.sendCopies(f, frame); err != nil {
		return err
	}
	overtake(d.reordered)
	return d.sendOvertaken()
}

// overtake counts a frame that was sent for those held back before it.
func overtake(before []held) {
	for i := range before {
		before[i].behind = max(1, before[i].behind) - 1
	}
}

// sendOvertaken sends the frames that enough others have overtaken. Each of
// these may have overtaken some that are still held back.
func (d *direction) sendOvertaken() error {
	for {
		i := slices.IndexFunc(d.reordered, func(h held) bool { return h.behind == 0 })
		if i < 0 {
			return nil
		}
		h := d.reordered[i]
		d.reordered = slices.Delete(d.reordered, i, i+1)
		if err := d.sendCopies(h.fate, h.frame); err != nil {
			return err
		}
		overtake(d.reordered[:i])
	}
}

// sendCopies sends a frame as often as it shall arrive.
func (d *direction) sendCopies(f fate, frame []byte) error {
	for range 1 + f.copies {
		if err := d.wire.send(d.out, frame); err != nil {
			return err
		}
	}
	return nil
}

// corrupt damages an Ethernet frame in the last byte of its IPv4 packet.
func corrupt(frame []byte) {
	const header, length = 14, 16 // where the packet and its total length begin
	end := len(frame)
	if end >= header+20 && binary.BigEndian.Uint16(frame[header-2:]) == unix.ETH_P_IP {
		end = min(end, header+max(1, int(binary.BigEndian.Uint16(frame[length:])))) // behind it is padding
	}
	frame[end-1] ^= 1
}

// fate is what the rules make of a frame.
type fate struct {
	drop, corrupt bool
	holder        *rule // the first rule that holds it back until Lift
	copies        int
	delay         time.Duration
	behind        uint64        // so many frames shall overtake it
	limit         time.Duration // of waiting for them
}

// judge applies the rules to a frame.
func (w *Wire) judge(from Side, frame []byte) (f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.rules {
		r := &w.rules[i]
		if r.lifted || r.From != 0 && r.From != from {
			continue
		}
		if !r.filter.Match(frame, len(frame)) {
			continue
		}
		r.stats.Matched++
		if !r.chosen() {
			continue
		}
		if r.act(&f); f.drop {
			return f
		}
	}
	return f
}

// chosen reports whether a rule acts on the frame that it matched last.
func (r *rule) chosen() bool {
	switch {
	case r.stats.Matched <= r.Skip:
		return false
	case r.Nth != 0:
		return r.Nth == r.stats.Matched
	case r.Chance != 0:
		return r.random.Float64() < r.Chance // drawn once for each frame that matches
	}
	return true
}

// act does to a frame what its rule says.
func (r *rule) act(f *fate) {
	if r.Drop {
		r.stats.Dropped++
		f.drop = true
		return
	}
	if r.Hold && f.holder == nil {
		r.stats.Held++
		f.holder = r
	}
	if r.Duplicate {
		r.stats.Duplicated++
		f.copies++
	}
	if r.Corrupt {
		r.stats.Corrupted++
		f.corrupt = true
	}
	switch {
	case r.Reorder > 0:
		r.stats.Reordered++
		f.behind += r.Reorder
		f.limit += cmp.Or(r.Delay, ReorderLimit)
	case r.Delay > 0:
		r.stats.Delayed++
		f.delay += r.Delay
	}
}

// Lift ends a rule of the wire, by its index in WireConfig.Rules: frames that it
// holds back pass, and from then on it is as if it were not there.
func (w *Wire) Lift(rule int) error {
	w.mu.Lock()
	w.rules[rule].lifted = true
	w.mu.Unlock()
	for _, end := range w.ends {
		if err := end.SetReadDeadline(time.Unix(0, 1)); err != nil { // long ago: it wakes the direction
			return fmt.Errorf("private network: wire: lift rule %d: %w", rule, err)
		}
	}
	return nil
}

// lifted reports whether a rule has been lifted.
func (w *Wire) lifted(r *rule) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return r.lifted
}

// send sends a frame to the host at an end. It is counted before it can be
// received there, and again as lost when the kernel has no room for it.
func (w *Wire) send(out *os.File, frame []byte) error {
	w.mu.Lock()
	w.stats.Forwarded++
	w.mu.Unlock()
	_, err := out.Write(frame)
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Forwarded--
	if !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	w.stats.Lost++
	return nil
}

// end notes why a direction ended, unless it was Close.
func (w *Wire) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.err = errors.Join(w.err, err)
	}
}

// Stats returns the counters so far. They stay after Close.
func (w *Wire) Stats() (WireStats, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		if err := w.countLost(); err != nil {
			return WireStats{}, fmt.Errorf("read the wire's statistics: %w", err)
		}
	}
	stats := w.stats
	for _, r := range w.rules {
		stats.Rules = append(stats.Rules, r.stats)
	}
	return stats, nil
}

// countLost adds the frames that the packet sockets had no room for. Reading
// the kernel's counters resets them.
func (w *Wire) countLost() error {
	for _, end := range w.ends {
		rc, err := end.SyscallConn()
		if err != nil {
			return err
		}
		var stats *unix.TpacketStats
		cerr := rc.Control(func(fd uintptr) {
			stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		})
		if err := errors.Join(cerr, os.NewSyscallError("getsockopt(PACKET_STATISTICS)", err)); err != nil {
			return err
		}
		w.stats.Lost += uint64(stats.Drops)
	}
	return nil
}

// Close ends the wire; frames that it holds back are lost. The hosts are gone
// when the last of their sockets is. It returns what kept the wire from
// forwarding, and does nothing when it is called again.
func (w *Wire) Close() error {
	var errs []error
	w.closing.Do(func() {
		w.mu.Lock()
		if w.ends[1] != nil { // it was made
			errs = append(errs, w.countLost())
		}
		w.closed = true
		w.mu.Unlock()
		for _, end := range w.ends {
			if end != nil {
				errs = append(errs, end.Close())
			}
		}
		w.running.Wait()
		errs = append(errs, w.err)
		for _, h := range []*Host{w.A, w.B} {
			if h != nil {
				errs = append(errs, h.close())
			}
		}
	})
	return errors.Join(errs...)
}
