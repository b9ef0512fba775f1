package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"finack/internal/echo"
	"finack/trace"
)

// CompareConfig says what Compare measures.
type CompareConfig struct {
	Config

	Size       int      // bytes in a message
	Count      int      // messages for each transport and number of connections
	Conns      []int    // connections at once, one measurement for each
	Transports []string // of Transports; nil: all
	Chart      bool     // also draw how the round trips are distributed

	// Serve starts an echo server for the URLs, best in a process of its own,
	// as servers are. It returns where each can be reached, and what stops it.
	Serve func(ctx context.Context, urls []string) (bound []string, stop func() error, err error)

	// Private says that this is a private network, where wires can be laid:
	// without, nothing is said of packets and of loss.
	Private bool

	// Progress is told how much of all is done; nil: nobody is.
	Progress func(done, total int)
}

// Transports are the names that Compare knows, in the order that it shows them.
func Transports() []string {
	var names []string
	for _, t := range transports() {
		names = append(names, t.name)
	}
	return names
}

// kind is a transport to compare.
type kind struct {
	name, title string
	network     string // package net's
	file        string // of a Unix socket, in the comparison's directory
}

func transports() []kind {
	return []kind{
		{"tcp", "TCP", "tcp4", ""},
		{"udp", "UDP", "udp4", ""},
		{"unix", "Unix stream", "unix", "stream"},
		{"unixgram", "Unix datagram", "unixgram", "datagram"},
		{"unixpacket", "Unix seqpacket", "unixpacket", "seqpacket"},
	}
}

const (
	// The transports take turns, in so many rounds: what else the machine does
	// meets them alike.
	compareRounds = 5

	// A lost datagram's answer is waited for so long; what is not lost comes in
	// a few milliseconds at most. Nothing else is lost.
	datagramTimeout = 250 * time.Millisecond
	compareTimeout  = 10 * time.Second

	// One-shot conversations are a fraction of the messages, within limits.
	oneShotPart, oneShotLeast, oneShotMost = 20, 10, 500
)

// comparison is one run of Compare.
type comparison struct {
	CompareConfig
	kinds       []kind
	dir         string // of Unix sockets
	done, total int

	latencies []*latency
	facts     []*facts
	losses    []*loss
}

// Compare has messages echoed over each transport and shows side by side how
// long they took, what they cost on the wire and what becomes of them where
// frames are lost. What was measured before ctx ended is shown. An error that
// is a *CheckError means that bytes were wrong, or that a stream lost some.
func Compare(ctx context.Context, w io.Writer, cfg *CompareConfig) error {
	c := &comparison{CompareConfig: *cfg}
	for _, t := range transports() {
		if len(c.Transports) == 0 || slices.Contains(c.Transports, t.name) {
			c.kinds = append(c.kinds, t)
		}
	}
	c.total = (len(c.Conns)*compareRounds + 1) * len(c.kinds)
	if c.Private {
		c.total += 2 * c.onWire()
	}
	err := withTempDir(func(dir string) error {
		c.dir = dir
		return c.run(ctx)
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	if werr := c.show(w, ctx.Err() != nil); werr != nil {
		return werr
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.check()
}

// timeout is how long an answer may take.
func (k kind) timeout() time.Duration {
	if k.name == "udp" {
		return datagramTimeout
	}
	return compareTimeout
}

// onWire is how many of the transports send packets.
func (c *comparison) onWire() (n int) {
	for _, k := range c.kinds {
		if k.file == "" {
			n++
		}
	}
	return n
}

func (c *comparison) run(ctx context.Context) (err error) {
	urls := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		urls[i] = k.network + "://127.0.0.1:0"
		if k.file != "" {
			urls[i] = k.network + "://" + c.dir + "/" + k.file
		}
	}
	bound, stop, err := c.Serve(ctx, urls)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	eps := make([]echo.Endpoint, len(bound))
	for i, url := range bound {
		if eps[i], err = echo.ParseEndpoint(url); err != nil {
			return err
		}
	}
	for _, conns := range c.Conns {
		if err := c.loads(ctx, eps, conns); err != nil {
			return err
		}
	}
	for i, k := range c.kinds {
		f, err := c.fact(ctx, k, eps[i])
		if err != nil {
			return fmt.Errorf("%s: %w", k.title, err)
		}
		c.facts = append(c.facts, f)
		c.step()
	}
	if !c.Private || c.onWire() == 0 {
		return nil
	}
	if err := c.cleanWire(ctx); err != nil {
		return err
	}
	return c.lossyWire(ctx)
}

// step tells of the progress.
func (c *comparison) step() {
	c.done++
	if c.Progress != nil {
		c.Progress(c.done, c.total)
	}
}

// latency is what a number of connections of one transport did.
type latency struct {
	kind  kind
	conns int
	res   echo.LoadResult
	err   error // why it could not be measured, as EMSGSIZE
}

// loads measures every transport with conns connections, in turns.
func (c *comparison) loads(ctx context.Context, eps []echo.Endpoint, conns int) error {
	all := make([]*latency, len(c.kinds))
	for i, k := range c.kinds {
		all[i] = &latency{kind: k, conns: conns}
	}
	c.latencies = append(c.latencies, all...)
	for round := range compareRounds {
		n := c.Count / compareRounds
		if round < c.Count%compareRounds {
			n++
		}
		for i, l := range all {
			if l.err == nil {
				res, err := echo.Load(ctx, eps[i], &echo.LoadConfig{Conns: conns, Count: n, Size: c.Size, Timeout: l.kind.timeout()})
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil && !errors.Is(err, syscall.EMSGSIZE) {
					return err
				}
				l.err = err
				l.add(&res)
			}
			c.step()
		}
	}
	return nil
}

// add adds a round.
func (l *latency) add(r *echo.LoadResult) {
	l.res.Sent += r.Sent
	l.res.Received += r.Received
	l.res.Lost += r.Lost
	l.res.Late += r.Late
	l.res.Duplicates += r.Duplicates
	l.res.Wrong += r.Wrong
	l.res.RTT.Merge(&r.RTT)
	l.res.Elapsed += r.Elapsed
}

// perSecond is the rate of answered messages.
func (l *latency) perSecond() float64 {
	if l.res.Elapsed <= 0 {
		return 0
	}
	return float64(l.res.Received) / l.res.Elapsed.Seconds()
}

// facts is what is true of a transport whatever the number of connections.
type facts struct {
	kind       kind
	oneShot    trace.Distribution // to connect, have one message answered and close
	boundaries string
	largest    int // bytes of a message; 0: a stream has no messages
	end        echo.End
	tooLong    bool // Size is more than largest

	oneShotsLost int // not answered, and no part of oneShot

	wire *wireCost // nil: not looked at, or there is nothing on the wire
}

func (c *comparison) fact(ctx context.Context, k kind, ep echo.Endpoint) (*facts, error) {
	f := &facts{kind: k}
	if err := f.learnMessages(ctx, c.dir); err != nil {
		return nil, err
	}
	f.tooLong = f.largest > 0 && c.Size > f.largest
	if f.tooLong {
		return f, nil
	}
	n := min(max(oneShotLeast, c.Count/oneShotPart), oneShotMost)
	cfg := &echo.ClientConfig{Size: c.Size, Timeout: k.timeout()}
	var err error
	if f.oneShot, f.oneShotsLost, err = echo.OneShots(ctx, ep, n, cfg); err != nil {
		return nil, err
	}
	res, err := echo.Send(ctx, ep, cfg, nil)
	f.end = res.End
	return f, err
}

// learnMessages finds out whether messages are kept apart, and how long one may be.
func (f *facts) learnMessages(ctx context.Context, dir string) error {
	var err error
	switch f.kind.network {
	case "tcp4":
		f.boundaries, err = streamBoundaries(ctx, "tcp4", "127.0.0.1:0")
		return err
	case "unix":
		f.boundaries, err = streamBoundaries(ctx, "unix", dir+"/bounds")
		return err
	}
	client, server, err := messagePair(ctx, f.kind.network, dir)
	if err != nil {
		return err
	}
	defer client.Close()
	defer server.Close()
	if f.boundaries, err = boundaries(client, server); err != nil {
		return err
	}
	if _, err := server.Read(make([]byte, 64)); err != nil { // the second message
		return err
	}
	f.largest, err = largestMessage(client, server)
	return err
}

// messagePair returns two sockets of a transport with messages, the first
// connected to the second.
func messagePair(ctx context.Context, network, dir string) (client, server net.Conn, err error) {
	switch network {
	case "udp4":
		server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	case "unixgram":
		server, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: dir + "/" + network})
	default:
		return connectedPair(ctx, network, dir+"/"+network)
	}
	if err != nil {
		return nil, nil, err
	}
	client, err = net.Dial(network, server.LocalAddr().String())
	if err != nil {
		server.Close()
	}
	return client, server, err
}

// largestMessage finds the longest message that can be sent: longer ones give EMSGSIZE.
func largestMessage(client, server net.Conn) (int, error) {
	buf := make([]byte, 1<<24)
	most, least := len(buf), 0 // what cannot be sent, what can be
	for most-least > 1 {
		n := (most + least) / 2
		_, err := client.Write(buf[:n])
		switch {
		case err == nil:
			least = n
			if err := server.SetReadDeadline(time.Now().Add(patience)); err != nil {
				return 0, err
			}
			if _, err := server.Read(buf); err != nil {
				return 0, err
			}
		case errors.Is(err, syscall.EMSGSIZE):
			most = n
		default:
			return 0, err
		}
	}
	return least, nil
}

// check says what must not be, whatever the speed.
func (c *comparison) check() error {
	for _, l := range c.latencies {
		if l.res.Wrong > 0 {
			return checkf("%s: %d answers were not what was sent", l.kind.title, l.res.Wrong)
		}
		if l.res.Lost > 0 && l.kind.name != "udp" {
			return checkf("%s: %d messages were not answered", l.kind.title, l.res.Lost)
		}
	}
	for _, f := range c.facts {
		if w := f.wire; w != nil && f.kind.name == "tcp" && (w.handshake != 3 || w.teardown < 3) {
			return checkf("TCP: %d segments of handshake and %d of teardown, want 3 and 3 or 4", w.handshake, w.teardown)
		}
	}
	for _, l := range c.losses {
		if l.wrong > 0 {
			return checkf("%s through loss: %d answers were not what was sent", l.kind.title, l.wrong)
		}
		if l.kind.name == "tcp" && l.missing+l.duplicates+l.outOfOrder > 0 {
			return checkf("TCP through loss: %d messages missing, %d twice, %d out of order", l.missing, l.duplicates, l.outOfOrder)
		}
	}
	return nil
}
