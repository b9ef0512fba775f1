package notation

import (
	"slices"
	"strconv"
	"strings"

	"finack/internal/craft"
)

// This file reads ICMP: echoes, and messages of any type with what they quote.

// parseEcho takes "request|reply id N [seq N] (LEN) WORDS".
func (pk *packet) parseEcho(w *words, src, dst *end) error {
	pk.kind = isICMP
	const which = `"request" or "reply"`
	word, err := w.need(which)
	if err != nil {
		return err
	}
	if word != "request" && word != "reply" {
		return wrong(word, which)
	}
	pk.icmp.Type = echoType(pk.src.V6, word == "reply")
	if w.peek() != "id" {
		return w.refuse(`"id"`)
	}
	w.next()
	id, err := w.number(16, "the identifier")
	if err != nil {
		return err
	}
	seq := uint64(0)
	if w.peek() == "seq" {
		w.next()
		if seq, err = w.number(16, "the sequence number"); err != nil {
			return err
		}
	}
	pk.icmp.Rest = uint32(id)<<16 | uint32(seq)
	if pk.n, err = w.length(); err != nil {
		return err
	}
	return pk.words(w, src, dst)
}

// icmp takes "unreachable port|TYPE/CODE [rest N] (LEN) WORDS", or in place of
// the length "…, quoting QUOTE".
func (p *parser) icmp(w *words, pk *packet, src, dst *end) error {
	pk.kind = isICMP
	outer, quote, quotes := cutQuote(w)
	if err := pk.parseType(outer); err != nil {
		return err
	}
	var err error
	if outer.peek() == "rest" {
		outer.next()
		n, err := outer.number(32, "rest N")
		if err != nil {
			return err
		}
		pk.icmp.Rest = uint32(n)
	}
	switch {
	case !quotes:
		pk.n, err = outer.length()
	case !pk.icmpError():
		err = wrong("quoting", "(LEN): only an error quotes")
	}
	if err != nil {
		return err
	}
	if err := pk.words(outer, src, dst); err != nil || !quotes {
		return err
	}
	pk.quote = &packet{}
	return p.quote(quote, pk.quote)
}

// cutQuote splits a line at ", quoting".
func cutQuote(w *words) (outer, quote *words, ok bool) {
	rest := w.list[w.at:]
	w.at = len(w.list)
	i := slices.Index(rest, "quoting")
	if i <= 0 || !strings.HasSuffix(rest[i-1], ",") {
		return &words{list: rest}, nil, false
	}
	head := slices.Clone(rest[:i])
	head[i-1] = strings.TrimSuffix(head[i-1], ",")
	return &words{list: head}, &words{list: rest[i+1:]}, true
}

// parseType takes "unreachable port" or "TYPE/CODE".
func (pk *packet) parseType(w *words) error {
	const want = `"unreachable port" or TYPE/CODE, as 3/4`
	word, err := w.need(want)
	if err != nil {
		return err
	}
	if word == "unreachable" {
		if w.peek() != "port" {
			return w.refuse(`"port"`)
		}
		w.next()
		pk.icmp.Type, pk.icmp.Code = portUnreachable(pk.src.V6)
		return nil
	}
	t, c, ok := strings.Cut(word, "/")
	typ, err1 := strconv.ParseUint(t, 10, 8)
	code, err2 := strconv.ParseUint(c, 10, 8)
	if !ok || err1 != nil || err2 != nil {
		return wrong(word, want)
	}
	pk.icmp.Type, pk.icmp.Code = uint8(typ), uint8(code)
	return nil
}

// quote takes a packet and "first N", or one of the short forms.
func (p *parser) quote(w *words, q *packet) error {
	switch w.peek() {
	case "tcp", "udp", "echo":
		if len(w.list) > 1 && w.list[1] != ">" { // not an end of that name
			return p.shortQuote(w, q)
		}
	}
	n := len(w.list) - 2
	first, ok := uint64(0), n >= 0 && w.list[n] == "first"
	if ok {
		var err error
		if first, err = (&words{list: w.list, at: n + 1}).number(16, "first N"); err != nil {
			return err
		}
		w.list = w.list[:n]
	}
	if err := p.packet(w, q); err != nil {
		return err
	}
	switch {
	case q.quote != nil:
		return wrong("quoting", "(LEN): what is quoted quotes nothing")
	case q.sum != craft.SumRight:
		return wrong("badsum or nosum", "neither in what is quoted: checksums are not kept")
	case !q.ownID:
		return wrong("ipid", "none in what is quoted: it is not kept")
	}
	q.ownID = false
	return q.setFirst(int(first), ok)
}

// setFirst sets how much of a packet is quoted.
func (q *packet) setFirst(first int, ok bool) error {
	b, err := q.build(nil)
	if err != nil {
		return wrong("quoting", err.Error())
	}
	if !ok {
		first = len(b)
	}
	if first < q.leastQuote() || first > len(b) {
		return wrong("first "+strconv.Itoa(first), "from "+strconv.Itoa(q.leastQuote())+" to "+strconv.Itoa(len(b))+", the packet's length")
	}
	q.first = first
	return nil
}

// shortQuote takes "tcp|udp|echo END > END": the IP header and the first 8
// bytes of the client's first segment, of an empty datagram, or of an empty echo
// request of identifier 7.
func (p *parser) shortQuote(w *words, q *packet) error {
	what := w.next()
	src, dst, err := p.pair(w)
	if err != nil {
		return err
	}
	if err := w.end("the end of the line"); err != nil {
		return err
	}
	*q = shortQuote(what, src, dst)
	return nil
}

func shortQuote(what string, src, dst *end) packet {
	q := packet{src: src.at, dst: dst.at}
	q.ip.TTL, q.tcp.Window = noTTL, noWindow
	q.first = q.leastQuote()
	switch what {
	case "tcp":
		q.kind, q.tcp.Seq = isTCP, src.isn
	case "udp":
		q.kind = isUDP
	case "echo":
		q.kind = isICMP
		q.icmp.Type, q.icmp.Rest = echoType(q.src.V6, false), 7<<16
	}
	return q
}
