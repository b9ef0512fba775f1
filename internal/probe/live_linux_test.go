package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/craft"
	"finack/internal/privnet"
)

// opened is a prober for a request, its sockets opened by do.
func opened(t *testing.T, r *Request, do func(func() error) error) *Prober {
	t.Helper()
	var p *Prober
	if err := do(func() error {
		cfg, err := r.Config()
		if err != nil {
			return err
		}
		p, err = Open(cfg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// live runs a request and returns what it shows.
func live(t *testing.T, r *Request, do func(func() error) error) (*Result, []Event) {
	t.Helper()
	p := opened(t, r, do)
	var events []Event
	res, err := p.Run(t.Context(), func(e *Event) error {
		events = append(events, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return res, events
}

func directly(f func() error) error { return f() }

// What is on the wire is, byte by byte, what a dry run shows.
func TestOnTheWireIsWhatADryRunShows(t *testing.T) {
	privnet.Require(t)
	const ttl = 33 // nobody else's
	tap, err := capture.OpenLive(&capture.LiveConfig{Interface: "lo", Filter: fmt.Sprintf("ip[8] = %d or ip6[7] = %d", ttl, ttl)})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	if err := tap.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	packets := 0
	for _, version := range []struct{ tcp, udp, icmp, ip string }{
		{"tcp://127.0.0.1:9", "udp://127.0.0.1:9", "icmp://127.0.0.1", "ip://127.0.0.1"},
		{"tcp://[::1]:9", "udp://[::1]:9", "icmp://::1", "ip://::1"},
	} {
		for _, r := range []*Request{
			ask(version.tcp, fields{"options": func(r *Request) { r.Options = "mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7,FO" }}),
			ask(version.tcp, fields{"flags": func(r *Request) { r.Flags = "0x1ff" }, "checksum": func(r *Request) { r.Sum = "wrong" }, "payload": func(r *Request) { r.Text = "hello" }}),
			ask(version.tcp, fields{"checksum": func(r *Request) { r.Sum = "zero" }, "tos": func(r *Request) { r.TOS = 0xb8 }}),
			ask(version.udp, fields{"size": func(r *Request) { r.Size = 3001 }, "fragment": func(r *Request) { r.MTU = 1280 }}),
			ask(version.udp, fields{"checksum": func(r *Request) { r.Sum = "zero" }}),
			ask(version.icmp, fields{"size": func(r *Request) { r.Size = 56 }}),
			ask(version.ip, fields{"protocol": func(r *Request) { r.Protocol = 253 }, "size": func(r *Request) { r.Size = 5 }}),
		} {
			r.TTL, r.Count, r.Interval, r.NoWait = ttl, 3, 0, true
			if strings.Contains(r.Target, "127") && r.MTU == 0 {
				r.DF = true
			}
			p := opened(t, r, directly)
			cfg := &p.cfg
			shown := 0
			res, err := p.Run(t.Context(), func(e *Event) error {
				shown++
				if e.Kind != Sent || e.N != shown || e.Len != len(cfg.Payload) {
					t.Errorf("%s: event %+v", r.Target, e)
				}
				return nil
			})
			if err != nil || res.Sent != 3 || shown != 3 || res.Unseen != 0 || len(res.Outcomes) != 0 {
				t.Errorf("%s: %+v, %v", r.Target, res, err)
			}
			for n := range cfg.Count {
				parts, err := cfg.Build(n)
				if err != nil {
					t.Fatal(err)
				}
				for i, want := range parts {
					var f decode.Frame
					if err := tap.ReadFrame(&f); err != nil {
						t.Fatalf("%s: packet %d, fragment %d: %v", r.Target, n+1, i+1, err)
					}
					if got := f.Data[14:]; !bytes.Equal(got, want) {
						t.Errorf("%s: on the wire is\n%s, want\n%s", r.Target, craft.AppendDump(nil, got), craft.AppendDump(nil, want))
					}
					packets++
				}
			}
		}
	}
	if packets != 2*3*(6+3) {
		t.Errorf("%d packets", packets)
	}
}

// listener listens on an address of lo, and takes no connection.
func listener(t *testing.T, addr string) uint16 {
	t.Helper()
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// The kernel answers on lo; its RST to the SYN+ACK is told from ours.
func TestTheKernelAnswers(t *testing.T) {
	privnet.Require(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		open := netip.AddrPortFrom(netip.MustParseAddr(host), listener(t, net.JoinHostPort(host, "0"))).String()
		r := ask("tcp://"+open, nil)
		r.Count, r.Interval = 3, 10*time.Millisecond
		res, events := live(t, r, directly)
		if res.Sent != 3 || res.Answered != 3 || res.Unseen != 0 || len(res.Outcomes) != 1 || res.Outcomes[0] != (Outcome{meansOpen, 3}) {
			t.Errorf("%s: %+v", open, res)
		}
		if res.RTT.Min <= 0 || res.RTT.P50 < res.RTT.Min || res.RTT.Max < res.RTT.P50 {
			t.Errorf("%s: round trips %+v", open, res.RTT)
		}
		var kinds [3][]Kind // of each packet
		for _, e := range events {
			kinds[e.N-1] = append(kinds[e.N-1], e.Kind)
			if e.Kind == KernelReset && (e.Packet.Segment.Flags != decode.RST || e.Packet.Dst.String() != open) {
				t.Errorf("%s: %+v", open, e)
			}
		}
		if got := fmt.Sprint(kinds); got != "[[0 1 2] [0 1 2] [0 1 2]]" || res.Resets != 3 {
			t.Errorf("%s: events %s", open, got)
		}
	}
}

// Over a wire: what it loses is not answered, what it delays is late, and what
// waits for a neighbour's address was never there.
func TestOverAWire(t *testing.T) {
	privnet.Require(t)
	const delay = 30 * time.Millisecond
	w, err := privnet.NewWire(&privnet.WireConfig{Rules: []privnet.Rule{
		{From: privnet.A, Filter: "tcp dst port 81", Nth: 1, Drop: true},
		{From: privnet.B, Filter: "icmp", Delay: delay},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	host := w.B.Addr.String()

	r := ask("tcp://"+host+":81", nil)
	r.Count, r.Interval = 2, time.Millisecond
	res, events := live(t, r, w.A.Do)
	want := []Outcome{{"nothing in 1s: dropped, filtered or lost: unknown", 1}, {meansRefused, 1}}
	if res.Sent != 2 || res.Answered != 1 || res.Unseen != 0 || len(res.Outcomes) != 2 || res.Outcomes[0] != want[0] || res.Outcomes[1] != want[1] {
		t.Errorf("a SYN that is lost: %+v", res)
	}
	if e := events[len(events)-1]; len(events) != 3 || e.Kind != Answer || e.N != 2 || e.Packet.Dir != decode.DirInbound {
		t.Errorf("a SYN that is lost: events %+v", events)
	}

	res, events = live(t, ask("udp://"+host+":9", nil), w.A.Do)
	if res.Answered != 1 || res.RTT.Min < delay || len(events) != 2 || events[1].Proves != meansPort {
		t.Errorf("a datagram answered late: %+v, %+v", res, events)
	}

	r = ask("icmp://10.9.0.77", nil)
	r.Timeout = 50 * time.Millisecond
	res, events = live(t, r, w.A.Do)
	if res.Sent != 1 || res.Answered != 0 || res.Unseen != 1 || len(events) != 0 {
		t.Errorf("to nobody: %+v, %+v", res, events)
	}

	// Longer than the MTU, and to everybody.
	for target, want := range map[string]error{"udp://" + host + ":9": ErrMTU, "udp://10.9.0.255:9": ErrBroadcast} {
		r := ask(target, fields{"size": func(r *Request) { r.Size = 2000 }})
		if want == ErrBroadcast {
			r.Size = 1
		}
		res, err := opened(t, r, w.A.Do).Run(t.Context(), func(*Event) error { return nil })
		if !errors.Is(err, want) || res.Sent != 0 || len(res.Outcomes) != 0 {
			t.Errorf("%s: %+v, %v, want %v", target, res, err, want)
		}
	}
}

// Ctrl-C ends a run, and is no error: what was sent until then counts.
func TestRunEndsWithItsContext(t *testing.T) {
	privnet.Require(t)
	for _, noWait := range []bool{false, true} {
		r := ask("udp://127.0.0.1:9", nil)
		r.Count, r.Interval, r.Timeout, r.NoWait = 100, time.Hour, time.Hour, noWait
		p := opened(t, r, directly)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		res, err := p.Run(ctx, func(*Event) error {
			cancel()
			return nil
		})
		if err != nil || res.Sent != 1 || res.Answered == 0 && len(res.Outcomes) != 0 {
			t.Errorf("%+v, %v", res, err) // silence was not waited for
		}
	}
}

// An error of show ends a run.
func TestRunEndsWithAnError(t *testing.T) {
	privnet.Require(t)
	broken := errors.New("broken pipe")
	for _, noWait := range []bool{false, true} {
		r := ask("udp://127.0.0.1:9", nil)
		r.Count, r.NoWait = 100, noWait
		p := opened(t, r, directly)
		if res, err := p.Run(t.Context(), func(*Event) error { return broken }); !errors.Is(err, broken) || res.Sent != 1 {
			t.Errorf("%+v, %v", res, err)
		}
	}
}
