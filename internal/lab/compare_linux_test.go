package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"finack/internal/echo"
	"finack/internal/privnet"
)

// serveHere serves in this process.
func serveHere(t *testing.T) func(context.Context, []string) ([]string, func() error, error) {
	return func(ctx context.Context, urls []string) (bound []string, stop func() error, err error) {
		var eps []echo.Endpoint
		for _, url := range urls {
			ep, err := echo.ParseEndpoint(url)
			if err != nil {
				return nil, nil, err
			}
			eps = append(eps, ep)
		}
		srv, err := echo.Listen(ctx, eps, &echo.ServerConfig{OnError: func(err error) { t.Log(err) }})
		if err != nil {
			return nil, nil, err
		}
		go srv.Serve()
		for i, addr := range srv.Addrs() {
			bound = append(bound, eps[i].Network+"://"+addr.String())
		}
		return bound, srv.Close, nil
	}
}

// line is what the lines of --json have in common, and what is looked at here.
type line struct {
	Type        string
	Transport   string
	Connections int
	Sent        int
	Answered    int
	Lost        int
	Duration    float64
	RTT         *quantile
	Boundaries  bool
	Largest     int `json:"largest_message"`
	End         string
	OneShot     *quantile `json:"one_shot"`
	Packets     *float64  `json:"packets_per_message"`
	Bytes       *float64  `json:"bytes_per_message"`
	Handshake   *int      `json:"handshake_packets"`
	Teardown    *int      `json:"teardown_packets"`
	Missing     int
	Duplicates  int
	OutOfOrder  int `json:"out_of_order"`
	Retransmits int
	Dropped     int `json:"frames_dropped"`
	Twice       int `json:"frames_duplicated"`
	Late        int `json:"frames_reordered"`
	Error       string
}

func compareJSON(t *testing.T, cfg *CompareConfig) []line {
	t.Helper()
	cfg.JSON, cfg.Serve = true, serveHere(t)
	var out bytes.Buffer
	if err := Compare(t.Context(), &out, cfg); err != nil {
		t.Fatal(err)
	}
	var lines []line
	for dec := json.NewDecoder(&out); dec.More(); {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

// What holds whatever the speed.
func TestCompare(t *testing.T) {
	privnet.Require(t)
	steps := 0
	lines := compareJSON(t, &CompareConfig{
		Size: 64, Count: 203, Conns: []int{1, 7}, Private: true,
		Progress: func(done, total int) {
			if steps++; done != steps || total != 5*(2*compareRounds+1)+4 {
				t.Errorf("step %d: %d of %d", steps, done, total)
			}
		},
	})
	seen := map[string]int{}
	for _, l := range lines {
		seen[l.Type]++
		stream := l.Transport == "tcp" || l.Transport == "unix"
		switch l.Type {
		case "echo_latency":
			// A busy machine may answer a datagram too late.
			if l.Sent != 203 || l.Answered+l.Lost != 203 || l.Lost != 0 && l.Transport != "udp" || l.Duration <= 0 || l.RTT == nil || l.RTT.P50 <= 0 || l.RTT.P50 > l.RTT.Max {
				t.Errorf("%+v", l)
			}
		case "echo_transport":
			wantEnd := "EOF"
			if l.Transport == "udp" || l.Transport == "unixgram" {
				wantEnd = "nothing"
			}
			if l.Boundaries == stream || l.End != wantEnd || l.OneShot == nil || l.OneShot.P50 <= 0 || l.Packets == nil {
				t.Errorf("%+v", l)
			}
			if (l.Largest == 0) != stream || l.Transport == "udp" && l.Largest != 65507 {
				t.Errorf("%s: a message has at most %d bytes", l.Transport, l.Largest)
			}
			var packets, most, handshake float64
			switch l.Transport {
			case "tcp": // the answer carries the acknowledgment, or it comes alone
				packets, most, handshake = 2, 4, 3
			case "udp":
				packets, most = 2, 2
			}
			if *l.Packets < packets || *l.Packets > most || float64(*l.Handshake) != handshake {
				t.Errorf("%s: %v packets a message, %d of handshake", l.Transport, *l.Packets, *l.Handshake)
			}
			// 64 bytes of payload, 20 of IP, 8 of UDP or 20 of TCP and 12 of its timestamps.
			if headers := map[string]float64{"tcp": 52, "udp": 28}[l.Transport]; packets > 0 && *l.Bytes != 2*64+headers**l.Packets {
				t.Errorf("%s: %v bytes a message in %v packets", l.Transport, *l.Bytes, *l.Packets)
			}
			if n := *l.Teardown; l.Transport == "tcp" && n != 3 && n != 4 || l.Transport != "tcp" && n != 0 {
				t.Errorf("%s: %d packets of teardown", l.Transport, n)
			}
		case "echo_loss":
			if l.Sent != 203 || l.Answered+l.Missing != 203 || l.Dropped == 0 || l.Twice == 0 || l.Late == 0 {
				t.Errorf("%+v", l)
			}
			if l.Transport == "tcp" && (l.Missing+l.Duplicates+l.OutOfOrder != 0 || l.Retransmits == 0 || l.RTT.Max < 2*l.RTT.P50) {
				t.Errorf("%+v", l)
			}
			// A lost frame is a missing answer, unless it was a copy; nothing else is.
			if l.Transport == "udp" && (l.Missing > l.Dropped || l.Missing == 0 || l.Duplicates > 2*l.Twice) {
				t.Errorf("%+v", l)
			}
		}
	}
	if seen["echo_latency"] != 10 || seen["echo_transport"] != 5 || seen["echo_loss"] != 2 {
		t.Errorf("%v", seen)
	}
}

// Where there is no wire, nothing is said of it; a message that does not fit is
// said to be one.
func TestCompareLongMessagesWithoutAWire(t *testing.T) {
	for _, l := range compareJSON(t, &CompareConfig{Size: 65508, Count: 5, Conns: []int{1}, Transports: []string{"udp", "unix"}}) {
		switch {
		case l.Type == "echo_loss" || l.Type == "echo_transport" && l.Transport == "udp" && l.Packets != nil:
			t.Errorf("of a wire: %+v", l)
		case l.Transport == "udp" && (l.OneShot != nil || l.RTT != nil || l.Type == "echo_latency" && l.Error == ""):
			t.Errorf("%+v", l)
		case l.Transport == "unix" && l.Type == "echo_latency" && (l.Answered != 5 || l.Error != ""):
			t.Errorf("%+v", l)
		}
	}
}

func TestCompareShowsWhatWasMeasuredBeforeItsEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	err := Compare(ctx, &out, &CompareConfig{
		Size: 64, Count: 50, Conns: []int{1, 2}, Transports: []string{"tcp", "unix"}, Serve: serveHere(t),
		Progress: func(done, _ int) {
			if done == 2*compareRounds {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	text := out.Bytes()
	for _, part := range []string{"\n1 connection ", "\n TCP ", "\n Unix stream ", "\nInterrupted"} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if bytes.Contains(text, []byte("2 connections")) {
		t.Errorf("more than was measured:\n%s", text)
	}
}

func TestCompareChecksWhatMustNotBe(t *testing.T) {
	kinds := transports()
	good := func() *comparison {
		c := &comparison{}
		for _, k := range kinds {
			c.latencies = append(c.latencies, &latency{kind: k})
			c.facts = append(c.facts, &facts{kind: k})
		}
		c.facts[0].wire = &wireCost{messages: 1, handshake: 3, teardown: 4}
		c.losses = []*loss{{kind: kinds[0]}, {kind: kinds[1], missing: 3, duplicates: 2, outOfOrder: 1}}
		return c
	}
	if err := good().check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*comparison){
		"a wrong answer":      func(c *comparison) { c.latencies[1].res.Wrong = 1 },
		"a stream that loses": func(c *comparison) { c.latencies[2].res.Lost = 1 },
		"half a handshake":    func(c *comparison) { c.facts[0].wire.handshake = 2 },
		"no teardown":         func(c *comparison) { c.facts[0].wire.teardown = 0 },
		"loss through TCP":    func(c *comparison) { c.losses[0].missing = 1 },
		"wrong through loss":  func(c *comparison) { c.losses[1].wrong = 1 },
	} {
		c := good()
		spoil(c)
		if err := (*CheckError)(nil); !errors.As(c.check(), &err) {
			t.Errorf("%s: passes", name)
		}
	}
}

func TestTransports(t *testing.T) {
	if got := Transports(); !slices.Equal(got, []string{"tcp", "udp", "unix", "unixgram", "unixpacket"}) {
		t.Error(got)
	}
}
