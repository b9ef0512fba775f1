package privnet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
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
	filter *bpf.VM
	stats  RuleStats
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
	if err != nil {
		return nil, errors.Join(fmt.Errorf("private network: wire: %w", err), w.Close())
	}
	w.running.Go(func() { w.end(w.forward(A, w.ends[0], w.ends[1])) })
	w.running.Go(func() { w.end(w.forward(B, w.ends[1], w.ends[0])) })
	return w, nil
}

// compile makes the rules ready.
func (w *Wire) compile(rules []Rule) error {
	for i, r := range rules {
		filter, err := pcapfilter.Parse(r.Filter)
		if err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		prog, err := filter.ForLink(uint16(decode.LinkEthernet))
		if err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		w.rules = append(w.rules, rule{Rule: r, filter: vm})
	}
	return nil
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

// held is a frame that is held back.
type held struct {
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

// forward takes frames from one end to the other until either is closed. What
// is held back makes the deadline of waiting for the next frame.
func (w *Wire) forward(from Side, in, out *os.File) error {
	var queue []held // by due
	buf := make([]byte, maxFrame)
	for {
		var deadline time.Time
		if len(queue) > 0 {
			deadline = queue[0].due
		}
		if err := in.SetReadDeadline(deadline); err != nil {
			return err
		}
		n, rerr := in.Read(buf)
		now := time.Now()
		for len(queue) > 0 && !queue[0].due.After(now) {
			if err := w.send(out, queue[0].frame); err != nil {
				return err
			}
			queue = slices.Delete(queue, 0, 1)
		}
		if errors.Is(rerr, os.ErrDeadlineExceeded) {
			continue
		}
		if rerr != nil {
			return rerr
		}
		frame := buf[:n]
		delay, drop := w.judge(from, frame)
		switch {
		case drop:
		case delay > 0:
			queue = hold(queue, held{now.Add(delay), bytes.Clone(frame)})
		default:
			if err := w.send(out, frame); err != nil {
				return err
			}
		}
	}
}

// judge applies the rules to a frame.
func (w *Wire) judge(from Side, frame []byte) (delay time.Duration, drop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.rules {
		r := &w.rules[i]
		if r.From != 0 && r.From != from {
			continue
		}
		if n, err := r.filter.Run(frame); n == 0 || err != nil {
			continue
		}
		r.stats.Matched++
		if r.Nth != 0 && r.Nth != r.stats.Matched {
			continue
		}
		if r.Drop {
			r.stats.Dropped++
			return 0, true
		}
		if r.Delay > 0 {
			r.stats.Delayed++
			delay += r.Delay
		}
	}
	return delay, false
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
