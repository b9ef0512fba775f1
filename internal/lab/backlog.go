package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"finack/decode"
	"finack/internal/kernel"
	"finack/internal/render"
	"finack/raw"
	"finack/trace"
)

const (
	// beyond is how many clients connect to a listener whose queue is full.
	beyond = 4
	// retryPatience is for a SYN to be sent again: after 1 s, then after 2 s, 4 s at the latest.
	retryPatience = 10 * time.Second
	// glance is the time between two looks at what the kernel gives no event for.
	glance = time.Millisecond
)

// backlogResult is what became of the clients of a listener that does not accept.
type backlogResult struct {
	Type        string  `json:"type"`
	Backlog     int     `json:"backlog"`         // as listen(2) was given it
	Limit       int     `json:"limit"`           // the one in force
	Queue       int     `json:"accept_queue"`    // connections in the queue, as the kernel says
	Established int     `json:"established"`     // clients that are connected
	Waiting     int     `json:"syn_sent"`        // clients that are not
	Again       int     `json:"syn_retransmits"` // on the wire, until the last client had got in
	Dropped     int     `json:"syn_drops"`       // SYNs, as the listening socket counts them
	Waited      float64 `json:"then_in_after"`   // seconds from the last client's SYN to the one that was answered
}

// backlogTotals is what the kernel's counters say of all that.
type backlogTotals struct {
	Type      string `json:"type"`
	Somaxconn int    `json:"somaxconn"`
	Overflows int64  `json:"listen_overflows"`
	Drops     int64  `json:"listen_drops"`
}

// full is a listener, and the clients that connect to it.
type full struct {
	backlogResult
	listener *raw.Conn
	accepted *raw.Conn
	clients  []*raw.Conn // in their order; those that wait are the last
	results  chan error  // of each client's Connect, when it ends
}

// backlog is one run of Backlog.
type backlog struct {
	ctx       context.Context
	rec       *recorder
	somaxconn int
	full      []*full
}

// Backlog shows what listen(2) does with its backlog: for each one, more clients
// connect to a listener that does not accept than fit its queue. When all those
// that wait have sent their SYN again, one connection is accepted, and the one
// that waits on gets in. It must run in a private network, whose counters it
// compares with what it sees. An error that is a *CheckError means that the
// kernel did something else than min(backlog, somaxconn)+1.
func Backlog(ctx context.Context, w io.Writer, backlogs []int, cfg *Config) (err error) {
	if cfg == nil {
		cfg = &Config{}
	}
	b := &backlog{ctx: ctx}
	if b.somaxconn, err = somaxconn(); err != nil {
		return err
	}
	if b.rec, err = record(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rec.stop(), b.close()) }()
	before, err := kernel.ReadCounters()
	if err != nil {
		return err
	}
	for _, n := range backlogs {
		if err := b.fill(n); err != nil {
			return err
		}
	}
	if err := b.waitForRetries(); err != nil {
		return err
	}
	events, err := b.letOneIn()
	if err != nil {
		return err
	}
	totals, err := b.count(before)
	if err != nil {
		return err
	}
	if cfg.JSON {
		return b.writeJSON(w, totals)
	}
	return b.writeText(w, totals, events, cfg)
}

// somaxconn is the most that a backlog can be here, or what -1 comes to on
// kernels that do not show that in a private network.
func somaxconn() (int, error) {
	const name = "/proc/sys/net/core/somaxconn"
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		f := &full{}
		if err := f.listen(-1); err != nil {
			return 0, errors.Join(err, f.close())
		}
		l, err := f.ask()
		return l.Limit, errors.Join(err, f.close())
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// listen opens the listener.
func (f *full) listen(backlog int) (err error) {
	if f.listener, err = openStream(); err != nil {
		return err
	}
	if err := f.listener.Bind(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return err
	}
	return f.listener.Listen(backlog)
}

func openStream() (*raw.Conn, error) {
	return raw.Open(raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_STREAM, Protocol: raw.IPPROTO_TCP}, nil)
}

// ask asks the kernel for the listener.
func (f *full) ask() (kernel.Listener, error) {
	rc, err := f.listener.SyscallConn()
	if err != nil {
		return kernel.Listener{}, err
	}
	return kernel.ListenerOf(rc)
}

// fill has clients connect to a new listener, beyond more than should fit.
func (b *backlog) fill(n int) error {
	f := &full{backlogResult: backlogResult{Type: "backlog", Backlog: n}}
	b.full = append(b.full, f)
	if err := f.listen(n); err != nil {
		return err
	}
	limit := min(n, b.somaxconn)
	if n < 0 {
		limit = b.somaxconn // listen(2) takes it for unsigned
	}
	clients := limit + 1 + beyond
	f.results = make(chan error, clients)
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	for range clients {
		if err := f.connect(b.ctx, ticks.C); err != nil {
			return err
		}
	}
	l, err := f.ask()
	if err != nil {
		return err
	}
	f.Queue, f.Limit, f.Waiting = l.Queue, l.Limit, clients-f.Established
	if f.Limit != limit || f.Established != limit+1 || f.Queue != limit+1 {
		return checkf("backlog %d with somaxconn %d: limit %d, %d connections in the queue, %d clients connected; want %d, %d, %d",
			n, b.somaxconn, f.Limit, f.Queue, f.Established, limit, limit+1, limit+1)
	}
	return nil
}

// connect has one more client connect, until it is connected and in the queue or
// its SYN was dropped. Once one has been, all are.
func (f *full) connect(ctx context.Context, ticks <-chan time.Time) error {
	c, err := openStream()
	if errors.Is(err, syscall.EMFILE) {
		err = fmt.Errorf("backlog %d: %w: raise the limit with ulimit -n", f.Backlog, err)
	}
	if err != nil {
		return err
	}
	f.clients = append(f.clients, c)
	addr := f.listener.LocalAddr()
	go func() { f.results <- c.Connect(addr) }()

	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for connected := false; ; {
		l, err := f.ask()
		switch {
		case err != nil:
			return err
		case connected && l.Queue == f.Established: // the last ACK has arrived, too
			return nil
		case int(l.Drops) > f.Dropped:
			f.Dropped = int(l.Drops)
			return nil
		}
		select {
		case err := <-f.results:
			if err != nil {
				return err
			}
			connected = true
			f.Established++
		case <-ticks:
		case <-timeout.C:
			return checkf("backlog %d: client %d was neither in the queue nor its SYN dropped in %v", f.Backlog, len(f.clients), patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitForRetries waits until every client that waits has sent its SYN again.
func (b *backlog) waitForRetries() error {
	for _, f := range b.full {
		server := f.server()
		err := b.rec.until(b.ctx, retryPatience, "the SYNs of the waiting clients again", func() bool {
			n := 0
			for _, events := range b.rec.events {
				if _, again := countSYNs(events); again > 0 && events[0].Server == server {
					n++
				}
			}
			return n == f.Waiting
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// letOneIn accepts one connection of each listener, and waits until the last
// client is connected. The others that wait give up before that: all their SYNs
// come at once, and several are answered before the first handshake is complete.
// It returns the events of the first listener's last client.
func (b *backlog) letOneIn() (first []trace.Event, err error) {
	for _, f := range b.full {
		last := len(f.clients) - 1
		for _, c := range f.clients[f.Established:last] {
			if err := c.Close(); err != nil {
				return nil, err
			}
			if err := <-f.results; !errors.Is(err, net.ErrClosed) {
				return nil, checkf("backlog %d: a client that should have waited: %v", f.Backlog, err)
			}
		}
		if err := f.listener.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		if f.accepted, err = f.listener.Accept(); err != nil {
			return nil, err
		}
	}
	timeout := time.NewTimer(retryPatience)
	defer timeout.Stop()
	for i, f := range b.full {
		select {
		case err := <-f.results:
			if err != nil {
				return nil, err
			}
		case <-timeout.C:
			return nil, checkf("backlog %d: the waiting client did not get in within %v after accept", f.Backlog, retryPatience)
		case <-b.ctx.Done():
			return nil, b.ctx.Err()
		}
		err := await(b.ctx, patience, func() error {
			l, err := f.ask()
			if err == nil && l.Queue != f.Queue {
				err = checkf("backlog %d: %d connections in the queue after one was accepted and one came; want %d", f.Backlog, l.Queue, f.Queue)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		var events []trace.Event
		err = b.rec.until(b.ctx, patience, "the waiting client's handshake", func() bool {
			events = append([]trace.Event(nil), b.rec.between(f.clients[len(f.clients)-1].LocalAddr(), f.listener.LocalAddr())...)
			return len(events) > 0 && events[len(events)-1].States[trace.Server] == trace.Established
		})
		if err != nil {
			return nil, err
		}
		f.Waited = lastSYN(events).Seconds()
		if i == 0 {
			first = events
		}
	}
	return first, nil
}

func (f *full) server() decode.Endpoint { return endpoint(f.listener.LocalAddr()) }

// isSYN reports whether an event is a SYN that opens a connection, or one again.
func isSYN(e *trace.Event) bool {
	return e.Kind == trace.SegmentSeen && e.From == trace.Client && e.Flags.Has(decode.SYN) && !e.Flags.Has(decode.ACK)
}

// lastSYN is how long after its first packet a connection's last SYN was sent.
func lastSYN(events []trace.Event) (after time.Duration) {
	for i := range events {
		if e := &events[i]; isSYN(e) {
			after = e.Time.Sub(e.Start)
		}
	}
	return after
}

// countSYNs counts the SYNs of a connection's client.
func countSYNs(events []trace.Event) (first, again int) {
	for i := range events {
		switch e := &events[i]; {
		case !isSYN(e):
		case e.Note&trace.Retransmission != 0:
			again++
		default:
			first++
		}
	}
	return first, again
}

// countSYNs counts the SYNs to a server.
func (r *recorder) countSYNs(server decode.Endpoint) (first, again int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, events := range r.events {
		if events[0].Server == server {
			f, a := countSYNs(events)
			first, again = first+f, again+a
		}
	}
	return first, again
}

// count compares what the wire, the listeners and the kernel's counters say of
// the dropped SYNs. One may have been under way, or not yet be captured.
func (b *backlog) count(before kernel.Counters) (backlogTotals, error) {
	totals := backlogTotals{Type: "backlog_counters", Somaxconn: b.somaxconn}
	err := await(b.ctx, patience, func() error {
		dropped, wire := 0, 0
		for _, f := range b.full {
			l, err := f.ask()
			if err != nil {
				return err
			}
			first, again := b.rec.countSYNs(f.server())
			f.Dropped, f.Again = int(l.Drops), again
			dropped += f.Dropped
			wire += first + again - f.Established - 1 // each of these was answered
		}
		after, err := kernel.ReadCounters()
		if err != nil {
			return err
		}
		totals.Overflows = after["TcpExtListenOverflows"] - before["TcpExtListenOverflows"]
		totals.Drops = after["TcpExtListenDrops"] - before["TcpExtListenDrops"]
		if wire != dropped || totals.Overflows != int64(dropped) || totals.Drops != int64(dropped) {
			return checkf("dropped SYNs: %d on the wire, the listeners count %d, ListenOverflows %d, ListenDrops %d",
				wire, dropped, totals.Overflows, totals.Drops)
		}
		return nil
	})
	return totals, err
}

// await looks again and again until a check no longer fails, and returns its
// error if it goes on failing. It is for what the kernel gives no event for.
func await(ctx context.Context, limit time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; {
		err := check()
		if failed := (*CheckError)(nil); !errors.As(err, &failed) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *backlog) writeJSON(w io.Writer, totals backlogTotals) error {
	enc := json.NewEncoder(w)
	for _, f := range b.full {
		if err := enc.Encode(f.backlogResult); err != nil {
			return err
		}
	}
	return enc.Encode(totals)
}

func (b *backlog) writeText(w io.Writer, totals backlogTotals, events []trace.Event, cfg *Config) error {
	buf := fmt.Appendf(nil, `Listeners that do not accept, each with %d clients more than fit. Each of these
sends its SYN again; all but one give up; then one connection is accepted.

 listen(backlog)  limit  accept  clients      clients   SYNs   SYNs     last one
                         queue   ESTABLISHED  SYN_SENT  again  dropped  in after
`, beyond)
	for _, f := range b.full {
		buf = fmt.Appendf(buf, " %15d  %5d  %6d  %11d  %8d  %5d  %7d  %5.2f s\n",
			f.Backlog, f.Limit, f.Queue, f.Established, f.Waiting, f.Again, f.Dropped, f.Waited)
	}
	buf = fmt.Appendf(buf, `
net.core.somaxconn is %d. The kernel's counters agree: ListenOverflows +%d,
ListenDrops +%d.

`, b.somaxconn, totals.Overflows, totals.Drops)
	text := render.Text{Color: cfg.Color}
	buf = text.AppendLadder(buf, "The last", events)
	buf = append(buf, `
"Linux ignores the backlog" is wrong: it connects min(backlog, somaxconn) + 1
clients that the program has not accepted, and -1 means somaxconn. Then it drops
SYNs without an answer: in SYN_SENT, the client sends it again, first after 1 s.
`...)
	_, err := w.Write(buf)
	return err
}

// close closes all sockets.
func (b *backlog) close() error {
	var errs []error
	for _, f := range b.full {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func (f *full) close() error {
	var errs []error
	for _, c := range append(f.clients, f.accepted, f.listener) {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
