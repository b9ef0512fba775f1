package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/pipeline"
	"finack/internal/sockview"
	"finack/raw"
	"finack/trace"
)

// recorder captures loopback and keeps the events of every connection.
type recorder struct {
	stop func() error // ends the recording

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when events come
	events  map[uint64][]trace.Event
}

// recording says what is recorded, and how.
type recording struct {
	iface    string            // "any": all
	filter   string            // in tcpdump's language
	whole    bool              // keep payload, too
	renderer pipeline.Renderer // also writes everything to out, as it comes; nil: nothing
	out      io.Writer
	writer   *capture.Writer // also takes every frame; nil: none does
}

// record starts a recorder of all that passes loopback.
func record(ctx context.Context) (*recorder, error) {
	return startRecording(ctx, &recording{iface: "lo"})
}

// startRecording starts a recorder.
func startRecording(ctx context.Context, what *recording) (*recorder, error) {
	cfg := capture.LiveConfig{Interface: what.iface, Filter: what.filter}
	if !what.whole {
		cfg.Snaplen = 256 // headers, also of what an ICMP message quotes
	}
	src, err := capture.OpenLive(&cfg)
	if err != nil {
		return nil, err
	}
	r := &recorder{changed: make(chan struct{}), events: map[uint64][]trace.Event{}}
	r.stop = follow(ctx, &pipeline.Config{
		Source: src, AllIfs: what.iface == "any", Events: r.add,
		Renderer: what.renderer, Out: what.out, Writer: what.writer,
	})
	return r, nil
}

// follow traces every packet of a live source, until stop, which closes it.
func follow(ctx context.Context, cfg *pipeline.Config) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	cfg.Live, cfg.Tracker = true, &trace.Config{All: true}
	done := make(chan error, 1)
	go func() {
		totals, err := pipeline.Run(ctx, *cfg)
		if err == nil && totals.Dropped > 0 {
			err = checkf("%d frames lost by the capture", totals.Dropped)
		}
		done <- err
	}()
	return func() error {
		cancel()
		return errors.Join(<-done, cfg.Source.Close())
	}
}

func (r *recorder) add(events []trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		e := &events[i]
		r.events[e.Conn] = append(r.events[e.Conn], *e)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// find returns the events of the last connection or flow whose client is there.
// The recorder must be locked.
func (r *recorder) find(client net.Addr) []trace.Event {
	c := endpoint(client)
	return r.last(func(e *trace.Event) bool { return e.Client == c })
}

// between is find for a server, too: a client's port may be used for several.
func (r *recorder) between(client, server net.Addr) []trace.Event {
	c, s := endpoint(client), endpoint(server)
	return r.last(func(e *trace.Event) bool { return e.Client == c && e.Server == s })
}

// last returns the events of the last connection or flow whose events match.
func (r *recorder) last(match func(*trace.Event) bool) (last []trace.Event) {
	for _, events := range r.events {
		if match(&events[0]) && (last == nil || events[0].Conn > last[0].Conn) {
			last = events
		}
	}
	return last
}

// endpoint is a socket's address as events have it, the zero one for none.
func endpoint(addr net.Addr) decode.Endpoint {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return decode.Endpoint{}
	}
	return decode.EndpointOf(ap)
}

// wait returns a connection's events once they hold as many of each kind as
// kinds has.
func (r *recorder) wait(ctx context.Context, client net.Addr, kinds ...trace.Kind) ([]trace.Event, error) {
	var events []trace.Event
	err := r.until(ctx, patience, "the end of "+client.String(), func() bool {
		events = append([]trace.Event(nil), r.find(client)...)
		return holds(events, kinds)
	})
	return events, err
}

// until waits until a condition holds, which is asked with the recorder locked
// whenever events have come.
func (r *recorder) until(ctx context.Context, limit time.Duration, what string, holds func() bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		done, changed := holds(), r.changed
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return checkf("the capture did not show %s in %v", what, limit)
		}
	}
}

func holds(events []trace.Event, kinds []trace.Kind) bool {
	need := map[trace.Kind]int{}
	for _, k := range kinds {
		need[k]++
	}
	for i := range events {
		need[events[i].Kind]--
	}
	for _, n := range need {
		if n > 0 {
			return false
		}
	}
	return true
}

// counter is a capturing socket that counts what it sees of each connection.
type counter struct {
	*sockview.Counter
	times int // how often it sees a packet on loopback
	why   string
}

// openCounters opens the capturing sockets that the demo compares.
func openCounters() ([]*counter, error) {
	list := []*counter{
		{times: 1, why: "once; on a real link inbound only"},
		{times: 1, why: "once; on a real link inbound only"},
		{times: 2, why: "twice: as sent and as received"},
	}
	for i, s := range []raw.Socket{
		{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_TCP},
		{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM, Protocol: raw.ETH_P_IP},
		{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW, Protocol: raw.ETH_P_ALL},
	} {
		c, err := sockview.NewCounter(s, capture.SocketConfig{Buffer: 1 << 20})
		if err != nil {
			for _, open := range list[:i] {
				_ = open.Close()
			}
			return nil, err
		}
		list[i].Counter = c
	}
	return list, nil
}

// of returns what was seen of a connection in both directions.
func (c *counter) of(a, b decode.Endpoint) (packets, bytes int) {
	there, back := c.Of(a, b)
	return there.Packets + back.Packets, there.Bytes + back.Bytes
}
