package render

import (
	"strconv"

	"finack/decode"
	"finack/trace"
)

// JSON renders events as JSON Lines, one object a line with its "type" first.
type JSON struct {
	Absolute bool // sequence numbers as on the wire, not relative
	Verbose  bool // TTLs and interfaces, too
	// Interface is Text's.
	Interface func(uint32) string
}

// AppendEvent appends the object of an event, if it has one.
func (j *JSON) AppendEvent(dst []byte, e *trace.Event) []byte {
	switch e.Kind {
	case trace.SegmentSeen:
		dst = j.begin(dst, "segment", e)
		dst = j.segment(dst, e)
		dst = appendStates(dst, e.States)
		if e.Note != 0 {
			dst = append(dst, `,"notes":`...)
			at := len(dst)
			dst = appendNotes(append(dst, '['), e.Note, `","`)
			dst = append(dst, `"]`...)
			dst = append(dst[:at+1], dst[at+3:]...) // the first separator's `",`
		}
	case trace.StateChanged:
		dst = j.begin(dst, "transition", e)
		dst = appendString(append(dst, `,"side":`...), e.Side.String())
		dst = appendString(append(dst, `,"from":`...), e.Old.String())
		dst = appendString(append(dst, `,"to":`...), e.New.String())
		if e.Timer {
			dst = append(dst, `,"timer":true`...)
		}
		if e.Revised {
			dst = append(dst, `,"revised":true`...)
		}
	case trace.AnomalySeen:
		dst = j.begin(dst, "anomaly", e)
		dst = j.segment(dst, e)
		dst = appendString(append(dst, `,"anomaly":`...), e.Anomaly.String())
		dst = appendString(append(dst, `,"rule":`...), e.Anomaly.Rule())
	case trace.DatagramSeen:
		dst = j.begin(dst, "datagram", e)
		dst = appendString(append(dst, `,"protocol":`...), protocol(e.Proto))
		dst = appendString(append(dst, `,"from":`...), e.From.String())
		dst = append(dst, `,"len":`...)
		dst = j.hop(appendInt(dst, int64(e.Len)), e)
		if echo(e.Proto) {
			dst = appendICMP(dst, e.ICMPType, e.ICMPCode, e.IPv6)
		}
	case trace.ICMPSeen:
		return append(j.icmp(dst, e), "}\n"...)
	case trace.ConnReleased:
		return j.AppendConn(dst, e.Verdict)
	default:
		return dst
	}
	return append(dst, "}\n"...)
}

// begin appends what every object of a connection has.
func (j *JSON) begin(dst []byte, typ string, e *trace.Event) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typ...)
	dst = append(dst, `","time":`...)
	dst = appendTime(dst, e.Time)
	dst = append(dst, `,"id":`...)
	dst = appendUint(dst, e.Conn)
	return appendPair(dst, e.Proto, e.Client, e.Server)
}

// appendPair appends the two ends: addresses with ports or, of ICMP, with the
// identifier beside them.
func appendPair(dst []byte, proto decode.Proto, client, server decode.Endpoint) []byte {
	dst = append(dst, `,"client":"`...)
	dst = appendEnd(dst, proto, client)
	dst = append(dst, `","server":"`...)
	dst = appendEnd(dst, proto, server)
	dst = append(dst, '"')
	if echo(proto) {
		dst = appendUint(append(dst, `,"icmp_id":`...), uint64(client.Port))
	}
	return dst
}

func (j *JSON) segment(dst []byte, e *trace.Event) []byte {
	dst = appendString(append(dst, `,"from":`...), e.From.String())
	dst = append(dst, `,"flags":"`...)
	dst = e.Flags.AppendSep(dst, ',')
	dst = append(dst, `","seq":`...)
	dst = j.number(dst, e.Seq, e.SeqBase)
	if e.Flags.Has(decode.ACK) {
		dst = append(dst, `,"ack":`...)
		dst = j.number(dst, e.Ack, e.AckBase)
	}
	dst = append(dst, `,"len":`...)
	dst = appendInt(dst, int64(e.Len))
	dst = append(dst, `,"window":`...)
	return j.hop(appendUint(dst, uint64(e.Window)), e)
}

// hop appends how many hops a packet had left, and where it was captured.
func (j *JSON) hop(dst []byte, e *trace.Event) []byte {
	if !j.Verbose {
		return dst
	}
	dst = appendUint(append(dst, `,"ttl":`...), uint64(e.TTL))
	if name := interfaceName(j.Interface, e.Iface); name != "" {
		dst = append(append(dst, `,"interface":`...), '"')
		for i := range len(name) {
			if name[i] == '"' || name[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, name[i])
		}
		dst = append(dst, '"')
	}
	return dst
}

func (j *JSON) number(dst []byte, n, base uint32) []byte {
	return appendNumber(dst, n, base, j.Absolute)
}

// icmp appends an ICMP message that belongs to no flow. One that quotes a
// connection or flow has its ends and says whose packet it answers.
func (j *JSON) icmp(dst []byte, e *trace.Event) []byte {
	name := "icmp"
	if e.IPv6 {
		name = "icmpv6"
	}
	if e.Conn != 0 {
		dst = j.begin(dst, "datagram", e)
		dst = appendString(append(dst, `,"answers":`...), e.From.String())
	} else {
		dst = append(dst, `{"type":"datagram","time":`...)
		dst = appendTime(dst, e.Time)
		dst = append(dst, `,"community_id":"`...)
		dst = appendCommunityID(dst, e.Proto, e.Client, e.Server, e.ICMPType, e.ICMPCode)
		dst = append(dst, `","source":"`...)
		dst = e.Client.AddrPort().Addr().AppendTo(dst)
		dst = append(dst, `","destination":"`...)
		dst = e.Server.AddrPort().Addr().AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = j.hop(appendString(append(dst, `,"protocol":`...), name), e)
	return appendICMP(dst, e.ICMPType, e.ICMPCode, e.IPv6)
}

// appendICMP appends an ICMP message's type and code, and what they say.
func appendICMP(dst []byte, typ, code uint8, v6 bool) []byte {
	dst = append(dst, `,"icmp_type":`...)
	dst = appendUint(dst, uint64(typ))
	dst = append(dst, `,"icmp_code":`...)
	dst = appendUint(dst, uint64(code))
	if m := icmpMeaning(typ, code, v6); m != "" {
		dst = appendString(append(dst, `,"meaning":`...), m)
	}
	return dst
}

// AppendConn appends the object of a connection ("connection"), or of a UDP or
// ICMP echo flow ("datagram_flow").
func (j *JSON) AppendConn(dst []byte, c *trace.Conn) []byte {
	tcp := c.Proto == decode.ProtoTCP
	if tcp {
		dst = append(dst, `{"type":"connection","id":`...)
	} else {
		dst = append(dst, `{"type":"datagram_flow","id":`...)
	}
	dst = appendUint(dst, c.ID)
	dst = append(dst, `,"community_id":"`...)
	dst = appendCommunityID(dst, c.Proto, c.Client, c.Server, echoRequest(c.Proto), 0)
	dst = append(dst, '"')
	dst = appendPair(dst, c.Proto, c.Client, c.Server)
	if tcp {
		dst = appendString(append(dst, `,"role":`...), c.Role.String())
	} else {
		dst = appendString(append(dst, `,"protocol":`...), protocol(c.Proto))
	}
	dst = appendTime(append(dst, `,"start":`...), c.Start)
	dst = appendTime(append(dst, `,"end":`...), c.End)
	dst = appendSeconds(append(dst, `,"duration":`...), c.Duration())
	if tcp {
		dst = j.tcp(dst, c)
	} else {
		dst = appendFlow(dst, c)
	}
	if c.Evicted {
		dst = append(dst, `,"evicted":true`...)
	}
	return append(dst, "}\n"...)
}

// appendFlow appends what a flow of datagrams has: no teardown.
func appendFlow(dst []byte, c *trace.Conn) []byte {
	dst = append(dst, `,"requests":`...)
	dst = appendUint(dst, c.Packets[trace.Client])
	dst = append(dst, `,"responses":`...)
	dst = appendUint(dst, c.Packets[trace.Server])
	dst = appendBytesOf(dst, c)
	if c.HasRTT {
		dst = appendSeconds(append(dst, `,"first_response":`...), c.RTT)
	}
	if c.Unreachable {
		dst = append(dst, `,"unreachable":true`...)
		dst = appendICMP(dst, unreachable(c.Client.V6), c.ICMPCode, c.Client.V6)
	}
	return dst
}

// tcp appends a connection's handshake, teardown, states and counts.
func (j *JSON) tcp(dst []byte, c *trace.Conn) []byte {
	dst = append(dst, `,"handshake":{"kind":"`...)
	dst = append(dst, c.Handshake.String()...)
	dst = append(dst, `","rtt":`...)
	if c.HasRTT {
		dst = appendSeconds(dst, c.RTT)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"syn_retransmits":`...)
	dst = appendInt(dst, int64(c.SYNRetransmits))
	if c.HasHalfOpen {
		dst = appendSeconds(append(dst, `,"half_open":`...), c.HalfOpen)
	}
	dst = append(dst, '}')
	dst = j.teardown(dst, c)
	dst = appendStates(dst, c.States)
	dst = appendTimeIn(dst, c)
	if c.HasIdle {
		dst = appendSeconds(append(dst, `,"idle_before_close":`...), c.Idle)
	}
	dst = append(dst, `,"completeness":`...)
	dst = appendUint(dst, uint64(c.Completeness))
	dst = appendString(append(dst, `,"conn_state":`...), c.ConnState.String())
	dst = append(dst, `,"history":"`...)
	dst = c.History.AppendTo(dst)
	dst = append(dst, '"')
	dst = appendUint(append(dst, `,"client_packets":`...), c.Packets[trace.Client])
	dst = appendUint(append(dst, `,"server_packets":`...), c.Packets[trace.Server])
	dst = appendBytesOf(dst, c)
	if c.DataUnseen {
		dst = append(dst, `,"data_unseen":true`...)
	}
	return appendCounts(dst, c)
}

// teardown appends how a connection ended and who closed it first.
func (j *JSON) teardown(dst []byte, c *trace.Conn) []byte {
	dst = append(dst, `,"teardown":{"kind":"`...)
	dst = append(dst, c.Teardown.String()...)
	dst = append(dst, `","active_closer":"`...)
	dst = append(dst, c.Closer.String()...)
	dst = append(dst, `","complete":`...)
	dst = strconv.AppendBool(dst, c.Complete)
	if c.NumSteps > 0 {
		dst = appendSeconds(append(dst, `,"duration":`...), c.TeardownDuration())
		dst = append(dst, `,"why":"`...)
		dst = appendWhy(dst, c, j.Absolute)
		dst = append(dst, '"')
	}
	if c.WasReset {
		dst = append(dst, `,"reset":{"by":"`...)
		dst = append(dst, c.ResetBy.String()...)
		dst = append(dst, `","after":"`...)
		dst = append(dst, c.ResetAfter.String()...)
		dst = append(dst, `"}`...)
	}
	if h := &c.HalfClose; h.Seen {
		dst = append(dst, `,"half_close":{"by":"`...)
		dst = append(dst, h.By.String()...)
		dst = append(dst, '"')
		dst = appendSeconds(append(dst, `,"duration":`...), h.Duration)
		dst = appendUint(append(dst, `,"bytes":`...), h.Bytes)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"steps":[`...)
	for i := range c.Steps[:c.NumSteps] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = j.step(dst, c, &c.Steps[i])
	}
	return append(dst, "]}"...)
}

func (j *JSON) step(dst []byte, c *trace.Conn, st *trace.Step) []byte {
	dst = append(dst, `{"from":"`...)
	dst = append(dst, st.From.String()...)
	dst = append(dst, `","flags":"`...)
	dst = st.Flags.AppendSep(dst, ',')
	dst = append(dst, `","seq":`...)
	dst = j.number(dst, st.Seq, c.Base[st.From])
	if st.Flags.Has(decode.ACK) {
		dst = append(dst, `,"ack":`...)
		dst = j.number(dst, st.Ack, c.Base[st.From.Peer()])
	}
	if !j.Absolute && !(c.BaseISS[0] && c.BaseISS[1]) {
		dst = append(dst, `,"relative":"first-seen"`...)
	}
	dst = appendSeconds(append(dst, `,"time":`...), st.Time.Sub(c.Start))
	return append(dst, '}')
}

// appendTimeIn appends how long each end was in the states of the teardown.
func appendTimeIn(dst []byte, c *trace.Conn) []byte {
	begun := false
	for s := trace.Client; s <= trace.Server; s++ {
		first := true
		for st := trace.FinWait1; int(st) < trace.NumStates; st++ {
			d := c.TimeIn[s][st]
			if d == 0 {
				continue
			}
			if !begun {
				dst = append(dst, `,"time_in":{`...)
			}
			if first {
				if begun {
					dst = append(dst, ',')
				}
				dst = append(dst, '"')
				dst = append(dst, s.String()...)
				dst = append(dst, `":{`...)
			} else {
				dst = append(dst, ',')
			}
			begun, first = true, false
			dst = append(dst, '"')
			dst = append(dst, st.String()...)
			dst = append(dst, `":`...)
			dst = appendSeconds(dst, d)
		}
		if !first {
			dst = append(dst, '}')
		}
	}
	if begun {
		dst = append(dst, '}')
	}
	return dst
}

func appendBytesOf(dst []byte, c *trace.Conn) []byte {
	dst = appendUint(append(dst, `,"client_bytes":`...), c.Bytes[trace.Client])
	return appendUint(append(dst, `,"server_bytes":`...), c.Bytes[trace.Server])
}

// appendStates appends the states of both ends.
func appendStates(dst []byte, states [2]trace.State) []byte {
	dst = append(dst, `,"client_state":"`...)
	dst = append(dst, states[trace.Client].String()...)
	dst = append(dst, `","server_state":"`...)
	dst = append(dst, states[trace.Server].String()...)
	return append(dst, '"')
}

// appendCounts appends counts of segments: those that every connection has,
// then those that came.
func appendCounts(dst []byte, c *trace.Conn) []byte {
	for s := trace.Client; s <= trace.Server; s++ {
		dst = append(dst, [...]string{`,"client_flags":{"syn":`, `,"server_flags":{"syn":`}[s]...)
		dst = appendUint(dst, uint64(c.SYN[s]))
		dst = appendUint(append(dst, `,"fin":`...), uint64(c.FIN[s]))
		dst = appendUint(append(dst, `,"rst":`...), uint64(c.RST[s]))
		dst = append(dst, '}')
	}
	dst = appendSides(append(dst, `,"retransmits":`...), c.Retransmits)
	dst = appendSides(append(dst, `,"gaps":`...), c.Gaps)
	for _, x := range [...]struct {
		key string
		n   [2]uint32
	}{
		{"out_of_order", c.OutOfOrder},
		{"duplicates", c.Duplicates},
		{"keep_alives", c.KeepAlives},
		{"zero_window_probes", c.ZeroWindowProbes},
		{"challenge_acks", c.ChallengeACKs},
	} {
		if x.n != [2]uint32{} {
			dst = appendSides(appendKey(dst, x.key), x.n)
		}
	}
	return dst
}

func appendSides(dst []byte, n [2]uint32) []byte {
	dst = append(dst, `{"client":`...)
	dst = appendUint(dst, uint64(n[0]))
	dst = append(dst, `,"server":`...)
	dst = appendUint(dst, uint64(n[1]))
	return append(dst, '}')
}

func appendKey(dst []byte, key string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, key...)
	return append(dst, `":`...)
}

// appendString appends a string that needs no escape: all of ours are words.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendTime appends a timestamp in RFC 3339 with nanoseconds, in UTC: what
// time.RFC3339Nano gives in three times the time.
func appendTime(dst []byte, ts decode.Timestamp) []byte {
	t := ts.Time() // a Timestamp's years have four digits
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	dst = append(dst, '"')
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = appendTwo(append(dst, '-'), int(month))
	dst = appendTwo(append(dst, '-'), day)
	dst = appendTwo(append(dst, 'T'), hour)
	dst = appendTwo(append(dst, ':'), minute)
	dst = appendTwo(append(dst, ':'), sec)
	return append(appendFraction(dst, t.Nanosecond()), `Z"`...)
}
