package notation

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"finack/decode"
	"finack/internal/craft"
)

// Writer writes frames as lines. The zero value is ready. It names the ends of
// connections, and keeps a few words for each connection and IP ID.
type Writer struct {
	reader  reader
	names   names
	ids     map[[2]decode.Endpoint]map[uint16]use // by addresses, from and to
	started bool
	base    decode.Timestamp // of the first line
	last    int64            // microseconds from base to the last line
	count   int              // packets
}

// use is where an IP ID was last used, and what the text calls it.
type use struct {
	id    uint16
	count int
}

// AppendFrame appends the line of a frame to dst, and before it those that
// declare ends. It copies what it needs of the frame. An *Error names what a
// line cannot say; the frame is left out then, and the next may follow.
func (w *Writer) AppendFrame(dst []byte, f *decode.Frame) ([]byte, error) {
	p, err := w.reader.read(f)
	if err != nil {
		return dst, err
	}
	t, err := w.time(f.Time)
	if err != nil {
		return dst, err
	}
	w.count++
	e := w.names.of(&p)
	dst = w.names.appendDeclared(dst)
	dst = w.appendTime(dst, t)
	dst = w.appendPacket(dst, &p, e)
	return append(dst, '\n'), nil
}

// AppendAdvance appends the line that says that it is now at least that late.
func (w *Writer) AppendAdvance(dst []byte, now decode.Timestamp) ([]byte, error) {
	t, err := w.time(now)
	if err != nil || t < w.last {
		return dst, err
	}
	d := time.Duration(t-w.last) * time.Microsecond
	w.last = t
	return append(append(append(dst, "advance "...), d.String()...), '\n'), nil
}

// time returns a time as the lines count it: in microseconds from the first.
func (w *Writer) time(now decode.Timestamp) (int64, error) {
	if !w.started {
		w.started, w.base = true, now
	}
	if far := now.Time().Sub(w.base.Time()); int64(far) > maxTime || int64(far) < -maxTime {
		return 0, refuse("a time that is more than 4e9 s from the first packet's")
	}
	d := now.Sub(w.base).Nanoseconds()
	us := d / 1000
	if d%1000 < 0 {
		us--
	}
	return us, nil
}

// appendTime appends a time after the line before where it can.
func (w *Writer) appendTime(dst []byte, t int64) []byte {
	d := t
	switch {
	case t > w.last || t == w.last && w.count > 1:
		dst, d = append(dst, '+'), t-w.last
	case t < 0:
		dst, d = append(dst, '-'), -t
	}
	w.last = t
	dst = strconv.AppendInt(dst, d/1e6, 10)
	frac := strconv.Itoa(int(d % 1e6))
	return append(append(append(dst, '.'), "000000"[len(frac):]...), frac...)
}

func (w *Writer) appendPacket(dst []byte, p *packet, e ends) []byte {
	dst = appendEnds(dst, e)
	dst = appendWhat(dst, p, e)
	dst = w.appendID(dst, p)
	dst = appendIPWords(dst, p)
	switch {
	case p.sum == craft.SumWrong:
		dst = append(dst, " badsum"...)
	case p.sum == craft.SumZero:
		dst = append(dst, " nosum"...)
	}
	dst = appendOptions(dst, p)
	if p.quote != nil {
		dst = appendQuote(dst, p.quote, *e.quote)
	}
	return dst
}

func appendEnds(dst []byte, e ends) []byte {
	dst = append(append(dst, ' '), e.src.name...)
	return append(append(dst, " > "...), e.to.name...)
}

// appendWhat appends what is sent, but for what the IP header says.
func appendWhat(dst []byte, p *packet, e ends) []byte {
	switch p.kind {
	case isTCP:
		return appendTCP(dst, p, e)
	case isUDP:
		return appendLength(append(dst, " udp"...), p.n)
	}
	if reply, ok := p.echo(); ok {
		dst = append(dst, " echo request"...)
		if reply {
			dst = append(dst[:len(dst)-len("request")], "reply"...)
		}
		dst = appendWord(dst, "id", p.icmp.Rest>>16)
		if seq := p.icmp.Rest & 0xffff; seq != 0 {
			dst = appendWord(dst, "seq", seq)
		}
		return appendLength(dst, p.n)
	}
	dst = append(dst, " icmp "...)
	if t, c := portUnreachable(p.src.V6); p.icmp.Type == t && p.icmp.Code == c {
		dst = append(dst, "unreachable port"...)
	} else {
		dst = strconv.AppendUint(dst, uint64(p.icmp.Type), 10)
		dst = strconv.AppendUint(append(dst, '/'), uint64(p.icmp.Code), 10)
	}
	if p.icmp.Rest != 0 {
		dst = appendWord(dst, "rest", p.icmp.Rest)
	}
	if p.quote == nil {
		dst = appendLength(dst, p.n)
	}
	return dst
}

func appendTCP(dst []byte, p *packet, e ends) []byte {
	dst = append(dst, ' ')
	if p.tcp.Flags == 0 {
		dst = append(dst, '-')
	}
	for _, c := range []byte("SFRPUEWe.") {
		if p.tcp.Flags.Any(1 << strings.IndexByte(letters, c)) {
			dst = append(dst, c)
		}
	}
	from := p.tcp.Seq - e.src.isn
	dst = strconv.AppendUint(append(dst, ' '), uint64(from), 10)
	dst = strconv.AppendUint(append(dst, ':'), uint64(from+uint32(p.n)), 10)
	dst = strconv.AppendUint(append(dst, '('), uint64(p.n), 10)
	dst = append(dst, ')')
	if p.tcp.Flags.Has(decode.ACK) || p.tcp.Ack != 0 {
		dst = appendWord(dst, "ack", p.tcp.Ack-e.to.isn)
	}
	if p.tcp.Window != noWindow {
		dst = appendWord(dst, "win", uint32(p.tcp.Window))
	}
	if p.tcp.Urgent != 0 {
		dst = appendWord(dst, "urg", uint32(p.tcp.Urgent))
	}
	if p.tcp.Reserved != 0 {
		dst = appendWord(dst, "reserved", uint32(p.tcp.Reserved))
	}
	return dst
}

// appendID appends the IP ID where it was used before in that direction, as
// duplicates are told by it, or is zero. The text has its own numbers.
func (w *Writer) appendID(dst []byte, p *packet) []byte {
	switch {
	case p.src.V6:
		return dst
	case p.ip.ID == 0:
		return append(dst, " ipid 0"...)
	}
	way := [2]decode.Endpoint{{Addr: p.src.Addr}, {Addr: p.dst.Addr}}
	if w.ids == nil {
		w.ids = map[[2]decode.Endpoint]map[uint16]use{}
	}
	used := w.ids[way]
	if used == nil {
		used = map[uint16]use{}
		w.ids[way] = used
	}
	const near = 1 << 15 // packets; the text's own numbers come again after 65535
	u, again := used[p.ip.ID]
	if again = again && w.count-u.count <= near; !again {
		u.id = autoID(w.count)
	}
	u.count = w.count
	used[p.ip.ID] = u
	if !again {
		return dst
	}
	return appendWord(dst, "ipid", uint32(u.id))
}

func appendIPWords(dst []byte, p *packet) []byte {
	if p.ip.TTL != noTTL {
		dst = appendWord(dst, "ttl", uint32(p.ip.TTL))
	}
	if p.ip.TOS != 0 {
		dst = appendWord(dst, "tos", uint32(p.ip.TOS))
	}
	return dst
}

func appendOptions(dst []byte, p *packet) []byte {
	if p.kind != isTCP || len(p.tcp.Options) == 0 && p.tcp.Tail == "" {
		return dst
	}
	var list []string
	if len(p.tcp.Options) > 0 {
		list = append(list, p.tcp.Options.String())
	}
	if p.tcp.Tail != "" {
		list = append(list, "raw "+hex.EncodeToString([]byte(p.tcp.Tail)))
	}
	return append(append(append(dst, " <"...), strings.Join(list, ",")...), '>')
}

// appendQuote appends what an ICMP error quotes, shorter where that says the same.
func appendQuote(dst []byte, q *packet, e ends) []byte {
	dst = append(dst, ", quoting"...)
	if q.first == q.leastQuote() {
		have, _ := (&packet{quote: q}).payload() // what was read can be built
		for _, what := range [...]string{"tcp", "udp", "echo"} {
			short := shortQuote(what, &e.src.end, &e.to.end)
			if b, _ := (&packet{quote: &short}).payload(); bytes.Equal(b, have) {
				return appendEnds(append(append(dst, ' '), what...), e)
			}
		}
	}
	dst = appendEnds(dst, e)
	dst = appendWhat(dst, q, e)
	dst = appendIPWords(dst, q)
	dst = appendOptions(dst, q)
	if q.first < q.length {
		dst = appendWord(dst, "first", uint32(q.first))
	}
	return dst
}

func appendWord(dst []byte, word string, n uint32) []byte {
	dst = append(append(append(dst, ' '), word...), ' ')
	return strconv.AppendUint(dst, uint64(n), 10)
}

func appendLength(dst []byte, n int) []byte {
	dst = strconv.AppendUint(append(dst, " ("...), uint64(n), 10)
	return append(dst, ')')
}
