package tracetest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"finack/decode"
	"finack/trace"
)

// Conn returns the last connection to a server when it is over: both ends are
// CLOSED or in TIME_WAIT. If none has begun it waits for one. It fails the test
// when that takes longer than the trace's patience, and shows what there was.
//
// The server is an address and a port, as net.Listener's Addr().String() gives
// it. The unspecified address, as of a listener on ":8080", stands for every
// address, and localhost for 127.0.0.1 and ::1.
func (tr *Trace) Conn(t testing.TB, server string) *Conn {
	t.Helper()
	return tr.conn(t, toServer(t, server), "a connection to "+server)
}

// ConnFrom is Conn for the last connection of one client to a server, whose
// address is that of its socket, net.Conn's LocalAddr().String(). The kernel may
// use the same one for connections to several servers.
func (tr *Trace) ConnFrom(t testing.TB, client, server string) *Conn {
	t.Helper()
	from, to := place(t, client), place(t, server)
	between := func(e *trace.Event) bool { return from.is(e.Client) && to.is(e.Server) }
	return tr.conn(t, match{decode.ProtoTCP, between}, "a connection from "+client+" to "+server)
}

// Conns returns the connections to a server that have begun so far, in their
// order, when all are over. It waits for as many as n and fails the test if
// there are more.
func (tr *Trace) Conns(t testing.TB, server string, n int) []*Conn {
	t.Helper()
	m := toServer(t, server)
	var found []uint64
	enough := func() bool {
		found = tr.find(m)
		for _, id := range found {
			if !tr.conns[id].over {
				return false
			}
		}
		return len(found) >= n
	}
	err := tr.sync(t)
	if err == nil {
		err = tr.until(t, tr.cfg.Patience, enough, nil)
	}
	if err != nil || len(found) != n {
		tr.giveUp(t, fmt.Sprintf("connections to %s: want %d, each over, got %d", server, n, len(found)), err, found...)
	}
	conns := make([]*Conn, len(found))
	for i, id := range found {
		conns[i] = &Conn{tr.account(id)}
	}
	return conns
}

// Until returns the last connection to a server as soon as its packets match a
// pattern (see Match), over or not. If none has begun it waits for one.
func (tr *Trace) Until(t testing.TB, server, pattern string) *Conn {
	t.Helper()
	p, err := parsePattern(pattern)
	if err != nil {
		t.Fatalf("tracetest: %v", err)
	}
	id, err := tr.await(t, toServer(t, server), func(s *story) bool { return p.match(s.events).ok() })
	if err == nil {
		return &Conn{tr.account(id)}
	}
	tr.mu.Lock()
	what := "no connection to " + server + " began"
	mark := -1
	if id != 0 {
		m := p.match(tr.conns[id].events)
		what, mark = p.explain(tr.conns[id].events, m)
	}
	tr.mu.Unlock()
	if id == 0 {
		tr.giveUp(t, what, err)
	}
	a := tr.account(id)
	a.fatal(t, mark, "%s %v", what, err)
	return nil
}

// Flow returns the last UDP flow to a server, as much of it as there is: a flow
// has no end. If none has begun it waits for one. See Conn for the server.
func (tr *Trace) Flow(t testing.TB, server string) *Flow {
	t.Helper()
	m := toServer(t, server)
	m.proto = decode.ProtoUDP
	id, err := tr.await(t, m, func(*story) bool { return true })
	if err != nil {
		tr.giveUp(t, "no datagram to "+server+" came", err)
	}
	return &Flow{tr.account(id)}
}

// conn returns the last connection that matches when it is over.
func (tr *Trace) conn(t testing.TB, m match, what string) *Conn {
	t.Helper()
	id, err := tr.await(t, m, func(s *story) bool { return s.over })
	switch {
	case err == nil:
	case id == 0:
		tr.giveUp(t, "want "+what+", none began", err)
	default:
		tr.giveUp(t, "want "+what+" to end, it did not", err, id)
	}
	return &Conn{tr.account(id)}
}

// await waits until the last connection or flow that matches holds; of those
// that began before the call, else the first that comes. Its number is 0 when
// there is none.
func (tr *Trace) await(t testing.TB, m match, holds func(*story) bool) (id uint64, err error) {
	t.Helper()
	if err := tr.sync(t); err != nil {
		return 0, err
	}
	err = tr.until(t, tr.cfg.Patience, func() bool {
		if id == 0 {
			if found := tr.find(m); len(found) > 0 {
				id = found[len(found)-1]
			}
		}
		return id != 0 && holds(tr.conns[id])
	}, nil)
	return id, err
}

// giveUp fails the test: what was wanted did not come, and these are the
// connections in question, or else all that there are.
func (tr *Trace) giveUp(t testing.TB, what string, err error, ids ...uint64) {
	t.Helper()
	b := []byte(what)
	if err != nil {
		b = fmt.Appendf(b, " %v", err)
	}
	if len(ids) == 0 {
		b = tr.appendAll(b)
	}
	for _, id := range ids {
		a := tr.account(id)
		b = a.appendTo(append(b, '\n'), -1)
	}
	t.Fatalf("%s\n%s", b, tr.save(t))
}

// maxShown is how many connections an error names, and about half of how many
// packets it shows of one.
const maxShown = 30

// appendAll appends a line for each connection and flow in the trace.
func (tr *Trace) appendAll(dst []byte) []byte {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.order) == 0 {
		return append(dst, "; the capture shows no packet at all"...)
	}
	dst = append(dst, "; the capture shows"...)
	for i, id := range tr.order {
		if i == maxShown {
			return fmt.Appendf(dst, "\n  … and %d more", len(tr.order)-i)
		}
		e := &tr.conns[id].events[0]
		dst = fmt.Appendf(dst, "\n  %v %v → %v", e.Proto, e.Client, e.Server)
		if e.Proto == decode.ProtoTCP && !begins(e) {
			dst = append(dst, ", which began before"...)
		}
	}
	return dst
}

// match chooses connections or flows by their first packet.
type match struct {
	proto decode.Proto
	is    func(first *trace.Event) bool
}

// find returns the numbers of those that match, in their order. The trace must
// be locked.
func (tr *Trace) find(m match) (found []uint64) {
	for _, id := range tr.order {
		events := tr.conns[id].events
		if first := &events[0]; first.Proto == m.proto && m.is(&events[len(events)-1]) && begins(first) {
			found = append(found, id)
		}
	}
	return found
}

// begins reports whether a first packet is the beginning of what it belongs to.
func begins(e *trace.Event) bool {
	return e.Proto != decode.ProtoTCP || e.Flags.Has(decode.SYN) && !e.Flags.Has(decode.ACK)
}

func toServer(t testing.TB, server string) match {
	t.Helper()
	at := place(t, server)
	return match{decode.ProtoTCP, func(e *trace.Event) bool { return at.is(e.Server) }}
}

// location is an address as users write it.
type location struct {
	addr     netip.Addr // unspecified: any
	port     uint16
	loopback bool // localhost
}

func (l location) is(e decode.Endpoint) bool {
	addr := e.AddrPort().Addr()
	return e.Port == l.port && (l.loopback && addr.IsLoopback() || l.addr.IsUnspecified() || addr == l.addr)
}

// place takes an address and a port.
func place(t testing.TB, text string) location {
	t.Helper()
	if host, port, ok := strings.Cut(text, ":"); ok && (host == "localhost" || host == "") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			l := location{port: uint16(n), loopback: host != "", addr: netip.IPv6Unspecified()}
			if l.loopback {
				l.addr = netip.Addr{}
			}
			return l
		}
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		t.Fatalf("tracetest: %q: want an address and a port, as 127.0.0.1:8080", text)
	}
	return location{addr: ap.Addr().Unmap().WithZone(""), port: ap.Port()}
}
