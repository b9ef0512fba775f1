package echo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// ClientConfig configures Send; nil and the zero value are fine.
type ClientConfig struct {
	Count    int           // messages to send; 0: one; negative: until the context ends
	Size     int           // bytes in a message; 0: 64; negative: none (datagrams only)
	Interval time.Duration // between the beginnings of two messages; 0: each follows the answer to the one before
	Timeout  time.Duration // of connecting, of each answer and of the wait for the server's end; 0: 5 s

	// HalfClose ends our direction (shutdown(SHUT_WR), FIN) right after the
	// last message, before its answer is there. Otherwise that comes after the
	// last answer. Either way the server's end is then awaited. Datagrams have
	// no end: this and what follows does not concern them.
	HalfClose bool

	// ServerCloses awaits the server's end after the last answer before we end
	// our direction, see ServerConfig.CloseAfter.
	ServerCloses bool

	// CloseDelay is the time between the server's end and our close.
	CloseDelay time.Duration
}

// Reply tells what became of one message.
type Reply struct {
	Seq   uint64        // of the message, from 1
	From  net.Addr      // the server
	Bytes int           // of the answer
	RTT   time.Duration // from before the message was written until its answer was read; zero where there is none
	Err   error         // nil: the answer is, byte for byte, what was sent
}

// What Reply.Err and Send's error may be, beside the socket's errors.
var (
	ErrNoAnswer  = errors.New("no answer in time")
	ErrLate      = errors.New("late answer, already given up")
	ErrDuplicate = errors.New("duplicate answer")
	ErrWrong     = errors.New("wrong answer")
)

// End is what the server's end of a conversation looks like to the client.
type End uint8

// The ends. A datagram socket knows the first and the last only.
const (
	EndNothing End = iota // nothing came: it may still be there, or be gone
	EndEOF                // it closed: a FIN, recv gives 0
	EndReset              // it, or its kernel, aborted: a RST, ECONNRESET or EPIPE
	EndRefused            // nobody is there: ECONNREFUSED, from a RST to the SYN or an ICMP port unreachable
)

// String returns "nothing", "EOF", "reset" or "ECONNREFUSED".
func (e End) String() string {
	switch e {
	case EndEOF:
		return "EOF"
	case EndReset:
		return "reset"
	case EndRefused:
		return "ECONNREFUSED"
	default:
		return "nothing"
	}
}

// Result sums up a conversation.
type Result struct {
	Local, Remote net.Addr // nil if there was no connection
	Sent          int      // messages
	Received      int      // right answers in time
	Lost          int      // messages without a right answer in time: Sent − Received at the end
	Late          int      // right answers to messages that count as lost
	Duplicates    int      // right answers to messages that were answered before
	Wrong         int      // answers that differ from what was sent
	RTT           Times    // of the answers in time
	End           End
}

const (
	defaultSize    = 64
	defaultTimeout = 5 * time.Second

	// seqSize is how much of a message is its sequence number. Shorter
	// messages have none: a late answer to one is taken as a wrong one.
	seqSize = 8

	// inline is the longest message that is written before its answer is
	// read. Longer ones are written meanwhile: when both ends write and
	// neither reads, full socket buffers would stop both.
	inline = 16 << 10

	// recent messages are remembered, to tell late answers from duplicates.
	recent = 256
)

// Send has one conversation with the server at ep: messages one after the
// other, each answer compared with what was sent. It calls report, unless nil,
// for each message and for each late, duplicate or wrong answer.
//
// An error means that the conversation could not be had or not be ended: a
// lost datagram is none, a broken stream and the end of ctx are. The Result is
// valid in any case.
func Send(ctx context.Context, ep Endpoint, cfg *ClientConfig, report func(Reply)) (Result, error) {
	c := client{ep: ep, report: report}
	if cfg != nil {
		c.cfg = *cfg
	}
	if c.cfg.Count == 0 {
		c.cfg.Count = 1
	}
	if c.cfg.Size == 0 {
		c.cfg.Size = defaultSize
	}
	if c.cfg.Timeout <= 0 {
		c.cfg.Timeout = defaultTimeout
	}
	if c.cfg.Size < 0 {
		if !ep.isDatagram() {
			return Result{}, fmt.Errorf("send to %v: only datagrams can be empty", ep)
		}
		c.cfg.Size = 0
	}
	err := c.run(ctx)
	c.res.Lost = c.res.Sent - c.res.Received
	c.res.RTT = c.samples.times()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // the reason why the socket was closed
		}
		return c.res, fmt.Errorf("send to %v: %w", ep, err)
	}
	return c.res, nil
}

// client is one conversation.
type client struct {
	ep      Endpoint
	cfg     ClientConfig
	report  func(Reply)
	conn    net.Conn
	out, in []byte // the message, and room for its answer
	recent  [recent]sent
	samples samples
	res     Result
}

// sent is a message of the recent past.
type sent struct {
	seq      uint64
	at       time.Time
	answered bool
}

func (c *client) run(ctx context.Context) error {
	if err := c.dial(ctx); err != nil {
		c.res.End = endOf(err)
		return err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	if a, ok := c.conn.LocalAddr().(*net.UnixAddr); ok && a.Name != "" && !strings.HasPrefix(a.Name, "@") {
		defer os.Remove(a.Name)
	}
	c.res.Local, c.res.Remote = c.conn.LocalAddr(), c.conn.RemoteAddr()
	c.out = make([]byte, c.cfg.Size)
	c.in = make([]byte, c.cfg.Size+1) // an answer that is too long must show

	exchange := c.exchangeStream
	if c.ep.isDatagram() {
		exchange = c.exchangeDatagram
	}
	begin := time.Now()
	for i := 0; c.cfg.Count < 0 || i < c.cfg.Count; i++ {
		if i > 0 && c.cfg.Interval > 0 {
			begin = begin.Add(c.cfg.Interval)
			if now := time.Now(); begin.Before(now) {
				begin = now // an answer took longer: no burst to catch up
			} else if err := pause(ctx, begin.Sub(now)); err != nil {
				return err
			}
		}
		seq := uint64(i) + 1
		fill(c.out, seq)
		now := time.Now()
		c.recent[seq%recent] = sent{seq: seq, at: now}
		if err := c.conn.SetDeadline(now.Add(c.cfg.Timeout)); err != nil {
			return err
		}
		if err := exchange(ctx, seq); err != nil {
			return fmt.Errorf("message %d: %w", seq, err)
		}
	}
	if c.ep.isDatagram() {
		return nil
	}
	return c.finish(ctx)
}

func (c *client) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: c.cfg.Timeout}
	d.SetMultipathTCP(false)
	if c.ep.Network == "unixgram" {
		// Only a bound socket can be answered. An abstract name leaves no file
		// behind and needs no permissions.
		name := "finack-echo-" + rand.Text()
		if runtime.GOOS == "linux" {
			name = "@" + name
		} else {
			name = filepath.Join(os.TempDir(), name)
		}
		d.LocalAddr = &net.UnixAddr{Name: name, Net: "unixgram"}
	}
	conn, err := d.DialContext(ctx, c.ep.Network, c.ep.Address)
	c.conn = conn
	return err
}

// exchangeStream sends one message and reads its answer. On a stream an error
// is final: there is no telling where the next answer would begin.
func (c *client) exchangeStream(_ context.Context, seq uint64) error {
	var (
		n   int
		err error
	)
	if len(c.out) > inline {
		n, err = c.writeAndRead(seq)
	} else if err = c.write(seq); err == nil {
		n, err = c.readAnswer()
	}
	reply := Reply{Seq: seq, Bytes: n, RTT: time.Since(c.recent[seq%recent].at)}
	if err == nil {
		if err = compare(c.in[:n], c.out); err != nil {
			c.res.Wrong++
		}
	} else {
		c.res.End = endOf(err)
		reply.RTT = 0
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			err = fmt.Errorf("the server closed after %d of %d bytes: %w", n, len(c.out), io.ErrUnexpectedEOF)
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("%w: %d of %d bytes after %v", ErrNoAnswer, n, len(c.out), c.cfg.Timeout)
		}
	}
	reply.Err = err
	if err == nil {
		c.answered(reply)
	} else {
		c.tell(reply)
	}
	return err
}

// writeAndRead reads the answer while the message is still being written. The
// first of the two to fail ends the other.
func (c *client) writeAndRead(seq uint64) (int, error) {
	written := make(chan error, 1)
	go func() {
		err := c.write(seq)
		if err != nil {
			_ = c.conn.SetReadDeadline(past())
		}
		written <- err
	}()
	n, err := c.readAnswer()
	if err != nil {
		_ = c.conn.SetWriteDeadline(past())
	}
	writeErr := <-written
	// The kernel tells of a reset once: when it told the writer, the reader
	// got the 0 that an end gives too.
	reset := errors.Is(writeErr, syscall.ECONNRESET)
	if writeErr != nil && (err == nil || errors.Is(err, os.ErrDeadlineExceeded) || reset) {
		err = writeErr
	}
	return n, err
}

// write writes the message and, after the last one, ends our direction if so
// configured.
func (c *client) write(seq uint64) error {
	if _, err := c.conn.Write(c.out); err != nil {
		return c.explain(err)
	}
	c.res.Sent++
	if c.cfg.HalfClose && seq == uint64(c.cfg.Count) {
		return c.closeWrite()
	}
	return nil
}

func (c *client) closeWrite() error { return c.conn.(stream).CloseWrite() }

// readAnswer reads an answer: as many bytes as were sent, or one message.
func (c *client) readAnswer() (int, error) {
	if c.ep.Network == "unixpacket" {
		return c.conn.Read(c.in)
	}
	return io.ReadFull(c.conn, c.in[:len(c.out)])
}

// finish ends a stream and notes how the server does.
func (c *client) finish(ctx context.Context) error {
	if !c.cfg.HalfClose && !c.cfg.ServerCloses {
		if err := c.closeWrite(); err != nil {
			c.res.End = endOf(err)
			return fmt.Errorf("end: %w", err)
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.cfg.Timeout)); err != nil {
		return err
	}
	more, err := io.Copy(io.Discard, c.conn)
	if err == nil {
		err = io.EOF // which Copy does not mention
	}
	c.res.End = endOf(err)
	switch {
	case c.res.End == EndNothing && !errors.Is(err, os.ErrDeadlineExceeded), c.res.End == EndReset:
		return fmt.Errorf("await the server's end: %w", err)
	case more > 0:
		c.res.Wrong++
		return fmt.Errorf("%w: %d bytes more than were sent", ErrWrong, more)
	case c.cfg.CloseDelay > 0:
		return pause(ctx, c.cfg.CloseDelay)
	}
	return nil
}

// exchangeDatagram sends one message and waits for its answer until the
// deadline, sorting out what else arrives. Whatever happens to a datagram,
// the next one may fare better; only one that cannot be sent is an error.
func (c *client) exchangeDatagram(ctx context.Context, seq uint64) error {
	_, err := c.conn.Write(c.out)
	if errors.Is(err, syscall.ECONNREFUSED) && !c.ep.isUnix() {
		// The socket tells of an earlier datagram's fate first; this one was
		// not sent. Telling clears it.
		c.res.End = EndRefused
		_, err = c.conn.Write(c.out)
	}
	if err != nil {
		c.res.End = endOf(err)
		c.tell(Reply{Seq: seq, Err: c.explain(err)})
		return c.explain(err)
	}
	c.res.Sent++
	for {
		n, err := c.conn.Read(c.in)
		switch {
		case err == nil:
			if c.sort(c.in[:n], seq) {
				return nil
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.tell(Reply{Seq: seq, Err: ErrNoAnswer})
			return nil
		default:
			c.res.End = endOf(err)
			c.tell(Reply{Seq: seq, Err: c.explain(err)})
			return nil
		}
	}
}

// explain says in words what a socket's error has to do with messages.
func (c *client) explain(err error) error {
	switch udp := !c.ep.isUnix(); {
	case errors.Is(err, syscall.ECONNREFUSED) && udp:
		return fmt.Errorf("%w: an ICMP port unreachable answered an earlier datagram", syscall.ECONNREFUSED)
	case errors.Is(err, syscall.EMSGSIZE) && udp:
		return fmt.Errorf("%w: a UDP datagram carries 65,507 bytes over IPv4, 65,527 over IPv6", err)
	case errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("%w: the socket's buffer is shorter (net.core.wmem_default)", err)
	}
	return err
}

// sort files one received datagram and reports whether it answers message seq.
func (c *client) sort(in []byte, seq uint64) bool {
	now := time.Now()
	wrong := compare(in, c.out)
	if wrong == nil {
		c.answered(Reply{Seq: seq, Bytes: len(in), RTT: now.Sub(c.recent[seq%recent].at)})
		return true
	}
	reply := Reply{Seq: seq, Bytes: len(in), Err: wrong}
	if len(in) == len(c.out) && len(in) >= seqSize {
		// An answer to an earlier message?
		if s := binary.BigEndian.Uint64(in); 0 < s && s < seq && isMessage(in, s) {
			reply.Seq, reply.Err = s, ErrLate
			if p := &c.recent[s%recent]; p.seq == s {
				reply.RTT = now.Sub(p.at)
				if p.answered {
					reply.Err = ErrDuplicate
				}
				p.answered = true
			}
		}
	}
	switch reply.Err {
	case ErrLate:
		c.res.Late++
	case ErrDuplicate:
		c.res.Duplicates++
	default:
		c.res.Wrong++
	}
	c.tell(reply)
	return false
}

// answered counts the right answer to the message under way.
func (c *client) answered(r Reply) {
	c.recent[r.Seq%recent].answered = true
	c.res.Received++
	c.samples.add(r.RTT)
	c.tell(r)
}

func (c *client) tell(r Reply) {
	if c.report != nil {
		r.From = c.res.Remote
		c.report(r)
	}
}

// endOf says what err tells about the peer.
func endOf(err error) End {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EndEOF
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return EndReset
	case errors.Is(err, syscall.ECONNREFUSED):
		return EndRefused
	default:
		return EndNothing
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill writes message number seq: the number, where there is room for it, then
// bytes that depend on it, so that mixed-up answers show.
func fill(b []byte, seq uint64) {
	if len(b) >= seqSize {
		binary.BigEndian.PutUint64(b, seq)
		b = b[seqSize:]
	}
	var word [8]byte
	for i := uint64(0); len(b) > 0; i++ {
		binary.BigEndian.PutUint64(word[:], mix(seq<<32+i))
		b = b[copy(b, word[:]):]
	}
}

// mix is the output function of the SplitMix64 generator (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// isMessage reports whether b is message number seq.
func isMessage(b []byte, seq uint64) bool {
	m := make([]byte, len(b))
	fill(m, seq)
	return bytes.Equal(b, m)
}

// compare returns nil or how got differs from what was sent.
func compare(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%w: %d bytes, %d were sent", ErrWrong, len(got), len(want))
	}
	i := 0
	for got[i] == want[i] {
		i++
	}
	return fmt.Errorf("%w: byte %d is %#02x, %#02x was sent", ErrWrong, i, got[i], want[i])
}
