package trace

import "finack/decode"

// Summary counts the outcomes of many connections and flows, and how long
// things took. Its zero value is empty. A copy shares memory with the
// original: add to one of them only.
type Summary struct {
	Conns       int // TCP connections
	Handshakes  [Refused + 1]int
	Teardowns   [Reset + 1]int
	TeardownsBy [Reset + 1][ClosedUnknown + 1]int // by the closer; of a Reset, by the side that sent it
	Closers     [ClosedUnknown + 1]int            // of those with a FIN
	Flows       int                               // UDP and ICMP echo flows

	// Of the TCP connections that have them.
	RTT       Distribution // of the handshake: Conn.RTT
	Lifetime  Distribution // Conn.Duration, of every connection as far as it was captured
	HalfOpen  Distribution
	HalfClose Distribution // Conn.HalfClose.Duration
	Idle      Distribution // before the close: Conn.Idle

	// IdleLeftOut is the number of closes that IdleTimeouts says nothing of,
	// because there were too many endpoints or too many different times.
	IdleLeftOut int

	idles *idles // nil: no close yet
}

// Add counts one account. It is not kept.
func (s *Summary) Add(c *Conn) {
	if c.Proto != decode.ProtoTCP {
		s.Flows++
		return
	}
	s.Conns++
	s.Handshakes[c.Handshake]++
	s.Teardowns[c.Teardown]++
	if c.Closer != NoCloser {
		s.Closers[c.Closer]++
	}
	by := c.Closer
	if c.WasReset {
		by = closerOf(c.ResetBy)
	}
	if by != NoCloser {
		s.TeardownsBy[c.Teardown][by]++
	}
	s.Lifetime.Add(c.Duration())
	if c.HasRTT {
		s.RTT.Add(c.RTT)
	}
	if c.HasHalfOpen {
		s.HalfOpen.Add(c.HalfOpen)
	}
	if c.HalfClose.Seen {
		s.HalfClose.Add(c.HalfClose.Duration)
	}
	if c.HasIdle {
		s.Idle.Add(c.Idle)
		s.addClose(c)
	}
}

// addClose counts a close after data, if it is known whose it was: that of the
// first FIN, or of the reset if there was no FIN.
func (s *Summary) addClose(c *Conn) {
	by := c.Closer
	if by == NoCloser && c.WasReset && c.Handshake != Refused {
		by = closerOf(c.ResetBy)
	}
	if by != ClosedByClient && by != ClosedByServer {
		return
	}
	side := Client
	if by == ClosedByServer {
		side = Server
	}
	if s.idles == nil {
		s.idles = &idles{}
	}
	if !s.idles.add(closer{c.Server, side}, c.Idle) {
		s.IdleLeftOut++
	}
}

func closerOf(s Side) Closer {
	if s == Client {
		return ClosedByClient
	}
	return ClosedByServer
}

// Merge adds what from counted, as if its accounts had been added to s. It
// shares no memory with from afterwards.
func (s *Summary) Merge(from *Summary) {
	s.Conns += from.Conns
	s.Flows += from.Flows
	for i, n := range from.Handshakes {
		s.Handshakes[i] += n
	}
	for i, n := range from.Teardowns {
		s.Teardowns[i] += n
		for j, n := range from.TeardownsBy[i] {
			s.TeardownsBy[i][j] += n
		}
	}
	for i, n := range from.Closers {
		s.Closers[i] += n
	}
	s.RTT.Merge(&from.RTT)
	s.Lifetime.Merge(&from.Lifetime)
	s.HalfOpen.Merge(&from.HalfOpen)
	s.HalfClose.Merge(&from.HalfClose)
	s.Idle.Merge(&from.Idle)
	s.IdleLeftOut += from.IdleLeftOut
	if from.idles != nil {
		if s.idles == nil {
			s.idles = &idles{}
		}
		s.IdleLeftOut += s.idles.merge(from.idles)
	}
}

// IdleTimeouts returns the times after the last data at which a server, or the
// clients of a server, close again and again. Each holds of at least 10 closes
// and of a fifth of those by that side there, and is half a second or more. The
// closes lie close together: their standard deviation is at most 5 % of the mean
// if all do, 2.5 % if half of them do. The timeouts with the most closes come
// first. The slice is the caller's.
func (s *Summary) IdleTimeouts() []IdleTimeout {
	if s.idles == nil {
		return nil
	}
	return s.idles.timeouts()
}
