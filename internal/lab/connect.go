package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"finack/decode"
	"finack/internal/byhand"
	"finack/internal/echo"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/internal/render"
	"finack/raw"
	"finack/trace"
)

// ConnectConfig says what Connect connects to, and how.
type ConnectConfig struct {
	Config

	// Remote is the listener. The zero value has Connect serve echo itself, on
	// loopback, in a private network.
	Remote netip.AddrPort
	// Elsewhere says that Remote is no address of this host.
	Elsewhere bool
	// ByHand has every segment made here and sent through a raw socket, from
	// Source, which must not be the kernel's. It is routed to loopback meanwhile,
	// or, Elsewhere, must have been routed to this host. Otherwise a stream
	// socket connects.
	ByHand bool
	Source netip.Addr

	Message    []byte
	PeerCloses bool // wait for the peer's FIN before we close; a server of our own closes first
}

const (
	// connectTime is how long a peer may take for each answer.
	connectTime = 10 * time.Second
	// connectTries are the retransmissions by hand: 11 s in all.
	connectTries = 5
	// farewell is how long TIME_WAIT is kept for a peer that nobody can ask
	// whether it is gone.
	farewell = 10 * time.Second
	// laterClose is what makes a close one of four steps: Linux acknowledges
	// the FIN alone within 40 ms.
	laterClose = 80 * time.Millisecond

	explainColumn = 11
	lineWidth     = 80
)

// connection is one run of Connect.
type connection struct {
	cfg   ConnectConfig
	ctx   context.Context
	text  render.Text
	local net.Addr
	said  map[saying][]string // what the client by hand says of each segment
	table string              // what the kernel's table says
}

// saying names a segment for what is said of it; one that came again is
// another of the same name.
type saying struct {
	sent     bool
	seq, ack uint32
	flags    decode.Flags
	payload  int
}

// Connect connects to a listener, has a message echoed and closes, and shows
// each segment with the states that it proves for both ends, as a capture
// beside it saw it; by hand also why each was sent, or what came of it. An
// error that is a *CheckError means that the peer did something else than echo
// and close, or that something of it is left.
func Connect(ctx context.Context, w io.Writer, cfg *ConnectConfig) (err error) {
	c := &connection{cfg: *cfg, ctx: ctx, said: map[saying][]string{}}
	c.text.Color = cfg.Color
	own := !cfg.Remote.IsValid()
	if own {
		stop, err := c.serve()
		if err != nil {
			return err
		}
		defer func() { _ = stop() }() // what it says is shown
	}
	if cfg.ByHand && !cfg.Elsewhere {
		unroute, rerr := privnet.RouteAddress(cfg.Source)
		if rerr != nil {
			return rerr
		}
		defer func() { err = errors.Join(err, unroute()) }()
	}
	what := &recording{iface: "lo", filter: fmt.Sprintf("tcp and host %v and port %d", c.cfg.Remote.Addr(), c.cfg.Remote.Port())}
	if cfg.Elsewhere {
		what.iface = "any"
	}
	if cfg.JSON {
		what.renderer, what.out = &render.JSON{}, w
	}
	rec, err := startRecording(ctx, what)
	if err != nil {
		return err
	}
	if cfg.ByHand {
		err = c.byHand()
	} else {
		err = c.stream()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	err = errors.Join(err, rec.stop())
	if c.local == nil {
		return err
	}
	events := rec.between(c.local, net.TCPAddrFromAddrPort(c.cfg.Remote))
	if !cfg.JSON {
		if werr := c.show(w, events); err == nil {
			err = werr
		}
	}
	if err == nil && own {
		err = c.check(verdict(events))
	}
	return err
}

// serve starts an echo server of our own.
func (c *connection) serve() (stop func() error, err error) {
	c.cfg.Remote = netip.MustParseAddrPort(echoPort)
	srv := &echo.ServerConfig{CloseDelay: laterClose}
	if c.cfg.PeerCloses {
		srv = &echo.ServerConfig{CloseAfter: int64(len(c.cfg.Message))}
	}
	return serve(c.ctx, srv, "tcp4://"+echoPort)
}

// half is a stream whose directions close on their own.
type half interface {
	net.Conn
	CloseWrite() error
}

// byHand connects by hand.
func (c *connection) byHand() (err error) {
	iface := "lo"
	if c.cfg.Elsewhere {
		iface = ""
	}
	h, err := byhand.Listen(&byhand.HostConfig{
		Addr: c.cfg.Source, Interface: iface,
		Conn: byhand.MachineConfig{Tries: connectTries}, CloseTimeout: connectTime, OnStep: c.step,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	conn, err := h.Conn(c.cfg.Remote, nil)
	if err != nil {
		return err
	}
	c.local = conn.LocalAddr()
	stop := context.AfterFunc(c.ctx, func() { _ = conn.Abort() }) // so that nothing stays with the peer
	defer stop()
	if err := conn.Connect(c.ctx); err != nil {
		return err
	}
	if err := c.talk(conn); err != nil {
		return errors.Join(err, conn.Abort()) // of a connection that is over, nothing
	}
	if c.cfg.Elsewhere {
		// A FIN that comes again must be answered, and nobody says whether one will.
		ctx, cancel := context.WithTimeout(c.ctx, farewell)
		defer cancel()
		if err := h.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	}
	return c.peerGone()
}

// step keeps what the client by hand says of a segment.
func (c *connection) step(_ *byhand.Conn, s *byhand.Step) {
	key := saying{s.Sent, s.Seq, 0, s.Flags, len(s.Payload)}
	if s.Flags.Has(decode.ACK) {
		key.ack = s.Ack
	}
	c.said[key] = append(c.said[key], s.Explain())
}

// stream connects with a stream socket: the kernel does the rest.
func (c *connection) stream() error {
	domain := raw.AF_INET
	if !c.cfg.Remote.Addr().Is4() {
		domain = raw.AF_INET6
	}
	conn, err := raw.Open(raw.Socket{Domain: domain, Type: raw.SOCK_STREAM, Protocol: raw.IPPROTO_TCP}, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return err
	}
	stop := context.AfterFunc(c.ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	err = conn.Connect(net.TCPAddrFromAddrPort(c.cfg.Remote))
	c.local = conn.LocalAddr()
	if err != nil {
		return err
	}
	if err := c.talk(rawStream{conn}); err != nil || c.cfg.Elsewhere {
		return err
	}
	return c.peerGone()
}

// rawStream closes the writing direction of a stream socket.
type rawStream struct{ *raw.Conn }

func (s rawStream) CloseWrite() error { return s.Shutdown(raw.SHUT_WR) }

// talk has the message echoed and closes.
func (c *connection) talk(conn half) error {
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return err
	}
	stop := context.AfterFunc(c.ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	var written error
	var writing sync.WaitGroup
	writing.Go(func() { _, written = conn.Write(c.cfg.Message) })
	got := make([]byte, len(c.cfg.Message))
	_, err := io.ReadFull(conn, got)
	if err != nil { // the writer may wait for a window that never opens
		_ = conn.SetDeadline(time.Now())
	}
	writing.Wait()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return checkf("%v closed before it had echoed %d bytes", c.cfg.Remote, len(got))
	case err != nil:
		return err
	case written != nil:
		return written
	case !bytes.Equal(got, c.cfg.Message):
		return checkf("what came back from %v is not what was sent", c.cfg.Remote)
	}
	if !c.cfg.PeerCloses {
		if err := conn.CloseWrite(); err != nil {
			return err
		}
	}
	switch n, err := conn.Read(make([]byte, 1)); {
	case n > 0:
		return checkf("%v sent more than the echo", c.cfg.Remote)
	case err != io.EOF:
		return fmt.Errorf("wait for the peer's FIN: %w", err)
	}
	return conn.Close()
}

// peerGone waits until the kernel has nothing left of the peer but TIME_WAIT,
// and says so.
func (c *connection) peerGone() error {
	ours := netip.MustParseAddrPort(c.local.String())
	for deadline := time.Now().Add(connectTime); ; {
		list, err := kernel.Sockets()
		if err != nil {
			return err
		}
		state, listening := trace.Closed, false
		for _, s := range list {
			if s.Local.Port() != c.cfg.Remote.Port() {
				continue
			}
			if s.Remote == ours {
				state = s.State
			}
			listening = listening || s.State == trace.Listen
		}
		c.table = "nothing is left of this connection"
		if state == trace.TimeWait {
			c.table = "TIME_WAIT, which no program owns"
		}
		if listening {
			c.table += ", and the listener is in LISTEN"
		}
		if state == trace.Closed || state == trace.TimeWait {
			return nil
		}
		if time.Now().After(deadline) {
			return checkf("the kernel's table has %v still in %v towards %v", c.cfg.Remote, state, ours)
		}
		select { // the table gives no event
		case <-time.After(glance):
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// verdict returns the last verdict among events, nil for none.
func verdict(events []trace.Event) (v *trace.Conn) {
	for i := range events {
		if events[i].Verdict != nil {
			v = events[i].Verdict
		}
	}
	return v
}

// show prints what was seen.
func (c *connection) show(w io.Writer, events []trace.Event) error {
	v := verdict(events)
	if v == nil {
		return nil // nothing was sent: the error says why
	}
	var buf []byte
	title := "TCP"
	if c.cfg.ByHand {
		buf = appendWrapped(buf, 0, fmt.Sprintf("By hand: socket(AF_INET, SOCK_RAW, IPPROTO_RAW) sends each segment, from %v, "+
			"an address that the kernel does not know: for its own it would answer the SYN-ACK with RST.", c.cfg.Source))
		title = "By hand"
	} else {
		buf = appendWrapped(buf, 0, fmt.Sprintf("By the kernel: socket(%s, SOCK_STREAM, IPPROTO_TCP), connect, write, read, "+
			"shutdown or EOF, close. What it sends for these is its own affair.", family(v)))
	}
	buf = appendWrapped(buf, 0, "The states are what the packets prove, in a capture beside it.")
	buf = append(buf, '\n')
	buf = c.text.AppendLadderHead(buf, title, &events[0])
	for i := range events {
		e := &events[i]
		buf = c.text.AppendRung(buf, e)
		if e.Kind == trace.SegmentSeen {
			buf = appendWrapped(buf, explainColumn, c.explain(e))
		}
	}
	how, where, _ := strings.Cut(string(c.text.AppendOutcome(nil, v)), "; ")
	buf = fmt.Appendf(buf, " %s\n %s\n", how, where)
	buf = fmt.Appendf(buf, " sent again: %d by the client, %d by the server\n", v.Retransmits[trace.Client], v.Retransmits[trace.Server])
	if c.table != "" {
		buf = appendWrapped(buf, 1, fmt.Sprintf("the kernel's table at port %d: %s", v.Server.Port, c.table))
	}
	_, err := w.Write(buf)
	return err
}

// family is the socket's domain as socket(2) has it.
func family(v *trace.Conn) string {
	if v.Client.V6 {
		return "AF_INET6"
	}
	return "AF_INET"
}

// explain returns what the client by hand said of a segment.
func (c *connection) explain(e *trace.Event) string {
	key := saying{e.From == trace.Client, e.Seq, 0, e.Flags, e.Len}
	if e.Flags.Has(decode.ACK) {
		key.ack = e.Ack
	}
	list := c.said[key]
	if len(list) == 0 {
		return ""
	}
	c.said[key] = list[1:]
	return list[0]
}

// check says what a connection to a server of our own did else than it should.
func (c *connection) check(v *trace.Conn) error {
	closer := trace.ClosedByClient
	if c.cfg.PeerCloses {
		closer = trace.ClosedByServer
	}
	if v == nil || v.Handshake != trace.ThreeWay || !v.Complete || v.Closer != closer ||
		v.Teardown != trace.FourStep && v.Teardown != trace.ThreeStep {
		return checkf("the capture does not show a whole connection closed by the %s", closer)
	}
	return nil
}

// appendWrapped appends text in lines of at most 80 columns from a column on.
func appendWrapped(dst []byte, column int, text string) []byte {
	at := 0
	for word := range strings.FieldsSeq(text) {
		if at > 0 && at+1+len(word) > lineWidth {
			dst = append(dst, '\n')
			at = 0
		}
		if at == 0 {
			dst = append(dst, strings.Repeat(" ", column)...)
			at = column
		} else {
			dst = append(dst, ' ')
			at++
		}
		dst = append(dst, word...)
		at += len(word)
	}
	if at > 0 {
		dst = append(dst, '\n')
	}
	return dst
}
