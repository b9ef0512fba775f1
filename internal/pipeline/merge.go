package pipeline

import (
	"math"

	"finack/trace"
)

// merger puts what the shards tell in one order and numbers their connections
// in the order of their first packets.
type merger struct {
	shards []*shard
	sink   sink
	err    error // of the output
	last   uint64
	heads  []head
	timers []trace.Event
}

// head is what a shard tells of the batch at hand, or of the connections that
// are left at the end.
type head struct {
	*told
	ids   map[uint64]uint64 // the run's number of each connection, by the shard's own
	conns uint64            // the shard's number of the last one
	next  int               // of told.groups; at the end, of told.events
	begun int               // of told.opened
}

func newMerger(cfg *Config, list []*shard) merger {
	m := merger{shards: list, sink: sink{Config: cfg}, heads: make([]head, len(list))}
	for i := range m.heads {
		m.heads[i].ids = map[uint64]uint64{}
	}
	return m
}

// merge takes what all shards tell of the next batch.
func (m *merger) merge(flush bool) {
	for i := range m.heads {
		h := &m.heads[i]
		h.told, h.next, h.begun = <-m.shards[i].out, 0, 0
	}
	for {
		packet := int32(math.MaxInt32)
		for i := range m.heads {
			packet = min(packet, m.heads[i].packet())
		}
		if packet == math.MaxInt32 {
			break
		}
		m.one(packet)
	}
	for i := range m.heads {
		m.shards[i].spare <- m.heads[i].told
	}
	if flush {
		m.keep(m.sink.flush())
	}
}

// one takes what one packet caused: the timers of all shards, then the events
// of the one that has it.
func (m *merger) one(packet int32) {
	m.timers = m.timers[:0]
	for i := range m.heads {
		if h := &m.heads[i]; h.next < len(h.groups) && h.groups[h.next].packet == packet && h.groups[h.next].timers {
			m.timers = append(m.timers, h.take()...)
		}
	}
	m.keep(m.sink.emit(m.timers, nil))
	for i := range m.heads {
		h := &m.heads[i]
		for ; h.begun < len(h.opened) && h.opened[h.begun] == packet; h.begun++ {
			h.conns++
			m.last++
			h.ids[h.conns] = m.last
		}
		if h.packet() == packet {
			m.keep(m.sink.emit(h.take(), nil))
		}
	}
}

// packet returns the place in the batch of the packet that the next group, or
// the next new connection, is of.
func (h *head) packet() int32 {
	p := int32(math.MaxInt32)
	if h.next < len(h.groups) {
		p = h.groups[h.next].packet
	}
	if h.begun < len(h.opened) {
		p = min(p, h.opened[h.begun])
	}
	return p
}

// take returns the events of the next group, with the run's numbers.
func (h *head) take() []trace.Event {
	if h.next == len(h.groups) {
		return nil
	}
	g := h.groups[h.next]
	h.next++
	events := h.events[g.from:g.to]
	for i := range events {
		h.number(&events[i])
	}
	return events
}

// number gives an event the run's number of its connection.
func (h *head) number(e *trace.Event) {
	if e.Conn == 0 {
		return // an ICMP message that quotes none
	}
	own := e.Conn
	e.Conn = h.ids[own]
	if e.Verdict != nil {
		e.Verdict.ID = e.Conn
	}
	if e.Kind == trace.ConnReleased {
		delete(h.ids, own)
	}
}

// rest takes the connections that are left when the capture has ended, in the
// order of their numbers.
func (m *merger) rest() {
	for i := range m.heads {
		m.heads[i].told = nil
		m.refill(i)
	}
	for {
		first := -1
		for i := range m.heads {
			if h := &m.heads[i]; h.told != nil && (first < 0 || h.events[h.next].Conn < m.heads[first].events[m.heads[first].next].Conn) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		h := &m.heads[first]
		m.keep(m.sink.emit(h.events[h.next:h.next+1], nil))
		if h.next++; h.next == len(h.events) {
			m.refill(first)
		}
	}
}

// refill gets more of the connections that a shard has left.
func (m *merger) refill(i int) {
	h, sh := &m.heads[i], m.shards[i]
	for {
		if h.told != nil {
			sh.spare <- h.told
		}
		h.told, h.next = <-sh.out, 0
		if h.told == nil || len(h.events) > 0 {
			break
		}
	}
	if h.told != nil {
		for j := range h.events {
			h.number(&h.events[j])
		}
	}
}

// keep remembers the first error.
func (m *merger) keep(err error) {
	if m.err == nil {
		m.err = err
	}
}
