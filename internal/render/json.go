package render

import (
	"strconv"
	"time"

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
		for s := trace.Client; s <= trace.Server; s++ {
			dst = appendString(appendKey(dst, s.String()+"_state"), e.States[s].String())
		}
		if e.Note != 0 {
			dst = appendKey(dst, "notes")
			at := len(dst)
			dst = appendNotes(append(dst, '['), e.Note, `","`)
			dst = append(dst, `"]`...)
			dst = append(dst[:at+1], dst[at+3:]...) // the first separator's `",`
		}
	case trace.StateChanged:
		dst = j.begin(dst, "transition", e)
		dst = appendString(appendKey(dst, "side"), e.Side.String())
		dst = appendString(appendKey(dst, "from"), e.Old.String())
		dst = appendString(appendKey(dst, "to"), e.New.String())
		if e.Timer {
			dst = append(dst, `,"timer":true`...)
		}
		if e.Revised {
			dst = append(dst, `,"revised":true`...)
		}
	case trace.AnomalySeen:
		dst = j.begin(dst, "anomaly", e)
		dst = j.segment(dst, e)
		dst = appendString(appendKey(dst, "anomaly"), e.Anomaly.String())
		dst = appendString(appendKey(dst, "rule"), e.Anomaly.Rule())
	case trace.DatagramSeen:
		dst = j.begin(dst, "datagram", e)
		dst = appendString(appendKey(dst, "protocol"), protocol(e.Proto))
		dst = appendString(appendKey(dst, "from"), e.From.String())
		dst = append(dst, `,"len":`...)
		dst = j.hop(strconv.AppendInt(dst, int64(e.Len), 10), e)
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
	dst = strconv.AppendUint(dst, e.Conn, 10)
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
		dst = strconv.AppendUint(appendKey(dst, "icmp_id"), uint64(client.Port), 10)
	}
	return dst
}

func (j *JSON) segment(dst []byte, e *trace.Event) []byte {
	dst = appendString(appendKey(dst, "from"), e.From.String())
	dst = append(dst, `,"flags":"`...)
	dst = e.Flags.AppendSep(dst, ',')
	dst = append(dst, `","seq":`...)
	dst = j.number(dst, e.Seq, e.SeqBase)
	if e.Flags.Has(decode.ACK) {
		dst = append(dst, `,"ack":`...)
		dst = j.number(dst, e.Ack, e.AckBase)
	}
	dst = append(dst, `,"len":`...)
	dst = strconv.AppendInt(dst, int64(e.Len), 10)
	dst = append(dst, `,"window":`...)
	return j.hop(strconv.AppendUint(dst, uint64(e.Window), 10), e)
}

// hop appends how many hops a packet had left, and where it was captured.
func (j *JSON) hop(dst []byte, e *trace.Event) []byte {
	if !j.Verbose {
		return dst
	}
	dst = strconv.AppendUint(appendKey(dst, "ttl"), uint64(e.TTL), 10)
	if name := interfaceName(j.Interface, e.Iface); name != "" {
		dst = append(appendKey(dst, "interface"), '"')
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
		dst = appendString(appendKey(dst, "answers"), e.From.String())
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
	dst = j.hop(appendString(appendKey(dst, "protocol"), name), e)
	return appendICMP(dst, e.ICMPType, e.ICMPCode, e.IPv6)
}

// appendICMP appends an ICMP message's type and code, and what they say.
func appendICMP(dst []byte, typ, code uint8, v6 bool) []byte {
	dst = append(dst, `,"icmp_type":`...)
	dst = strconv.AppendUint(dst, uint64(typ), 10)
	dst = append(dst, `,"icmp_code":`...)
	dst = strconv.AppendUint(dst, uint64(code), 10)
	if m := icmpMeaning(typ, code, v6); m != "" {
		dst = appendString(appendKey(dst, "meaning"), m)
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
	dst = strconv.AppendUint(dst, c.ID, 10)
	dst = append(dst, `,"community_id":"`...)
	dst = appendCommunityID(dst, c.Proto, c.Client, c.Server, echoRequest(c.Proto), 0)
	dst = append(dst, '"')
	dst = appendPair(dst, c.Proto, c.Client, c.Server)
	if tcp {
		dst = appendString(appendKey(dst, "role"), c.Role.String())
	} else {
		dst = appendString(appendKey(dst, "protocol"), protocol(c.Proto))
	}
	dst = appendTime(appendKey(dst, "start"), c.Start)
	dst = appendTime(appendKey(dst, "end"), c.End)
	dst = appendSeconds(appendKey(dst, "duration"), c.Duration())
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
	dst = strconv.AppendUint(dst, c.Packets[trace.Client], 10)
	dst = append(dst, `,"responses":`...)
	dst = strconv.AppendUint(dst, c.Packets[trace.Server], 10)
	dst = appendBytesOf(dst, c)
	if c.HasRTT {
		dst = appendSeconds(appendKey(dst, "first_response"), c.RTT)
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
	dst = strconv.AppendInt(dst, int64(c.SYNRetransmits), 10)
	if c.HasHalfOpen {
		dst = appendSeconds(appendKey(dst, "half_open"), c.HalfOpen)
	}
	dst = append(dst, '}')
	dst = j.teardown(dst, c)
	for s := trace.Client; s <= trace.Server; s++ {
		dst = appendString(appendKey(dst, s.String()+"_state"), c.States[s].String())
	}
	dst = appendTimeIn(dst, c)
	if c.HasIdle {
		dst = appendSeconds(appendKey(dst, "idle_before_close"), c.Idle)
	}
	dst = append(dst, `,"completeness":`...)
	dst = strconv.AppendUint(dst, uint64(c.Completeness), 10)
	dst = appendString(appendKey(dst, "conn_state"), c.ConnState.String())
	dst = append(dst, `,"history":"`...)
	dst = c.History.AppendTo(dst)
	dst = append(dst, '"')
	for s := trace.Client; s <= trace.Server; s++ {
		dst = strconv.AppendUint(appendKey(dst, s.String()+"_packets"), c.Packets[s], 10)
	}
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
		dst = appendSeconds(appendKey(dst, "duration"), c.TeardownDuration())
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
		dst = appendSeconds(appendKey(dst, "duration"), h.Duration)
		dst = strconv.AppendUint(appendKey(dst, "bytes"), h.Bytes, 10)
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
	dst = appendSeconds(appendKey(dst, "time"), st.Time.Sub(c.Start))
	return append(dst, '}')
}

// appendTimeIn appends how long each end was in the states of the teardown.
func appendTimeIn(dst []byte, c *trace.Conn) []byte {
	begun := false
	for s := trace.Client; s <= trace.Server; s++ {
		first := true
		for st, d := range c.TimeIn[s] {
			if d == 0 || trace.State(st) < trace.FinWait1 {
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
			dst = append(dst, trace.State(st).String()...)
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
	for s := trace.Client; s <= trace.Server; s++ {
		dst = strconv.AppendUint(appendKey(dst, s.String()+"_bytes"), c.Bytes[s], 10)
	}
	return dst
}

// appendCounts appends counts of segments: those that every connection has,
// then those that came.
func appendCounts(dst []byte, c *trace.Conn) []byte {
	for s := trace.Client; s <= trace.Server; s++ {
		dst = appendKey(dst, s.String()+"_flags")
		dst = append(dst, `{"syn":`...)
		dst = strconv.AppendUint(dst, uint64(c.SYN[s]), 10)
		dst = append(dst, `,"fin":`...)
		dst = strconv.AppendUint(dst, uint64(c.FIN[s]), 10)
		dst = append(dst, `,"rst":`...)
		dst = strconv.AppendUint(dst, uint64(c.RST[s]), 10)
		dst = append(dst, '}')
	}
	dst = appendSides(appendKey(dst, "retransmits"), c.Retransmits)
	dst = appendSides(appendKey(dst, "gaps"), c.Gaps)
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
	dst = strconv.AppendUint(dst, uint64(n[0]), 10)
	dst = append(dst, `,"server":`...)
	dst = strconv.AppendUint(dst, uint64(n[1]), 10)
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

// appendTime appends a timestamp in RFC 3339 with nanoseconds, in UTC.
func appendTime(dst []byte, ts decode.Timestamp) []byte {
	dst = append(dst, '"')
	dst = ts.Time().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}
