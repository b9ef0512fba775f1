package notation

import (
	"encoding/hex"
	"strconv"
	"strings"

	"finack/decode"
	"finack/internal/craft"
)

// This file reads what follows a line's time.

// packet takes "END > END WHAT WORDS".
func (p *parser) packet(w *words, pk *packet) error {
	src, dst, err := p.pair(w)
	if err != nil {
		return err
	}
	pk.src, pk.dst, pk.ownID = src.at, dst.at, true
	const what = `flags, as S. or -, "udp", "icmp" or "echo"`
	word, err := w.need(what)
	if err != nil {
		return err
	}
	switch word {
	case "udp":
		pk.kind = isUDP
		if pk.n, err = w.length(); err != nil {
			return err
		}
		return pk.words(w, src, dst)
	case "echo":
		return pk.parseEcho(w, src, dst)
	case "icmp":
		return p.icmp(w, pk, src, dst)
	}
	if pk.tcp.Flags, err = parseFlags(word); err != nil {
		return wrong(word, what)
	}
	return pk.parseTCP(w, src, dst)
}

// pair takes "END > END".
func (p *parser) pair(w *words) (src, dst *end, err error) {
	if src, err = p.end(w); err != nil {
		return nil, nil, err
	}
	word, err := w.need(`">"`)
	if err != nil {
		return nil, nil, err
	}
	if word != ">" {
		return nil, nil, wrong(word, `">"`)
	}
	dst, err = p.end(w)
	return src, dst, err
}

func (p *parser) end(w *words) (*end, error) {
	const want = "the name of an end that is declared above"
	word, err := w.need(want)
	if err != nil {
		return nil, err
	}
	e := p.ends[word]
	if e == nil {
		return nil, wrong(word, want)
	}
	return e, nil
}

// letters are those of the control bits, in the order of the bits; they may
// come in any order. "-" is none.
const letters = "FSRP.UEWe"

func parseFlags(word string) (f decode.Flags, err error) {
	if word == "-" {
		return 0, nil
	}
	for _, c := range word {
		i := strings.IndexRune(letters, c)
		if i < 0 || f.Any(1<<i) {
			return 0, wrong(word, "each of "+letters+" at most once")
		}
		f |= 1 << i
	}
	return f, nil
}

// parseTCP takes "FROM:TO(LEN) WORDS <OPTIONS>", the flags being taken.
func (pk *packet) parseTCP(w *words, src, dst *end) error {
	pk.kind, pk.tcp.Window = isTCP, noWindow
	const want = "FROM:TO(LEN), TO being FROM+LEN"
	word, err := w.need(want)
	if err != nil {
		return err
	}
	from, rest, colon := strings.Cut(word, ":")
	to, length, paren := strings.Cut(rest, "(")
	a, err1 := strconv.ParseUint(from, 10, 32)
	b, err2 := strconv.ParseUint(to, 10, 32)
	n, err3 := strconv.ParseUint(strings.TrimSuffix(length, ")"), 10, 16)
	if !colon || !paren || !strings.HasSuffix(length, ")") || err1 != nil || err2 != nil || err3 != nil || uint32(b-a) != uint32(n) {
		return wrong(word, want)
	}
	pk.tcp.Seq, pk.n = src.isn+uint32(a), int(n)
	if pk.tcp.Flags.Has(decode.ACK) && w.peek() != "ack" {
		return w.refuse(`"ack", because of the flag .`)
	}
	return pk.words(w, src, dst)
}

// length takes "(LEN)".
func (w *words) length() (int, error) {
	const want = "(LEN), the payload's bytes, from 0 to 65535"
	word, err := w.need(want)
	if err != nil {
		return 0, err
	}
	inner, open := strings.CutPrefix(word, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	n, err := strconv.ParseUint(inner, 10, 16)
	if err != nil || !open || !closed {
		return 0, wrong(word, want)
	}
	return int(n), nil
}

// words takes what may follow, each word at most once.
func (pk *packet) words(w *words, src, dst *end) error {
	pk.ip.TTL = noTTL
	seen := map[string]bool{}
	for w.peek() != "" {
		word := w.next()
		if word[0] == '<' && pk.kind == isTCP {
			return pk.parseOptions(w, word)
		}
		if seen[word] {
			return wrong(word, "each word once")
		}
		seen[word] = true
		if err := pk.word(w, word, dst); err != nil {
			return err
		}
	}
	return nil
}

// word takes one word and its number.
func (pk *packet) word(w *words, word string, dst *end) error {
	tcp := pk.kind == isTCP
	bits := 0
	switch {
	case word == "badsum", word == "nosum":
		if word == "nosum" && (pk.kind != isUDP || pk.src.V6) {
			return wrong(word, "it only with UDP over IPv4")
		}
		if pk.sum != craft.SumRight {
			return wrong(word, "badsum or nosum, not both")
		}
		pk.sum = craft.SumWrong
		if word == "nosum" {
			pk.sum = craft.SumZero
		}
		return nil
	case word == "ipid" && pk.src.V6:
		return wrong(word, "no IP ID: IPv6 has none")
	case tcp && word == "ack":
		bits = 32
	case tcp && (word == "win" || word == "urg"), word == "ipid":
		bits = 16
	case word == "ttl", word == "tos":
		bits = 8
	case tcp && word == "reserved":
		bits = 3
	default:
		return wrong(word, pk.wanted())
	}
	n, err := w.number(bits, word+" N")
	if err != nil {
		return err
	}
	switch word {
	case "ack":
		pk.tcp.Ack = dst.isn + uint32(n)
	case "win":
		pk.tcp.Window = uint16(n)
	case "urg":
		pk.tcp.Urgent = uint16(n)
	case "reserved":
		pk.tcp.Reserved = uint8(n)
	case "ipid":
		pk.ip.ID, pk.ownID = uint16(n), false
	case "ttl":
		pk.ip.TTL, pk.ip.ZeroTTL = uint8(n), n == 0
	case "tos":
		pk.ip.TOS = uint8(n)
	}
	return nil
}

// wanted says which words a packet may have.
func (pk *packet) wanted() string {
	switch pk.kind {
	case isTCP:
		return "ack, win, urg, reserved, ipid, ttl, tos, badsum or <OPTIONS>"
	case isUDP:
		return "ipid, ttl, tos, badsum or nosum"
	default:
		return "ipid, ttl, tos or badsum"
	}
}

// parseOptions takes the rest of the line, of which word is the first.
func (pk *packet) parseOptions(w *words, word string) error {
	text := strings.Join(append([]string{word}, w.list[w.at:]...), " ")
	w.at = len(w.list)
	inner, ok := strings.CutSuffix(text[1:], ">")
	if !ok || strings.ContainsAny(inner, "<>") {
		return wrong(text, "<OPTIONS>, separated by commas, at the end of the line")
	}
	opts, raw := cutRaw(inner)
	tail, err := hex.DecodeString(raw)
	if err != nil {
		return wrong(raw, "raw and bytes in hexadecimal, two digits each, as the last of the options")
	}
	if pk.tcp.Options, err = craft.ParseOptions(opts); err != nil {
		return err
	}
	pk.tcp.Tail = string(tail)
	return nil
}

// cutRaw splits "OPTIONS,raw HEX".
func cutRaw(text string) (opts, raw string) {
	i := strings.LastIndexByte(text, ',')
	raw, ok := strings.CutPrefix(strings.TrimSpace(text[i+1:]), "raw ")
	if !ok {
		return text, ""
	}
	return text[:max(i, 0)], raw
}
