package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"finack/capture"
	"finack/decode"
	"finack/raw"
)

// Config says what a run sends and how long it listens.
type Config struct {
	Spec
	Count    int           // packets; less than 1: 1
	Interval time.Duration // from one packet to the next
	Timeout  time.Duration // how long the last one is waited for
	NoWait   bool          // send, and listen to nothing
}

// settle is how long is listened on for what follows the last answer: another
// answer, the kernel's RST.
const settle = 20 * time.Millisecond

// captureBuffer holds thousands of answers.
const captureBuffer = 2 << 20

// Prober has the sockets of a run.
type Prober struct {
	cfg  Config
	pair pairing
	conn *raw.Conn
	v4   *ipv4.RawConn // of conn, for IPv4
	live *capture.Live // nil: nobody listens
}

// Open opens the sockets of a run; they need CAP_NET_RAW. From then on nothing
// is missed. Nothing is sent before Run.
func Open(cfg *Config) (*Prober, error) {
	p := &Prober{cfg: *cfg}
	p.cfg.Count = max(1, cfg.Count)
	p.pair.spec = &p.cfg.Spec
	if _, err := p.cfg.Build(0); err != nil {
		return nil, err
	}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Prober) open() (err error) {
	domain := raw.AF_INET6
	if p.cfg.IP.Dst.Is4() {
		domain = raw.AF_INET
	}
	// IPPROTO_RAW sends whole packets of both versions and hears nothing.
	p.conn, err = raw.Open(raw.Socket{Domain: domain, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_RAW}, nil)
	if err != nil {
		return err
	}
	if domain == raw.AF_INET {
		if p.v4, err = p.conn.IPv4(); err != nil {
			return err
		}
	}
	if p.cfg.NoWait {
		return nil
	}
	p.live, err = capture.OpenLive(&capture.LiveConfig{Filter: p.cfg.filter(), Buffer: captureBuffer})
	return err
}

// filter lets our packets, their answers and ICMP errors pass.
func (s *Spec) filter() string {
	icmp, fragment := "icmp", "ip[6:2] & 0x3fff != 0"
	if s.IP.Dst.Is6() {
		icmp, fragment = "icmp6", "ip6 proto 44"
	}
	ends := fmt.Sprintf("host %v and host %v", s.IP.Src.WithZone(""), s.IP.Dst.WithZone(""))
	if port := s.dstPort(); port != 0 {
		ends += fmt.Sprintf(" and (port %d or (%s))", port, fragment)
	}
	return fmt.Sprintf("(%s) or %s", ends, icmp)
}

func (s *Spec) dstPort() uint16 {
	switch {
	case s.TCP != nil:
		return s.TCP.DstPort
	case s.UDP != nil:
		return s.UDP.DstPort
	default:
		return 0
	}
}

// Close closes the sockets and ends a Run under way.
func (p *Prober) Close() error {
	var errs []error
	if p.live != nil {
		errs = append(errs, p.live.Close())
	}
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

// Result is what came of a run.
type Result struct {
	Sent     int
	Answered int
	Unseen   int    // sent, but not seen on the wire: dropped on this host, or still waiting for a neighbour's address (ARP)
	Lost     uint64 // frames that the capture was too slow for
	Resets   int    // answers that this host's kernel reset
	RTT      Times
	Outcomes []Outcome // of the first answers, and of silence, the most frequent first
}

// Times are the round trips' least, median and greatest.
type Times struct{ Min, P50, Max time.Duration }

// Outcome counts the packets whose answer, or silence, means the same.
type Outcome struct {
	Text string
	N    int
}

// Run sends the packets and calls show with every packet of ours, and every
// answer, in the order in which they passed. It ends when all are answered,
// when the last one was waited for, or with ctx, which is no error. Run may be
// called once.
func (p *Prober) Run(ctx context.Context, show func(*Event) error) (*Result, error) {
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	r := &run{Prober: p, show: show, proved: map[int]string{}}
	var err error
	if p.live == nil {
		err = r.send(ctx)
	} else {
		err = r.exchange()
	}
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return r.result(), err
}

// run is what Run knows.
type run struct {
	*Prober
	show     func(*Event) error
	rtts     []time.Duration
	proved   map[int]string // by each packet's first answer
	last     time.Time      // when the last packet was sent, or the last answer came
	answered int
	resets   int
}

// send sends and does not listen.
func (r *run) send(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for len(r.pair.probes) < r.cfg.Count {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.one(); err != nil {
			return err
		}
		i := len(r.pair.probes) - 1
		pr := &r.pair.probes[i]
		e := r.pair.sent(i, Event{Packet: pr.packet})
		e.Packet.Time = pr.at
		if err := r.show(&e); err != nil {
			return err
		}
		tick.Reset(r.cfg.Interval)
	}
	return nil
}

// exchange sends and listens.
func (r *run) exchange() error {
	var (
		f    decode.Frame
		p    decode.Packet
		next = time.Now()
	)
	for {
		now := time.Now()
		until := next
		switch {
		case len(r.pair.probes) == r.cfg.Count:
			until = r.last.Add(r.cfg.Timeout)
			if r.answered == r.cfg.Count {
				until = r.last.Add(min(settle, r.cfg.Timeout))
			}
			// What came in time counts, however late this program is.
			if !now.Before(until) && (!r.live.Buffered() || f.Time.Time().After(until)) {
				return nil
			}
		case !now.Before(next):
			if err := r.one(); err != nil {
				return err
			}
			r.last = time.Now()
			next = now.Add(r.cfg.Interval)
			continue
		}
		if err := r.live.SetReadDeadline(until); err != nil {
			return err
		}
		err := r.live.ReadFrame(&f)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		if err := r.pair.dec.Decode(&f, &p); err != nil && p.Version == 0 {
			continue
		}
		if err := r.frame(&p); err != nil {
			return err
		}
	}
}

// frame shows what a captured packet is.
func (r *run) frame(p *decode.Packet) error {
	e, ok := r.pair.see(p)
	if !ok {
		return nil
	}
	if e.Kind == KernelReset {
		r.resets++
	}
	if e.Kind == Answer && !e.Again && r.pair.probes[e.N-1].answered {
		r.answered++
		r.rtts = append(r.rtts, e.RTT)
		r.proved[e.N] = e.Proves
		if r.answered == r.cfg.Count {
			r.last = time.Now()
		}
	}
	return r.show(&e)
}

// one sends the next packet.
func (r *run) one() error {
	fragments, err := r.cfg.Build(len(r.pair.probes))
	if err != nil {
		return err
	}
	r.pair.add(fragments, time.Now())
	for _, b := range fragments {
		if err := r.write(b); err != nil {
			r.pair.probes = r.pair.probes[:len(r.pair.probes)-1]
			return err
		}
	}
	return nil
}

// What the kernel refuses to send.
var (
	ErrBroadcast = errors.New("a broadcast address: nothing is sent there")
	ErrMTU       = errors.New("larger than the interface's MTU: --fragment cuts it")
)

// write gives a packet to the kernel.
func (r *run) write(b []byte) error {
	dst := r.cfg.IP.Dst
	var err error
	if r.v4 != nil {
		var h *ipv4.Header
		if h, err = ipv4.ParseHeader(b); err != nil {
			return err
		}
		err = r.v4.WriteTo(h, b[h.Len:], nil)
	} else {
		_, err = r.conn.WriteTo(b, &net.IPAddr{IP: dst.AsSlice(), Zone: dst.Zone()})
	}
	switch {
	case errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("send %d bytes to %v: %w", len(b), dst, ErrMTU)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("send to %v: %w", dst, ErrBroadcast)
	}
	return err
}

// result sums up.
func (r *run) result() *Result {
	res := &Result{Sent: len(r.pair.probes), Answered: r.answered, Resets: r.resets}
	if r.live != nil {
		if st, err := r.live.Stats(); err == nil {
			res.Lost = st.Dropped
		}
	}
	if n := len(r.rtts); n > 0 {
		slices.Sort(r.rtts)
		res.RTT = Times{r.rtts[0], r.rtts[(n-1)/2], r.rtts[n-1]}
	}
	now := time.Now()
	order := map[string]int{}
	for i := range r.pair.probes {
		pr := &r.pair.probes[i]
		if !pr.seen {
			res.Unseen++
		}
		text := r.proved[i+1]
		if !pr.answered {
			if r.live == nil || now.Sub(pr.given) < r.cfg.Timeout {
				continue // it was not waited for
			}
			text = r.cfg.silence(r.cfg.Timeout)
		}
		if text == "" {
			continue
		}
		at, ok := order[text]
		if !ok {
			at = len(res.Outcomes)
			order[text] = at
			res.Outcomes = append(res.Outcomes, Outcome{Text: text})
		}
		res.Outcomes[at].N++
	}
	slices.SortStableFunc(res.Outcomes, func(a, b Outcome) int { return cmp.Compare(b.N, a.N) })
	return res
}
