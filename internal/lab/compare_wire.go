package lab

import (
	"context"
	"errors"
	"net"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/echo"
	"finack/internal/pipeline"
	"finack/internal/privnet"
	"finack/trace"
)

const (
	wirePort     = "7" // RFC 862
	wireMessages = 20  // of a conversation that is counted packet by packet
	wireTimeout  = 10 * time.Second

	sllHeader = 20 // bytes before the packet in a frame captured on any (LINKTYPE_LINUX_SLL2)

	// The wire's faults, each with this chance in each direction.
	faultChance = 0.01
	// lossMessages are TCP's at most: each that is hit waits 200 ms or more.
	lossMessages = 500
	// burstMessages are UDP's: nobody waits for an answer, so there may be more.
	burstMessages, burstInterval, burstQuiet = 2000, 200 * time.Microsecond, time.Second
)

// wireCost is what a conversation is on a wire with an MTU of 1500 and without
// offloads, so that a packet is a packet.
type wireCost struct {
	messages            int
	packets, bytes      int // of the messages; bytes with IP headers
	handshake, teardown int // segments
}

// loss is what becomes of messages on a wire that loses, duplicates and delays.
type loss struct {
	kind                                   kind
	sent, answered                         int
	missing, duplicates, outOfOrder, wrong int
	rtt                                    echo.Times // of TCP
	retransmits                            int        // of TCP, both ends'
	dropped, twice, late                   int        // frames, by the wire's own count
	took                                   time.Duration
}

// hosts runs f with an echo server at host B of a wire.
func (c *comparison) hosts(ctx context.Context, cfg *privnet.WireConfig, f func(*privnet.Wire) error) (err error) {
	w, err := privnet.NewWire(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	at := net.JoinHostPort(w.B.Addr.String(), wirePort)
	var stop func() error
	if err := w.B.Do(func() (err error) {
		stop, err = serve(ctx, nil, "tcp4://"+at, "udp4://"+at)
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return f(w)
}

// client is a conversation from host A to the server at B.
func (c *comparison) client(w *privnet.Wire, k kind, cfg echo.ClientConfig) (echo.Endpoint, *echo.ClientConfig) {
	cfg.Size = c.Size
	cfg.Dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		var d net.Dialer
		d.SetMultipathTCP(false)
		err = w.A.Do(func() (err error) {
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return echo.Endpoint{Network: k.network, Address: net.JoinHostPort(w.B.Addr.String(), wirePort)}, &cfg
}

// cleanWire counts what conversations cost where nothing is lost.
func (c *comparison) cleanWire(ctx context.Context) error {
	return c.hosts(ctx, nil, func(w *privnet.Wire) error {
		for i, k := range c.kinds {
			if k.file != "" {
				continue
			}
			if !c.facts[i].tooLong {
				ep, cfg := c.client(w, k, echo.ClientConfig{Count: wireMessages, Timeout: wireTimeout})
				t, err := tapped(ctx, k, func() error {
					res, err := echo.Send(ctx, ep, cfg, nil)
					if err == nil && res.Received != res.Sent {
						err = checkf("%s over a wire that loses nothing: %d of %d messages answered", k.title, res.Received, res.Sent)
					}
					return err
				})
				if err != nil {
					return err
				}
				c.facts[i].wire = t.cost()
			}
			c.step()
		}
		return nil
	})
}

// lossyWire has conversations where frames are lost, come twice and come late.
func (c *comparison) lossyWire(ctx context.Context) error {
	rules := make([]privnet.Rule, 0, 6)
	for i, from := range []privnet.Side{privnet.A, privnet.B} {
		seed := uint64(10 * i)
		rules = append(rules,
			privnet.Rule{From: from, Chance: faultChance, Seed: seed + 1, Drop: true},
			privnet.Rule{From: from, Chance: faultChance, Seed: seed + 2, Duplicate: true},
			privnet.Rule{From: from, Chance: faultChance, Seed: seed + 3, Reorder: 2, Delay: 20 * time.Millisecond})
	}
	for i, k := range c.kinds {
		if k.file != "" {
			continue
		}
		if c.facts[i].tooLong || k.name == "udp" && c.Size < 8 {
			c.step()
			continue
		}
		// A wire each: with the same seeds, the same frames have bad luck.
		err := c.hosts(ctx, &privnet.WireConfig{Rules: rules}, func(w *privnet.Wire) error {
			l := &loss{kind: k}
			begin := time.Now()
			var err error
			if k.name == "tcp" {
				err = c.streamLoss(ctx, w, l)
			} else {
				err = c.datagramLoss(ctx, w, l)
			}
			if err != nil {
				return err
			}
			l.took = time.Since(begin)
			stats, err := w.Stats()
			if err != nil {
				return err
			}
			for _, r := range stats.Rules {
				l.dropped += int(r.Dropped)
				l.twice += int(r.Duplicated)
				l.late += int(r.Reordered)
			}
			c.losses = append(c.losses, l)
			return nil
		})
		if err != nil {
			return err
		}
		c.step()
	}
	return nil
}

// streamLoss has messages echoed one after the other: TCP hides the loss, and
// the time that takes is what shows.
func (c *comparison) streamLoss(ctx context.Context, w *privnet.Wire, l *loss) error {
	ep, cfg := c.client(w, l.kind, echo.ClientConfig{Count: min(c.Count, lossMessages), Timeout: wireTimeout})
	var res echo.Result
	t, err := tapped(ctx, l.kind, func() (err error) {
		res, err = echo.Send(ctx, ep, cfg, nil)
		return err
	})
	if err != nil {
		return err
	}
	// Every answer is compared with its own message: had one come twice or in
	// another order, it would have been a wrong one.
	l.sent, l.answered, l.missing, l.duplicates, l.wrong = res.Sent, res.Received, res.Lost, res.Duplicates, res.Wrong
	l.rtt = res.RTT
	l.retransmits = t.retransmits()
	return nil
}

// datagramLoss sends datagrams without waiting for answers: nobody sends again
// what is lost, or puts in order what is not.
func (c *comparison) datagramLoss(ctx context.Context, w *privnet.Wire, l *loss) error {
	ep, cfg := c.client(w, l.kind, echo.ClientConfig{
		Count: min(c.Count, burstMessages), Interval: burstInterval, Timeout: burstQuiet,
	})
	res, err := echo.Burst(ctx, ep, cfg)
	l.sent, l.answered, l.missing, l.duplicates, l.outOfOrder, l.wrong = res.Sent, res.Answered, res.Missing, res.Duplicates, res.OutOfOrder, res.Wrong
	return err
}

// tap is what was sent on a wire, by either host.
type tap struct {
	capture.Source
	sizes  []int // of the packets, in their order
	events []trace.Event
}

// ReadFrame also counts.
func (t *tap) ReadFrame(f *decode.Frame) error {
	err := t.Source.ReadFrame(f)
	if err == nil {
		t.sizes = append(t.sizes, f.Wire-sllHeader)
	}
	return err
}

// tapped captures what both hosts of a wire send of a transport, before the
// wire does anything to it, while f runs.
func tapped(ctx context.Context, k kind, f func() error) (*tap, error) {
	proto := "tcp"
	if k.name == "udp" {
		proto = "udp"
	}
	// Each frame comes in once, at the tap of the host that sends it.
	src, err := capture.OpenLive(&capture.LiveConfig{
		Interface: "any", Filter: "inbound and " + proto + " port " + wirePort, Snaplen: 256,
	})
	if err != nil {
		return nil, err
	}
	t := &tap{Source: src}
	stop := follow(ctx, &pipeline.Config{
		Source: t, Events: func(events []trace.Event) { t.events = append(t.events, events...) },
	})
	err = f()
	return t, errors.Join(err, stop())
}

// cost splits a conversation into handshake, messages and teardown.
func (t *tap) cost() *wireCost {
	w := &wireCost{messages: wireMessages}
	data, closing := false, false
	frame := 0
	for i := range t.events {
		e := &t.events[i]
		if e.Kind != trace.SegmentSeen && e.Kind != trace.DatagramSeen {
			continue
		}
		data = data || e.Len > 0 || e.Kind == trace.DatagramSeen
		closing = closing || e.Flags.Any(decode.FIN|decode.RST)
		switch {
		case !data:
			w.handshake++
		case closing:
			w.teardown++
		default:
			w.packets++
			w.bytes += t.sizes[frame]
		}
		frame++
	}
	return w
}

// retransmits counts what was sent again.
func (t *tap) retransmits() (n int) {
	for i := range t.events {
		if e := &t.events[i]; e.Kind == trace.SegmentSeen && e.Note&trace.Retransmission != 0 {
			n++
		}
	}
	return n
}
