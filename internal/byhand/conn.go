package byhand

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"finack/decode"
	"finack/trace"
)

// Conn is a connection of a Host. It is a net.Conn; its methods may be called
// from any goroutine.
type Conn struct {
	host    *Host
	key     connKey
	m       *Machine // under host.mu
	changed chan struct{}

	readBy, writeBy time.Time // deadlines
	closed          bool      // by Close or Abort: no more reading and writing
}

var _ net.Conn = (*Conn)(nil)

// Read returns data in order, io.EOF after the peer's FIN, and what ended the
// connection otherwise.
func (c *Conn) Read(b []byte) (n int, err error) {
	err = c.await(context.Background(), &c.readBy, func() (bool, error) {
		if c.closed {
			return false, net.ErrClosed
		}
		st := c.m.Status()
		switch {
		case st.Unread > 0 || len(b) == 0:
			n = c.m.Read(time.Now(), b)
			return true, nil
		case st.FINReceived:
			return false, io.EOF
		case c.m.Over():
			return false, orClosed(st.Err)
		}
		return false, nil
	})
	if err == io.EOF {
		return n, err
	}
	return n, c.opError("read", err)
}

// Write sends b. It returns when all of it is on its way or waits for the
// peer's window, not when it is acknowledged.
func (c *Conn) Write(b []byte) (n int, err error) {
	err = c.await(context.Background(), &c.writeBy, func() (bool, error) {
		st := c.m.Status()
		switch {
		case c.closed || c.m.closing:
			return false, net.ErrClosed
		case c.m.Over():
			return false, orClosed(st.Err)
		}
		n += c.m.Write(time.Now(), b[n:])
		return n == len(b), nil
	})
	return n, c.opError("write", err)
}

// orClosed returns err, net.ErrClosed where a connection has ended without one.
func orClosed(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

// CloseWrite sends FIN, after what is still to be sent.
func (c *Conn) CloseWrite() error {
	return c.do("close", func() { c.m.CloseWrite(time.Now()) })
}

// Close ends our direction, throws away what still comes, and waits until the
// peer has ended its own and has our FIN: then every segment of the teardown
// but perhaps the last ACK has arrived, and the Host answers for that in
// TIME_WAIT. A peer that keeps its direction open for longer than the Host's
// CloseTimeout is sent a RST, which is an error.
func (c *Conn) Close() error {
	c.host.mu.Lock()
	if c.closed {
		c.host.mu.Unlock()
		return nil
	}
	c.closed = true
	now := time.Now()
	c.m.Discard(now)
	c.m.CloseWrite(now)
	c.host.pass(c)
	c.host.mu.Unlock()

	by := now.Add(c.host.cfg.CloseTimeout)
	err := c.await(context.Background(), &by, func() (bool, error) {
		st := c.m.Status()
		return st.State == trace.TimeWait || st.State == trace.Closed, st.Err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.abort()
	}
	return c.opError("close", err)
}

// Abort sends RST and forgets the connection.
func (c *Conn) Abort() error {
	c.abort()
	return nil
}

func (c *Conn) abort() {
	_ = c.do("abort", func() {
		c.closed = true
		c.m.Abort(time.Now())
	})
}

// Connect sends a SYN and waits for the handshake's end.
func (c *Conn) Connect(ctx context.Context) error {
	if err := c.do("connect", func() { c.m.Open(time.Now()) }); err != nil {
		return err
	}
	return c.opError("connect", c.await(ctx, nil, func() (bool, error) {
		return c.m.synchronized(), c.m.err
	}))
}

// Await waits until done returns true of the connection's status, and returns
// that status. It fails when the connection ends before; done is asked about
// the end, too.
func (c *Conn) Await(ctx context.Context, done func(*Status) bool) (Status, error) {
	var st Status
	err := c.await(ctx, nil, func() (bool, error) {
		st = c.m.Status()
		if done(&st) {
			return true, nil
		}
		if c.m.Over() {
			return false, orClosed(st.Err)
		}
		return false, nil
	})
	return st, c.opError("await", err)
}

// Status returns the connection as it is.
func (c *Conn) Status() Status {
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	return c.m.Status()
}

// Segment returns what the connection would send now with these flags, to be
// changed and given to Send.
func (c *Conn) Segment(flags decode.Flags, payload []byte) Segment {
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	return c.m.Segment(flags, payload)
}

// Send sends a segment by hand; see Machine.Send for what it does to the state.
func (c *Conn) Send(s Segment) error {
	return c.do("send", func() { c.m.Send(time.Now(), s) })
}

// Quiet has the connection send nothing by itself, or do so again.
func (c *Conn) Quiet(quiet bool) error {
	return c.do("quiet", func() { c.m.Quiet(time.Now(), quiet) })
}

// LocalAddr returns a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local()) }

// RemoteAddr returns a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.key.remote) }

func (c *Conn) local() netip.AddrPort { return netip.AddrPortFrom(c.host.cfg.Addr, c.key.port) }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.do("set", func() { c.readBy, c.writeBy = t, t; c.wake() })
}

// SetReadDeadline makes Read, also one under way, return
// os.ErrDeadlineExceeded from t on; zero: never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.do("set", func() { c.readBy = t; c.wake() })
}

// SetWriteDeadline makes Write, also one under way, return
// os.ErrDeadlineExceeded from t on; zero: never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.do("set", func() { c.writeBy = t; c.wake() })
}

// do calls f and sends what came of it.
func (c *Conn) do(op string, f func()) error {
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	f()
	c.host.pass(c)
	return c.opError(op, c.host.err)
}

// await waits until f, called with the host's lock, returns true or an error;
// at most until ctx ends, *by is over, or the host is closed. by may be moved meanwhile.
func (c *Conn) await(ctx context.Context, by *time.Time, f func() (bool, error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.host.mu.Lock()
		done, err := f()
		c.host.pass(c)
		if !done && err == nil {
			err = c.host.err
		}
		changed := c.changed
		var due time.Time
		if by != nil {
			due = *by
		}
		c.host.mu.Unlock()
		if done || err != nil {
			return err
		}
		if !due.IsZero() {
			left := time.Until(due)
			if left <= 0 {
				return os.ErrDeadlineExceeded
			}
			timer.Reset(left)
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// opError wraps err as package net does.
func (c *Conn) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
