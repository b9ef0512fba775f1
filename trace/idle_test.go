package trace

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
)

func server(s string) decode.Endpoint { return decode.EndpointOf(netip.MustParseAddrPort(s)) }

// closed is a connection that one side closed so long after the last data.
func closed(srv decode.Endpoint, by Closer, idle time.Duration) *Conn {
	return &Conn{
		Proto: decode.ProtoTCP, Server: srv, Handshake: ThreeWay, Teardown: ThreeStep,
		Closer: by, Idle: idle, HasIdle: true,
	}
}

func sec(s float64) time.Duration { return time.Duration(s * 1e9) }

// 38 of 40 closes by a server come 5 seconds after the last data, the clients
// of another give up after 90 seconds, and a third has two timeouts.
func TestIdleTimeouts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	web, db, proxy := server("10.0.0.2:80"), server("[2001:db8::2]:5432"), server("10.0.0.2:3128")
	var s Summary
	for range 38 {
		s.Add(closed(web, ClosedByServer, sec(5+0.02*rng.NormFloat64())))
	}
	s.Add(closed(web, ClosedByServer, sec(0.3)))
	s.Add(closed(web, ClosedByServer, sec(17)))
	s.Add(closed(web, ClosedByClient, sec(5))) // the other side's
	for range 12 {
		s.Add(closed(db, ClosedByClient, sec(90+0.1*rng.NormFloat64())))
	}
	for range 20 {
		s.Add(closed(proxy, ClosedByServer, sec(60+0.3*rng.NormFloat64())))
		s.Add(closed(proxy, ClosedByServer, sec(5+0.05*rng.NormFloat64())))
	}
	expectTimeouts(t, &s, []IdleTimeout{
		{web, Server, 38, 40, sec(5), sec(0.02)},
		{proxy, Server, 20, 40, sec(5), sec(0.05)},
		{proxy, Server, 20, 40, sec(60), sec(0.3)},
		{db, Client, 12, 12, sec(90), sec(0.1)},
	})
}

// expectTimeouts compares, times as exactly as samples of that size allow.
func expectTimeouts(t *testing.T, s *Summary, want []IdleTimeout) {
	t.Helper()
	got := s.IdleTimeouts()
	alike := len(got) == len(want)
	for i := 0; alike && i < len(want); i++ {
		g, w := got[i], want[i]
		alike = (g.Idle-w.Idle).Abs() <= w.Spread && (g.Spread-w.Spread).Abs() <= w.Spread/2
		g.Idle, g.Spread = w.Idle, w.Spread
		alike = alike && g == w
	}
	if !alike {
		t.Errorf("(-want +got)\n%s", cmp.Diff(want, got))
	}
}

// A close counts for who sent the first FIN, or the RST if there was no FIN.
func TestWhoClosedAfterIdling(t *testing.T) {
	srv := server("10.0.0.2:80")
	reset := func(by Side, after TeardownKind, c Closer) *Conn {
		x := closed(srv, c, sec(5))
		x.Teardown, x.WasReset, x.ResetBy, x.ResetAfter = Reset, true, by, after
		return x
	}
	refused := reset(Server, NoTeardown, NoCloser)
	refused.Handshake = Refused
	noData := closed(srv, ClosedByServer, 0)
	noData.HasIdle = false
	for name, tt := range map[string]struct {
		c    *Conn
		want []IdleTimeout
	}{
		"reset":                {reset(Server, NoTeardown, NoCloser), []IdleTimeout{{srv, Server, 10, 10, sec(5), 0}}},
		"reset by the client":  {reset(Client, NoTeardown, NoCloser), []IdleTimeout{{srv, Client, 10, 10, sec(5), 0}}},
		"reset after a FIN":    {reset(Client, HalfClosed, ClosedByServer), []IdleTimeout{{srv, Server, 10, 10, sec(5), 0}}},
		"refused":              {refused, nil},
		"both at once":         {closed(srv, ClosedByBoth, sec(5)), nil},
		"who, cannot be known": {closed(srv, ClosedUnknown, sec(5)), nil},
		"no data":              {noData, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var s Summary
			for range minCloses {
				s.Add(tt.c)
			}
			expectTimeouts(t, &s, tt.want)
		})
	}
}

// What is no idle timeout: few closes, a small part of them, what a service
// takes, and times at random, whatever their distribution.
func TestNoIdleTimeout(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	few, answers, part := server("10.0.0.2:1"), server("10.0.0.2:2"), server("10.0.0.2:3")
	var s Summary
	for range minCloses - 1 {
		s.Add(closed(few, ClosedByServer, sec(5)))
	}
	for i := range 1000 {
		s.Add(closed(answers, ClosedByServer, sec(0.001)))
		s.Add(closed(part, ClosedByServer, sec(5+float64(i%6)*9*rng.Float64())))
	}
	at := map[string]func() float64{
		"even":        func() float64 { return 10 * rng.Float64() },
		"exponential": func() float64 { return 3 * rng.ExpFloat64() },
		"log-normal":  func() float64 { return 5 * math.Exp(rng.NormFloat64()) },
		"log-even":    func() float64 { return math.Pow(10, 5*rng.Float64()-2) },
	}
	port := uint16(1000)
	for _, random := range at {
		for _, n := range []int{12, 30, 50, 100, 1000} {
			for range 100 {
				port++
				for range n {
					s.Add(closed(decode.Endpoint{Port: port}, ClosedByServer, sec(random())))
				}
			}
		}
	}
	expectTimeouts(t, &s, nil)
}

// One timeout among closes at random is found nevertheless, and its
// neighbours in time are not counted.
func TestIdleTimeoutInNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	srv := server("10.0.0.2:80")
	var s Summary
	for range 400 {
		s.Add(closed(srv, ClosedByServer, sec(7.25+0.01*rng.NormFloat64())))
	}
	for range 600 {
		s.Add(closed(srv, ClosedByServer, sec(20*rng.Float64())))
	}
	got := s.IdleTimeouts()
	if len(got) != 1 || got[0].N < 400 || got[0].N > 420 || got[0].Of != 1000 || (got[0].Idle-sec(7.25)).Abs() > sec(0.02) {
		t.Errorf("%+v", got)
	}
}

// However many servers and times a capture holds: memory is bounded, what was
// there first is right, and the rest is counted.
func TestIdleTimeoutsOfAHostileCapture(t *testing.T) {
	srv := server("10.0.0.2:80")
	var s Summary
	for range minCloses {
		s.Add(closed(srv, ClosedByServer, sec(5)))
	}
	endpoint := func(i int) (e decode.Endpoint) {
		binary.BigEndian.PutUint32(e.Addr[:], uint32(i))
		return e
	}
	const noisy = 400 // servers that close at every possible time
	for i := range noisy {
		for at := minIdle; at < 100*time.Hour; at += at / 70 {
			s.Add(closed(endpoint(i), ClosedByServer, at))
		}
	}
	if s.idles.bins != maxIdleBins || s.IdleLeftOut == 0 {
		t.Errorf("%d bins, %d left out", s.idles.bins, s.IdleLeftOut)
	}
	before := s.IdleLeftOut
	for i := range maxClosers + 1000 {
		s.Add(closed(endpoint(i), ClosedByServer, 0))
	}
	if n, left := len(s.idles.closes), s.IdleLeftOut-before; n != maxClosers || left != 1001 {
		t.Errorf("%d endpoints, %d left out", n, left)
	}
	s.Add(closed(srv, ClosedByServer, sec(5)))
	want := []IdleTimeout{{srv, Server, 11, 11, sec(5), 0}}
	expectTimeouts(t, &s, want)

	// Merging is bounded too.
	var other Summary
	other.Add(closed(endpoint(1<<30), ClosedByServer, sec(5)))
	other.Add(closed(endpoint(noisy+1), ClosedByServer, sec(7)))
	before = s.IdleLeftOut
	s.Merge(&other)
	if len(s.idles.closes) != maxClosers || s.idles.bins != maxIdleBins || s.IdleLeftOut != before+2 {
		t.Errorf("%d endpoints, %d bins, %d left out", len(s.idles.closes), s.idles.bins, s.IdleLeftOut-before)
	}
	expectTimeouts(t, &s, want)
}
