package pcapfilter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxExpr  = 1 << 16 // bytes; what fits into 4096 instructions is far shorter
	maxDepth = 256     // of parentheses, negations and arithmetic inside each other
)

// parser reads an expression by recursive descent, one word ahead. The first
// error stops it: from then on every word is the end of the expression.
type parser struct {
	lexer
	tok   token
	depth int
	err   *SyntaxError
}

// qualifiers is what a bare value means; the words before it, or those of the
// value before it, say so.
type qualifiers struct {
	known bool
	proto string // protocol keyword, or empty
	dir   direction
	kind  string // host, net, port, portrange, proto, protochain, or empty: host
}

func parse(expr string) (node, error) {
	p := &parser{lexer: lexer{expr: expr}}
	if len(expr) > maxExpr {
		p.fail(token{off: maxExpr}, "expression longer than 65536 bytes")
		return nil, p.err
	}
	p.advance()
	var root node
	if p.tok.kind != tokEOF {
		root = p.sequence(qualifiers{}, true).node
		if p.tok.kind != tokEOF {
			p.unexpected("and, or")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return root, nil
}

func (p *parser) advance() {
	if p.err == nil {
		p.tok = p.next()
	}
}

// fail records the first error.
func (p *parser) fail(t token, msg string) {
	if p.err == nil {
		p.err = &SyntaxError{p.expr, t.word, t.off, msg}
		p.tok = token{off: len(p.expr)}
	}
}

// unexpected reports the next word, which should have been want.
func (p *parser) unexpected(want string) {
	t := p.tok
	switch {
	case t.kind == tokBad:
		p.fail(t, t.msg)
	case t.kind == tokWord && refused(t.text) != "":
		p.fail(t, refused(t.text))
	default:
		p.fail(t, "unexpected here, want "+want)
	}
}

// accept takes the next word if it is text.
func (p *parser) accept(text string) bool {
	if !p.tok.is(text) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.unexpected(text)
	}
}

// enter counts nesting; the caller must leave.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok, "nested too deeply")
	}
}

func (p *parser) leave() { p.depth-- }

// operand is what stands between and and or, or between parentheses.
type operand struct {
	kind  operandKind
	tok   token // its first word
	node  node  // of a term, value or group
	arith arith // of a number or of arithmetic
	q     qualifiers
}

type operandKind uint8

const (
	isTerm       operandKind = iota // complete: tcp, port 80, ip[0] = 4
	isValue                         // a bare value: 10.0.0.1, not 80
	isGroup                         // bare values in parentheses: (80 or 443)
	isNumber                        // a bare value or a side of a comparison: 80, (80)
	isArithmetic                    // a side of a comparison: tcp[13], (tcp[12] & 0xf0)
)

// sequence parses operands joined by and and or, to the end of the expression
// (top) or to a closing parenthesis, which is left there. q is what a bare
// value inherits.
func (p *parser) sequence(q qualifiers, top bool) operand {
	first := p.operand(q)
	joined := p.tok.is("and") || p.tok.is("or")
	switch {
	case top && first.kind == isArithmetic, joined && first.kind == isArithmetic:
		p.unexpected("a comparison")
		return operand{}
	case top && first.kind != isTerm:
		p.fail(first.tok, "a bare value: say host, net, port, portrange or proto before it")
		return operand{}
	case first.kind == isGroup:
		p.fail(first.tok, "more than one pair of parentheses around bare values")
		return operand{}
	case !joined:
		return first
	}

	c := &chain{terms: []node{p.condition(first, q)}, ors: []bool{false}}
	values := first.kind != isTerm
	q = first.q
	for p.tok.is("and") || p.tok.is("or") {
		or := p.tok.is("or")
		p.advance()
		x := p.operand(q)
		switch {
		case x.kind == isArithmetic:
			p.unexpected("a comparison")
		case values && x.kind == isTerm:
			p.fail(x.tok, "not a bare value as the others in these parentheses")
		}
		c.terms = append(c.terms, p.condition(x, q))
		c.ors = append(c.ors, or)
		if x.kind == isTerm {
			q = x.q
		}
	}
	kind := isTerm
	if values {
		kind = isGroup
	}
	return operand{kind: kind, tok: first.tok, node: c}
}

// condition returns x as a node: a number is a value of what q says.
func (p *parser) condition(x operand, q qualifiers) node {
	if x.kind == isNumber {
		n := x.arith.(number)
		return p.numeric(token{kind: tokNum, word: x.tok.word, off: x.tok.off, num: n.n}, q)
	}
	return x.node
}

// operand parses one operand. q is what a bare value inherits.
func (p *parser) operand(q qualifiers) operand {
	p.enter()
	defer p.leave()

	t := p.tok
	x := operand{tok: t, q: q}
	switch {
	case p.accept("!"):
		y := p.operand(q)
		switch y.kind {
		case isArithmetic:
			p.unexpected("a comparison")
			return x
		case isTerm:
			x.q = y.q
		default:
			x.kind = isValue
		}
		x.node = not{p.condition(y, q)}
		return x
	case p.accept("("):
		y := p.sequence(q, false)
		p.expect(")")
		x.kind, x.node, x.arith = y.kind, y.node, y.arith
		if y.kind == isValue {
			x.kind = isGroup
		}
		if y.kind == isNumber {
			x.tok = y.tok
		}
		if y.kind != isNumber && y.kind != isArithmetic {
			return x
		}
	case t.kind == tokNum:
		x.kind, x.arith = isNumber, number{t.num}
		p.advance()
	case t.is("-"), t.is("len"):
		x.kind, x.arith = isArithmetic, p.primary()
	case t.kind == tokIPv4, t.kind == tokIPv6, t.kind == tokMAC, t.kind == tokName:
		x.kind, x.node = isValue, p.value(q)
		return x
	default:
		return p.term()
	}

	return p.compared(x)
}

// compared parses what may follow a number or arithmetic: more arithmetic, and
// a comparison.
func (p *parser) compared(x operand) operand {
	end := p.tok.off
	x.arith = p.arithmetic(x.arith, 0)
	if p.tok.off != end {
		x.kind = isArithmetic
	}
	if op, negate, ok := comparison(p.tok); ok {
		p.advance()
		x = operand{tok: x.tok, node: &relation{op, negate, x.arith, p.arithmetic(p.primary(), 0)}}
	}
	return x
}

// term parses what begins with a keyword.
func (p *parser) term() operand {
	t := p.tok
	if t.kind != tokWord {
		p.unexpected("an expression")
		return operand{}
	}
	x := operand{tok: t}
	switch t.text {
	case "less", "greater":
		p.advance()
		n := p.tok
		if n.kind != tokNum {
			p.unexpected("a number")
			return x
		}
		p.advance()
		if t.text == "less" {
			x.node = &relation{opJgt, true, length{}, number{n.num}}
		} else {
			x.node = &relation{opJge, false, length{}, number{n.num}}
		}
		return x
	case "inbound", "outbound":
		p.advance()
		x.node = sent{t}
		if t.text == "inbound" {
			x.node = not{x.node}
		}
		return x
	case "ifindex":
		p.advance()
		n := p.tok
		if n.kind != tokNum {
			p.unexpected("a number")
			return x
		}
		p.advance()
		x.node = onInterface{t, n.num}
		return x
	case "byte":
		p.advance()
		x.node = p.byteTest(t)
		return x
	case "llc":
		p.advance()
		x.node = p.llc(t)
		return x
	case "vlan", "mpls", "pppoed", "pppoes", "geneve":
		p.advance()
		x.node = p.encapsulation(t)
		return x
	}

	q := qualifiers{known: true}
	if isProtocolKeyword(t.text) && refused(t.text) == "" {
		q.proto = t.text
		p.advance()
		if p.tok.is("[") {
			return p.compared(operand{kind: isArithmetic, tok: t, arith: p.field(t)})
		}
	}
	directed := p.direction(&q)
	switch {
	case p.tok.is("host"), p.tok.is("net"), p.tok.is("port"), p.tok.is("portrange"),
		!directed && (p.tok.is("proto") || p.tok.is("protochain")):
		q.kind = p.tok.text
		p.advance()
	case directed:
	case p.tok.is("broadcast"), p.tok.is("multicast"):
		x.node = p.broadcast(q.proto)
		return x
	case q.proto == "" || refused(p.tok.text) != "":
		p.unexpected("an expression")
		return x
	case q.proto == "ether":
		p.unexpected("host, src, dst, proto, broadcast, multicast or [ after ether")
		return x
	default:
		x.node = keyword(t)
		return x
	}
	x.q = q
	x.node = p.values(q)
	return x
}

// keyword returns the meaning of a protocol's keyword alone.
func keyword(t token) node {
	if n, ok := lookupOSI(t); ok {
		return n
	}
	n, _ := lookupProtocol(t.text)
	n.tok = t
	return n
}

// broadcast parses broadcast and multicast after a protocol's keyword, or none.
func (p *parser) broadcast(proto string) node {
	t := p.tok
	p.advance()
	n := broadcast{tok: t, multicast: t.text == "multicast"}
	switch {
	case proto == "", proto == "ether":
	case proto == "ip":
		n.fam = famIPv4
	case proto == "ip6" && n.multicast:
		n.fam = famIPv6
	default:
		p.fail(t, proto+" has no "+t.text)
	}
	return n
}

// byteTest parses the older form of ether[index] = value.
func (p *parser) byteTest(t token) node {
	index := p.tok
	if index.kind != tokNum {
		p.unexpected("a number")
		return nil
	}
	if index.num > maxIndex {
		p.fail(index, "offset above 524287")
	}
	p.advance()
	op := p.tok
	cmp, negate, ok := comparison(op)
	switch {
	case op.is("&"), op.is("|"):
		p.fail(op, "not supported after byte: say ether[…] & … != 0")
		return nil
	case !ok || !op.is("=") && !op.is("<") && !op.is(">"):
		p.unexpected("=, < or >")
		return nil
	}
	p.advance()
	val := p.tok
	if val.kind != tokNum {
		p.unexpected("a number")
		return nil
	}
	p.advance()
	t.text = "ether"
	return &relation{cmp, negate, &field{t, number{index.num}, 1}, number{val.num}}
}

// llc parses the frame type that may follow llc.
func (p *parser) llc(t token) node {
	n := llc{tok: t}
	if p.tok.kind == tokName || p.tok.is("rnr") {
		ok := false
		if n.val, n.mask, ok = lookupLLC(strings.ToLower(p.tok.text)); !ok {
			p.fail(p.tok, "unknown LLC frame type")
		}
		p.advance()
	}
	return n
}

// encapsulation parses the number that may follow one, also in parentheses.
func (p *parser) encapsulation(t token) node {
	n := tagged{tok: t}
	var limit uint32
	switch t.text {
	case "pppoed":
		return protocol{t, famNone, 0x8863}
	case "vlan":
		limit = 1<<12 - 1
	case "pppoes":
		limit = 1<<16 - 1
	case "mpls":
		limit = 1<<20 - 1
	case "geneve":
		limit = 1<<24 - 1
	}
	if p.tok.is("(") || p.tok.kind == tokNum {
		n.hasID = true
		id := p.parenthesized()
		if n.id = id.num; n.id > limit {
			p.fail(id, "above "+strconv.Itoa(int(limit)))
		}
	}
	switch t.text {
	case "vlan":
		return vlan{n}
	case "pppoes":
		return pppoes{n}
	case "mpls":
		return mpls{n}
	}
	return geneve{n}
}

// parenthesized parses a number that may stand in parentheses.
func (p *parser) parenthesized() token {
	p.enter()
	defer p.leave()

	t := p.tok
	switch {
	case p.accept("("):
		t = p.parenthesized()
		p.expect(")")
	case t.kind == tokNum:
		p.advance()
	default:
		p.unexpected("a number")
	}
	return t
}

// direction parses src, dst and both of them with and or or.
func (p *parser) direction(q *qualifiers) bool {
	other := "dst"
	switch {
	case p.accept("src"):
		q.dir = srcOnly
	case p.accept("dst"):
		q.dir, other = dstOnly, "src"
	default:
		return false
	}
	switch {
	case p.accept("or"):
		q.dir = srcOrDst
	case p.accept("and"):
		q.dir = srcAndDst
	default:
		return true
	}
	p.expect(other)
	return true
}

// values parses what qualifiers stand before: a value, or several of them in
// parentheses.
func (p *parser) values(q qualifiers) node {
	p.enter()
	defer p.leave()

	switch {
	case p.accept("!"):
		return not{p.values(q)}
	case p.tok.is("("):
		x := p.operandOfValues(q)
		return p.condition(x, q)
	case p.tok.kind == tokNum:
		t := p.tok
		p.advance()
		return p.numeric(t, q)
	}
	return p.value(q)
}

// operandOfValues parses bare values in parentheses.
func (p *parser) operandOfValues(q qualifiers) operand {
	open := p.tok
	p.advance()
	x := p.sequence(q, false)
	p.expect(")")
	switch x.kind {
	case isTerm:
		p.fail(open, "want bare values in these parentheses")
	case isArithmetic:
		p.fail(open, "want values in these parentheses, not arithmetic")
	}
	return x
}

// value parses one address, name or Ethernet address.
func (p *parser) value(q qualifiers) node {
	t := p.tok
	switch t.kind {
	case tokIPv4, tokIPv6, tokMAC, tokName:
	default:
		p.unexpected("a value")
		return nil
	}
	p.advance()
	if !q.known {
		p.fail(t, "a bare value: say host, net, port, portrange or proto before it")
		return nil
	}
	switch t.kind {
	case tokIPv4:
		return p.ipv4(t, q)
	case tokIPv6:
		return p.ipv6(t, q)
	case tokMAC:
		if q.proto != "ether" || q.kind != "" && q.kind != "host" {
			p.fail(t, "an Ethernet address needs ether host, ether src or ether dst")
			return nil
		}
		return &mac{t, q.dir, parseMAC(t.text)}
	}
	switch q.kind {
	case "port":
		return p.namedPorts(t, t.text, t.text, q)
	case "portrange":
		lo, hi, ok := strings.Cut(t.text, "-")
		if !ok {
			hi = lo
		}
		return p.namedPorts(t, lo, hi, q)
	case "proto", "protochain":
		num, ok := ipProtoNumber(t.text)
		switch q.proto {
		case "ether":
			num, ok = linkProtoNumber(t.text)
		case "iso":
			num, ok = osiProtoNumber(t.text)
		case "isis", "is-is":
			ok = false
		}
		if !ok {
			p.fail(t, "unknown protocol name, give its number")
			return nil
		}
		return p.protocol(t, num, q)
	case "net":
		p.fail(t, "network names are not resolved, give the address")
	default:
		p.fail(t, "host names are not resolved, give the address")
	}
	return nil
}

// numeric returns the meaning of a bare number.
func (p *parser) numeric(t token, q qualifiers) node {
	if !q.known {
		p.fail(t, "a bare value: say host, net, port, portrange or proto before it")
		return nil
	}
	switch q.kind {
	case "port", "portrange":
		if t.num > 65535 {
			p.fail(t, "port number above 65535")
			return nil
		}
		return p.ports(t, t.num, t.num, transports(q.proto), q)
	case "proto", "protochain":
		return p.protocol(t, t.num, q)
	}
	addr, mask := t.num, uint32(1<<32-1)
	if q.kind == "net" { // net 10 is net 10.0.0.0/8
		for addr != 0 && addr>>24 == 0 {
			addr, mask = addr<<8, mask<<8
		}
	}
	return p.host4(t, addr, mask, q)
}

// ipv4 returns the meaning of a dotted address, with the prefix length or mask
// that may follow it.
func (p *parser) ipv4(t token, q qualifiers) node {
	addr, bits, ok := parseIPv4(t.text)
	if !ok {
		p.fail(t, "invalid IPv4 address")
		return nil
	}
	mask := uint32(1<<32-1) << (32 - bits)
	masked := false
	switch {
	case p.accept("/"):
		n, ok := p.prefixLen(32)
		if !ok {
			return nil
		}
		mask, masked = uint32(uint64(1<<32-1)<<(32-n)), true
	case p.accept("mask"):
		m := p.tok
		if m.kind != tokIPv4 {
			p.unexpected("a dotted mask")
			return nil
		}
		p.advance()
		if mask, _, ok = parseIPv4(m.text); !ok {
			p.fail(m, "invalid mask")
			return nil
		}
		masked = true
	}
	switch {
	case masked && q.kind != "net":
		p.fail(t, "only net takes a mask")
		return nil
	case addr&^mask != 0:
		p.fail(t, "address has bits outside its mask")
		return nil
	}
	return p.host4(t, addr, mask, q)
}

// prefixLen parses the number after a slash.
func (p *parser) prefixLen(limit uint32) (uint32, bool) {
	t := p.tok
	if t.kind != tokNum {
		p.unexpected("a prefix length")
		return 0, false
	}
	p.advance()
	if t.num > limit {
		p.fail(t, "prefix length too large")
		return 0, false
	}
	return t.num, true
}

func (p *parser) host4(t token, addr, mask uint32, q qualifiers) node {
	n := &host4{tok: t, dir: q.dir, addr: addr, mask: mask}
	switch q.proto {
	case "":
		n.ip, n.arps = true, []uint32{etherARP, etherRARP}
	case "ip":
		n.ip = true
	case "arp":
		n.arps = []uint32{etherARP}
	case "rarp":
		n.arps = []uint32{etherRARP}
	case "decnet":
		p.fail(t, "not supported: DECnet addresses")
		return nil
	default:
		p.fail(t, q.proto+" cannot qualify an IPv4 address")
		return nil
	}
	switch q.kind {
	case "", "host", "net":
		return n
	}
	p.fail(t, q.kind+" cannot qualify an IPv4 address")
	return nil
}

func (p *parser) ipv6(t token, q qualifiers) node {
	bits, masked := uint32(128), p.accept("/")
	if masked {
		var ok bool
		if bits, ok = p.prefixLen(128); !ok {
			return nil
		}
	}
	addr := netip.MustParseAddr(t.text).As16() // the lexer has parsed it
	n := &host6{dir: q.dir}
	outside := uint32(0)
	for i := range n.addr {
		part := min(bits, 32)
		bits -= part
		n.addr[i] = binary.BigEndian.Uint32(addr[4*i:])
		n.mask[i] = uint32(uint64(1<<32-1) << (32 - part))
		outside |= n.addr[i] &^ n.mask[i]
	}
	switch {
	case q.proto != "" && q.proto != "ip6":
		p.fail(t, q.proto+" cannot qualify an IPv6 address")
	case q.kind != "" && q.kind != "host" && q.kind != "net":
		p.fail(t, q.kind+" cannot qualify an IPv6 address")
	case q.kind != "net" && n.mask[3] != 1<<32-1:
		p.fail(t, "only net takes a mask")
	case outside != 0:
		p.fail(t, "address has bits outside its mask")
	}
	return n
}

// transports returns the protocols that port means with a protocol keyword,
// nil if that cannot qualify it.
func transports(keyword string) []uint32 {
	switch keyword {
	case "":
		return []uint32{protoSCTP, protoTCP, protoUDP}
	case "tcp", "udp", "sctp":
		p, _ := lookupProtocol(keyword)
		return []uint32{p.num}
	}
	return nil
}

func (p *parser) ports(t token, lo, hi uint32, protos []uint32, q qualifiers) node {
	if protos == nil {
		p.fail(t, q.proto+" cannot qualify a port")
		return nil
	}
	return &ports{protos, q.dir, min(lo, hi), max(lo, hi)}
}

// namedPorts returns the meaning of a port's name or of a range. A name of one
// transport only selects that transport.
func (p *parser) namedPorts(t token, first, last string, q qualifiers) node {
	lo, ok1 := p.port(t, first)
	hi, ok2 := p.port(t, last)
	if !ok1 || !ok2 {
		return nil
	}
	s := service{tcp: lo.tcp, udp: lo.udp}
	if lo.tcp != hi.tcp || lo.udp != hi.udp {
		s = service{tcp: true, udp: true}
	}
	protos := transports(q.proto)
	if s.tcp != s.udp {
		only, num := "tcp", uint32(protoTCP)
		if s.udp {
			only, num = "udp", protoUDP
		}
		switch q.proto {
		case "":
			protos = []uint32{num}
		case "tcp", "udp", "sctp":
			if q.proto != only {
				p.fail(t, "the name of a "+only+" port, not of "+q.proto)
				return nil
			}
		}
	}
	return p.ports(t, uint32(lo.port), uint32(hi.port), protos, q)
}

// port returns the port that s names or is.
func (p *parser) port(t token, s string) (service, bool) {
	if sv, ok := lookupService(s); ok {
		return sv, true
	}
	if s == "" || run(s, len(s), isDigit) != len(s) {
		p.fail(t, "unknown port name, give its number")
		return service{}, false
	}
	n, err := strconv.ParseUint(s, 10, 16) // libpcap reads the numbers of a range as decimal
	if err != nil {
		p.fail(t, "port number above 65535")
		return service{}, false
	}
	return service{port: uint16(n), tcp: true, udp: true}, true
}

// protocol returns the meaning of proto and protochain.
func (p *parser) protocol(t token, num uint32, q qualifiers) node {
	fam := famNone
	switch q.proto {
	case "":
		fam = famBoth
	case "ip":
		fam = famIPv4
	case "ip6":
		fam = famIPv6
	case "ether", "iso", "isis", "is-is":
		if q.kind == "protochain" {
			p.fail(t, "protochain cannot be qualified by "+q.proto)
			return nil
		}
	default:
		p.fail(t, q.kind+" cannot be qualified by "+q.proto)
		return nil
	}
	switch {
	case q.proto == "iso":
		return osi{tok: t, proto: num}
	case q.proto == "isis", q.proto == "is-is":
		return osi{t, osiISIS, []uint32{num}}
	case q.kind == "protochain":
		return protochain{t, fam, num}
	}
	return protocol{t, fam, num}
}

// comparison returns the test of a comparison operator.
func comparison(t token) (op uint16, negate, ok bool) {
	if t.kind != tokWord {
		return 0, false, false
	}
	switch t.text {
	case "=":
		return opJeq, false, true
	case "!=":
		return opJeq, true, true
	case ">":
		return opJgt, false, true
	case "<=":
		return opJgt, true, true
	case ">=":
		return opJge, false, true
	case "<":
		return opJge, true, true
	}
	return 0, false, false
}

// The precedence of a sign; that of % and ^, which libpcap's grammar leaves
// without any, so that they always take all that follows.
const (
	precSign = 6
	precNone = 100
)

// operator returns an arithmetic operator and how strongly it binds.
func operator(t token) (op uint16, prec int, ok bool) {
	if t.kind != tokWord {
		return 0, 0, false
	}
	switch t.text {
	case "|":
		return opOr, 1, true
	case "&":
		return opAnd, 2, true
	case "<<":
		return opLsh, 3, true
	case ">>":
		return opRsh, 3, true
	case "+":
		return opAdd, 4, true
	case "-":
		return opSub, 4, true
	case "*":
		return opMul, 5, true
	case "/":
		return opDiv, 5, true
	case "%":
		return opMod, precNone, true
	case "^":
		return opXor, precNone, true
	}
	return 0, 0, false
}

// arithmetic parses the operators after left that bind more strongly than
// prec.
func (p *parser) arithmetic(left arith, prec int) arith {
	p.enter()
	defer p.leave()

	for {
		t := p.tok
		op, binds, ok := operator(t)
		if !ok || binds <= prec {
			return left
		}
		p.advance()
		if binds == precNone {
			binds = 0
		}
		left = p.combine(t, op, left, p.arithmetic(p.primary(), binds))
	}
}

// combine returns left op right, computed at once if both are constant.
func (p *parser) combine(t token, op uint16, left, right arith) arith {
	r, ok := right.(number)
	if !ok {
		return &operation{op, left, right}
	}
	switch {
	case (op == opDiv || op == opMod) && r.n == 0:
		p.fail(t, "division by zero")
		return left
	case (op == opLsh || op == opRsh) && r.n > 31:
		p.fail(t, "shift by more than 31 bits")
		return left
	}
	l, ok := left.(number)
	if !ok {
		return &operation{op, left, right}
	}
	switch op {
	case opOr:
		l.n |= r.n
	case opAnd:
		l.n &= r.n
	case opLsh:
		l.n <<= r.n
	case opRsh:
		l.n >>= r.n
	case opAdd:
		l.n += r.n
	case opSub:
		l.n -= r.n
	case opMul:
		l.n *= r.n
	case opDiv:
		l.n /= r.n
	case opMod:
		l.n %= r.n
	case opXor:
		l.n ^= r.n
	}
	return l
}

// primary parses an operand of arithmetic.
func (p *parser) primary() arith {
	p.enter()
	defer p.leave()

	t := p.tok
	switch {
	case t.kind == tokNum:
		p.advance()
		return number{t.num}
	case p.accept("("):
		x := p.arithmetic(p.primary(), 0)
		p.expect(")")
		return x
	case p.accept("-"):
		x := p.arithmetic(p.primary(), precSign)
		if n, ok := x.(number); ok {
			return number{-n.n}
		}
		return negation{x}
	case p.accept("len"):
		return length{}
	case t.kind == tokWord && isProtocolKeyword(t.text) && refused(t.text) == "":
		p.advance()
		return p.field(t)
	}
	p.unexpected("a number or a protocol's bytes")
	return number{}
}

// field parses [index] or [index:size] after a protocol's keyword.
func (p *parser) field(proto token) arith {
	switch proto.text {
	case "ah", "esp", "stp", "netbeui", "ipx", "iso", "aarp":
		p.fail(proto, "its bytes cannot be used")
	default:
		if _, ok := lookupOSI(proto); ok {
			p.fail(proto, "its bytes cannot be used")
		}
	}
	p.expect("[")
	at := p.tok
	f := &field{proto: proto, index: p.arithmetic(p.primary(), 0), size: 1}
	if n, ok := f.index.(number); ok && n.n > maxIndex {
		p.fail(at, "offset below zero or above 524287")
	}
	if p.accept(":") {
		size := p.tok
		if size.kind != tokNum {
			p.unexpected("a number of bytes")
			return f
		}
		p.advance()
		if f.size = size.num; f.size != 1 && f.size != 2 && f.size != 4 {
			p.fail(size, "only 1, 2 or 4 bytes can be used")
		}
	}
	p.expect("]")
	return f
}
