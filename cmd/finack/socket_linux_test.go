package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/internal/privnet"
)

// closings makes connections on a loopback address that end in the ways that
// do not depend on timing, and returns when they have.
func closings(t *testing.T, addr string) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, play := range []func(client, server end){
		func(c, s end) { c.does(sendFIN); s.does(untilEOF, leave); c.does(untilEOF, leave) },
		func(c, s end) { s.does(sendFIN); c.does(untilEOF, leave); s.does(untilEOF, leave) },
		func(c, s end) { c.does(abort); s.does(untilReset, leave) },
		func(c, s end) { s.does(abort); c.does(untilReset, leave) },
		func(c, s end) {
			c.does(sendFIN)
			s.does(untilEOF, send)
			c.does(take)
			s.does(leave)
			c.does(untilEOF, leave)
		},
	} {
		dialed, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		client, server := end{dialed.(*net.TCPConn), &err}, end{accepted.(*net.TCPConn), &err}
		for _, c := range []end{client, server} {
			_ = c.SetDeadline(time.Now().Add(patience))
		}
		converse(client, server)
		play(client, server)
		if err != nil {
			t.Fatal(err)
		}
	}
	ln.Close()
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil { // refused
		c.Close()
		t.Fatal("a closed port answers")
	}
}

// verdicts returns the connections of a JSON output by their addresses, without
// what depends on when or as what number they were seen.
func verdicts(t *testing.T, out string) map[string]any {
	t.Helper()
	contract := newContract(t)
	found := make(map[string]any)
	for line := range strings.Lines(out) {
		contract.line(line)
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if o["type"] == "connection" {
			found[fmt.Sprint(o["client"], " → ", o["server"])] = withoutTimes(o)
		}
	}
	return found
}

func withoutTimes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			switch key {
			case "id", "time", "start", "end", "duration", "time_in", "idle_before_close", "rtt", "half_open":
				delete(v, key)
			default:
				withoutTimes(value)
			}
		}
	case []any:
		for _, value := range v {
			withoutTimes(value)
		}
	}
	return v
}

// What raw sockets hear on loopback is judged as what watch captures there.
func TestListenAgreesWithWatch(t *testing.T) {
	privnet.Require(t)
	watch := startWatch(t, "-i", "lo", "--json", "tcp")
	listen := start(t, "finack", nil, "socket", "listen", "--protocol", "tcp", "--json", "-v")
	listen.await("not seen: what this host sends, except on lo")
	listen.await("not seen: IPv6 headers")
	listen.await("listening on socket(AF_INET, SOCK_RAW, IPPROTO_TCP)")
	listen.await("listening on socket(AF_INET6, SOCK_RAW, IPPROTO_TCP)")
	const rounds = 5
	for range rounds {
		closings(t, "127.0.0.1")
		closings(t, "::1")
	}
	settledStates(t)
	heard := listen.end()
	want, got := verdicts(t, watch.end()), verdicts(t, heard)
	if len(want) != 2*6*rounds {
		t.Errorf("watch saw %d connections, want %d", len(want), 2*6*rounds)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-watch +listen):\n%s", diff)
	}
	// Each segment tells where it was heard and how far it has come.
	segments := strings.Count(heard, `{"type":"segment"`)
	if n := strings.Count(heard, `,"ttl":64,"interface":"lo",`); n < segments || segments == 0 {
		t.Errorf("%d of %d segments tell TTL and interface", n, segments)
	}
}

// comparison is a line of socket listen --compare --json.
type comparison struct {
	Type, Client, Server, Interface string
	Protocol                        int
	Views                           []struct {
		Socket        string
		ClientPackets int `json:"client_packets"`
		ServerPackets int `json:"server_packets"`
		ClientBytes   int `json:"client_bytes"`
		Dropped       int
		Verdict       string
	}
}

// compared parses the output of --compare --json.
func compared(t *testing.T, out string) []comparison {
	t.Helper()
	contract := newContract(t)
	var list []comparison
	for line := range strings.Lines(out) {
		contract.line(line)
		var c comparison
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if c.Type != "comparison" || len(c.Views) != 3 {
			t.Errorf("%s", line)
			continue
		}
		list = append(list, c)
	}
	return list
}

// On loopback a raw socket and one of ETH_P_IP see each packet once, one of
// ETH_P_ALL twice.
func TestCompareOnLoopback(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct{ domain, addr, raw, version string }{
		{"inet", "127.0.0.1", "socket(AF_INET, SOCK_RAW, IPPROTO_TCP)", "socket(AF_PACKET, SOCK_DGRAM, ETH_P_IP)"},
		{"inet6", "::1", "socket(AF_INET6, SOCK_RAW, IPPROTO_TCP)", "socket(AF_PACKET, SOCK_DGRAM, ETH_P_IPV6)"},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			compare := start(t, "finack", nil, "socket", "listen", "--compare", "--domain", tt.domain, "--json")
			compare.await("comparing")
			watch := startWatch(t, "-i", "lo", "--json", "tcp")
			closings(t, "127.0.0.1")
			closings(t, "::1")
			settledStates(t)
			list := compared(t, compare.end())
			watched := verdicts(t, watch.end())
			if len(list) != 6 {
				t.Fatalf("%d connections, want 6", len(list))
			}
			for _, c := range list {
				conn, ok := watched[c.Client+" → "+c.Server].(map[string]any)
				if !ok || c.Interface != "lo" || c.Protocol != 6 {
					t.Errorf("%+v: watch did not see it", c)
					continue
				}
				there, back := int(conn["client_packets"].(float64)), int(conn["server_packets"].(float64))
				for i, want := range []struct {
					socket  string
					times   int
					verdict string
				}{
					{tt.raw, 1, "each packet once"},
					{tt.version, 1, "each packet once"},
					{"socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)", 2, "each packet twice"},
				} {
					v := c.Views[i]
					if v.Socket != want.socket || v.ClientPackets != want.times*there || v.ServerPackets != want.times*back ||
						v.Dropped != 0 || !strings.HasPrefix(v.Verdict, want.verdict) || v.ClientBytes != want.times*c.Views[0].ClientBytes {
						t.Errorf("%s → %s: %+v; %d and %d segments", c.Client, c.Server, v, there, back)
					}
				}
			}
		})
	}
}

// On a real link only ETH_P_ALL sees both directions: the others do not see
// what their own host sends.
func TestCompareOnARealLink(t *testing.T) {
	privnet.Require(t)
	wire, err := privnet.NewWire(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wire.Close(); err != nil {
			t.Error(err)
		}
	})
	n := between(wire)
	var compare [2]*process // at A, the client, and at B
	var listen *process
	for i, host := range []host{n.client, n.server} {
		if err := host.do(func() error {
			compare[i] = start(t, "finack", nil, "socket", "listen", "--compare", "--json", "-i", "eth0")
			compare[i].await("comparing")
			if i == 0 {
				listen = start(t, "finack", nil, "socket", "listen", "--json")
				listen.await("listening on socket(AF_INET6")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	l := n.server.listen(t, 0)
	c, err := n.client.dial(l.Addr(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	client, server := end{c, &failed}, end{s, &failed}
	converse(client, server)
	client.does(sendFIN)
	server.does(untilEOF, leave)
	client.does(untilEOF, leave)
	if failed != nil {
		t.Fatal(failed)
	}
	n.settle(t, nil)
	there, back := 0, 0
	for i, p := range compare {
		list := compared(t, p.end())
		if len(list) != 1 || list[0].Client != c.LocalAddr().String() || list[0].Interface != "eth0" {
			t.Fatalf("host %d: %+v", i, list)
		}
		all := list[0].Views[2]
		if all.ClientPackets < 5 || all.ServerPackets < 4 || !strings.HasPrefix(all.Verdict, "both directions, each packet once") {
			t.Errorf("host %d: %+v", i, all)
		}
		if i == 0 {
			there, back = all.ClientPackets, all.ServerPackets
		} else if there != all.ClientPackets || back != all.ServerPackets {
			t.Errorf("A has %d and %d packets, B %d and %d", there, back, all.ClientPackets, all.ServerPackets)
		}
		want := [2]int{0, back} // what arrives at A
		sent := there
		if i == 1 {
			want, sent = [2]int{there, 0}, back
		}
		for _, v := range list[0].Views[:2] {
			if got := [2]int{v.ClientPackets, v.ServerPackets}; got != want || v.Verdict != fmt.Sprintf("only what arrives: none of the %d packets that this host sent", sent) {
				t.Errorf("host %d: %+v, want %v", i, v, want)
			}
		}
	}
	// And so half of the connection is missing to a raw socket that traces it.
	heard := verdicts(t, listen.end())
	conn, ok := heard[fmt.Sprint(c.LocalAddr(), " → ", c.RemoteAddr())].(map[string]any)
	if !ok || conn["client_packets"] != 0. || conn["server_packets"] != float64(back) {
		t.Errorf("listening at A: %v, want 0 and %d packets", heard, back)
	}
}

// What socket open --json prints follows the schema, for every answer.
func TestSocketOpenFollowsSchema(t *testing.T) {
	privnet.Require(t)
	contract := newContract(t)
	var out, stderr bytes.Buffer
	if status := run(context.Background(), []string{"socket", "open", "--table", "--json"}, std{nil, &out, &stderr}); status != exitOK {
		t.Fatalf("exit status %d, stderr %q", status, stderr.String())
	}
	opened := 0
	for line := range strings.Lines(out.String()) {
		contract.line(line)
		if strings.Contains(line, `"opened":true`) {
			opened++
		}
	}
	if opened < 45 {
		t.Errorf("%d sockets opened", opened)
	}
}
