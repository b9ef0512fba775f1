package lab

import (
	"context"
	"errors"
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
	src    *capture.Live
	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when events come
	events  map[uint64][]trace.Event
}

// record starts a recorder.
func record(ctx context.Context) (*recorder, error) {
	src, err := capture.OpenLive(&capture.LiveConfig{Interface: "lo", Buffer: 4 << 20})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &recorder{
		src: src, cancel: cancel, done: make(chan error, 1),
		changed: make(chan struct{}), events: map[uint64][]trace.Event{},
	}
	go func() {
		totals, err := pipeline.Run(ctx, pipeline.Config{
			Source: src, Live: true, Tracker: &trace.Config{All: true}, Events: r.add,
		})
		if err == nil && totals.Dropped > 0 {
			err = checkf("%d frames lost by the capture", totals.Dropped)
		}
		r.done <- err
	}()
	return r, nil
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

// find returns the events of the connection or flow whose client is there.
func (r *recorder) find(client net.Addr) []trace.Event {
	ap, err := netip.ParseAddrPort(client.String())
	if err != nil {
		return nil
	}
	want := decode.EndpointOf(ap)
	var last []trace.Event
	for _, events := range r.events {
		if events[0].Client == want && (last == nil || events[0].Conn > last[0].Conn) {
			last = events
		}
	}
	return last
}

// wait returns a connection's events once they hold as many of each kind as
// kinds has.
func (r *recorder) wait(ctx context.Context, client net.Addr, kinds ...trace.Kind) ([]trace.Event, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		events, changed := append([]trace.Event(nil), r.find(client)...), r.changed
		r.mu.Unlock()
		if holds(events, kinds) {
			return events, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timeout.C:
			return nil, checkf("the capture did not show the end of %s in %v", client, patience)
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

// stop ends the recording.
func (r *recorder) stop() error {
	r.cancel()
	return errors.Join(<-r.done, r.src.Close())
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
