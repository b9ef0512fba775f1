package probe

import (
	"encoding/json"
	"strings"
	"time"

	"finack/decode"
	"finack/internal/render"
)

// JSON renders a run as JSON Lines, one object a line with its "type" first:
// "sent", "answer", "kernel_reset", and "result" at the end. Times are seconds,
// timestamps RFC 3339, sequence numbers those on the wire; what does not apply
// is absent.
type JSON struct{}

type jsonPacket struct {
	Type      string   `json:"type"`
	N         int      `json:"n"`
	Time      string   `json:"time"`
	RTT       *float64 `json:"rtt,omitempty"`
	From      string   `json:"from"`
	To        string   `json:"to"`
	Protocol  string   `json:"protocol"`
	Flags     *string  `json:"flags,omitempty"`
	Seq       *uint32  `json:"seq,omitempty"`
	Ack       *uint32  `json:"ack,omitempty"`
	Window    *uint16  `json:"window,omitempty"`
	ICMPType  *uint8   `json:"icmp_type,omitempty"`
	ICMPCode  *uint8   `json:"icmp_code,omitempty"`
	ICMPID    *uint16  `json:"icmp_id,omitempty"`
	ICMPSeq   *uint16  `json:"icmp_seq,omitempty"`
	Meaning   string   `json:"meaning,omitempty"`
	Len       int      `json:"len"`
	Fragments int      `json:"fragments,omitempty"`
	Again     bool     `json:"again,omitempty"`
	Proves    string   `json:"proves,omitempty"`
}

// AppendEvent appends the object of a packet.
func (JSON) AppendEvent(dst []byte, e *Event) []byte {
	p := &e.Packet
	o := jsonPacket{
		Type: [...]string{"sent", "answer", "kernel_reset"}[e.Kind], N: e.N,
		Time: p.Time.Time().Format(time.RFC3339Nano),
		From: end(p, p.Src), To: end(p, p.Dst), Protocol: protocol(p.Proto),
		Len: p.Len, Again: e.Again, Proves: e.Proves,
	}
	switch p.Proto {
	case decode.ProtoTCP:
		flags := p.Segment.Flags.String()
		o.Flags, o.Seq, o.Window = &flags, &p.Segment.Seq, &p.Segment.Window
		if p.Segment.Flags.Has(decode.ACK) {
			o.Ack = &p.Segment.Ack
		}
	case decode.ProtoICMP, decode.ProtoICMPv6:
		o.ICMPType, o.ICMPCode = &p.ICMP.Type, &p.ICMP.Code
		o.Meaning = render.ICMPMeaning(p.ICMP.Type, p.ICMP.Code, p.Version == 6)
		if p.ICMP.Echo {
			o.ICMPID, o.ICMPSeq = &p.ICMP.ID, &p.ICMP.Seq
		}
	}
	switch e.Kind {
	case Sent:
		o.Len = e.Len
		if e.Fragments > 1 {
			o.Fragments = e.Fragments
		}
	case Answer:
		rtt := e.RTT.Seconds()
		o.RTT = &rtt
	}
	return appendJSON(dst, o)
}

// end is an address, with a port where the protocol has some.
func end(p *decode.Packet, e decode.Endpoint) string {
	if p.Proto == decode.ProtoTCP || p.Proto == decode.ProtoUDP {
		return e.String()
	}
	return e.AddrPort().Addr().String()
}

// protocol is its name in the JSON contract, or its number.
func protocol(p decode.Proto) string {
	return strings.TrimPrefix(strings.ToLower(p.String()), "proto ")
}

type jsonResult struct {
	Type     string        `json:"type"`
	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	NotSeen  int           `json:"not_seen,omitempty"`
	Dropped  uint64        `json:"dropped,omitempty"`
	RTT      *jsonTimes    `json:"rtt,omitempty"`
	Outcomes []jsonOutcome `json:"outcomes,omitempty"`
}

type jsonTimes struct {
	Min float64 `json:"min"`
	P50 float64 `json:"p50"`
	Max float64 `json:"max"`
}

type jsonOutcome struct {
	N       int    `json:"n"`
	Outcome string `json:"outcome"`
}

// AppendResult appends the object that closes a run.
func (JSON) AppendResult(dst []byte, r *Result) []byte {
	o := jsonResult{Type: "result", Sent: r.Sent, Answered: r.Answered, NotSeen: r.Unseen, Dropped: r.Lost}
	if r.Answered > 0 {
		o.RTT = &jsonTimes{r.RTT.Min.Seconds(), r.RTT.P50.Seconds(), r.RTT.Max.Seconds()}
	}
	for _, m := range r.Outcomes {
		o.Outcomes = append(o.Outcomes, jsonOutcome{m.N, m.Text})
	}
	return appendJSON(dst, o)
}

// appendJSON appends v on a line; what v is made of cannot fail.
func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return dst
	}
	return append(append(dst, b...), '\n')
}
