package echo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// BurstResult sums up a Burst.
type BurstResult struct {
	Sent       int // datagrams
	Answered   int // of these
	Missing    int // not answered: the datagram or its answer was lost
	Duplicates int // answers to what was answered before
	OutOfOrder int // first answers that came after one to a later datagram
	Wrong      int // answers that are none of what was sent
}

// Burst sends datagrams of 8 bytes or more, one every Interval whether or not
// answers come, and sorts what comes until every one is answered or nothing
// has come for as long as Timeout.
func Burst(ctx context.Context, ep Endpoint, cfg *ClientConfig) (BurstResult, error) {
	c, err := newClient(ep, cfg)
	if err != nil {
		return BurstResult{}, err
	}
	if !ep.isDatagram() || c.cfg.Size < seqSize || c.cfg.Count < 0 {
		return BurstResult{}, fmt.Errorf("burst to %v: needs datagrams of %d bytes or more, and an end", ep, seqSize)
	}
	if err := c.dial(ctx); err != nil {
		return BurstResult{}, err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()

	var res BurstResult
	sorted := make(chan error, 1)
	go func() { sorted <- c.sortBurst(&res) }()
	sent, err := c.sendBurst(ctx)
	if err != nil {
		_ = c.conn.Close() // nobody needs the answers
	}
	if serr := <-sorted; err == nil {
		err = serr
	}
	res.Sent, res.Missing = sent, sent-res.Answered
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return res, err
}

func (c *client) sendBurst(ctx context.Context) (sent int, err error) {
	out := make([]byte, c.cfg.Size)
	begin := time.Now()
	for i := range c.cfg.Count {
		if err := pause(ctx, time.Until(begin.Add(time.Duration(i)*c.cfg.Interval))); err != nil {
			return sent, err
		}
		fill(out, uint64(i)+1)
		_, err := c.conn.Write(out)
		if errors.Is(err, syscall.ECONNREFUSED) { // an earlier one's fate
			_, err = c.conn.Write(out)
		}
		if err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// sortBurst receives until every datagram is answered, or nothing comes any more.
func (c *client) sortBurst(res *BurstResult) error {
	answered := make([]bool, c.cfg.Count+1) // by number
	in := make([]byte, c.cfg.Size+1)
	latest := uint64(0)
	for res.Answered < c.cfg.Count {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.cfg.Timeout)); err != nil {
			return err
		}
		n, err := c.conn.Read(in)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ECONNREFUSED):
			continue
		case err != nil:
			return err
		}
		seq := uint64(0)
		if n == c.cfg.Size {
			seq = binary.BigEndian.Uint64(in)
		}
		switch {
		case seq == 0 || seq >= uint64(len(answered)) || !isMessage(in[:n], seq):
			res.Wrong++
			continue
		case answered[seq]:
			res.Duplicates++
			continue
		case seq < latest:
			res.OutOfOrder++
		}
		answered[seq] = true
		res.Answered++
		latest = max(latest, seq)
	}
	return nil
}
