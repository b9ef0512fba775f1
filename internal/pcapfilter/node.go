package pcapfilter

// node is a part of an expression that is true or false for a packet.
type node interface {
	// gen emits code that ends in a jump to t or to f.
	gen(g *gen, t, f label)
}

// chain is terms joined by and and or, which bind equally, left to right.
type chain struct {
	terms []node
	ors   []bool // ors[i]: term i is joined to what is before it by or; ors[0] means nothing
}

func (c *chain) gen(g *gen, t, f label) {
	// A true prefix skips all terms joined by or, a false one all joined by
	// and: so each term's targets are known from the operators after it.
	type target struct{ start, t, f label }
	targets := make([]target, len(c.terms))
	for i := len(c.terms) - 1; i >= 0; i-- {
		targets[i] = target{g.newLabel(), t, f}
		if c.ors[i] {
			f = targets[i].start
		} else {
			t = targets[i].start
		}
	}
	for i, term := range c.terms {
		g.bind(targets[i].start)
		term.gen(g, targets[i].t, targets[i].f)
	}
}

type not struct{ x node }

func (n not) gen(g *gen, t, f label) { n.x.gen(g, f, t) }

// direction qualifies an address or a port.
type direction uint8

const (
	srcOrDst direction = iota
	srcOnly
	dstOnly
	srcAndDst
)

// test runs src, dst or both as d says.
func (d direction) test(g *gen, src, dst func(t, f label), t, f label) {
	second := g.newLabel()
	switch d {
	case srcOnly:
		src(t, f)
		return
	case dstOnly:
		dst(t, f)
		return
	case srcAndDst:
		src(second, f)
	default:
		src(t, second)
	}
	g.bind(second)
	dst(t, f)
}

// gen tests the link header's protocol or the one in the IP header; in IPv6
// that is the next header, or the one after a fragment header.
func (n protocol) gen(g *gen, t, f label) {
	g.word = n.tok
	if n.fam == famNone {
		g.linkProto(n.num, t, f)
		return
	}
	if n.fam != famIPv6 {
		next, in := f, g.newLabel()
		if n.fam == famBoth {
			next = g.newLabel()
		}
		g.linkProto(etherIPv4, in, next)
		g.bind(in)
		g.equalAny(opLdB, g.net.plus(9), []uint32{n.num}, t, f)
		if n.fam == famIPv4 {
			return
		}
		g.bind(next)
	}
	in, other, frag := g.newLabel(), g.newLabel(), g.newLabel()
	g.linkProto(etherIPv6, in, f)
	g.bind(in)
	g.load(opLdB, g.net.plus(6))
	g.branch(opJeq, n.num, t, other)
	g.bind(other)
	g.branch(opJeq, protoIPv6Fr, frag, f)
	g.bind(frag)
	g.equalAny(opLdB, g.net.plus(40), []uint32{n.num}, t, f)
}

// host4 tests IPv4 addresses in an IPv4 header (ip) and in packets of the ARP
// family (arps: etherARP, etherRARP).
type host4 struct {
	tok        token
	ip         bool
	arps       []uint32
	dir        direction
	addr, mask uint32
}

func (n *host4) gen(g *gen, t, f label) {
	g.word = n.tok
	at := func(off uint32) func(t, f label) {
		return func(t, f label) { g.masked(opLdW, g.net.plus(off), n.addr, n.mask, t, f) }
	}
	arps := n.arps
	if n.ip && g.labels {
		arps = nil // not behind MPLS, where only IP is recognized
	}
	if n.ip {
		in, next := g.newLabel(), f
		if len(arps) > 0 {
			next = g.newLabel()
		}
		g.linkProto(etherIPv4, in, next)
		g.bind(in)
		n.dir.test(g, at(12), at(16), t, f)
		if next == f {
			return
		}
		g.bind(next)
	}
	in := g.newLabel()
	for i, proto := range arps {
		next := f
		if i < len(arps)-1 {
			next = g.newLabel()
		}
		g.linkProto(proto, in, next)
		if next != f {
			g.bind(next)
		}
	}
	g.bind(in)
	n.dir.test(g, at(14), at(24), t, f) // RFC 826, with six-byte hardware addresses
}

// host6 tests IPv6 addresses.
type host6 struct {
	dir        direction
	addr, mask [4]uint32
}

func (n *host6) gen(g *gen, t, f label) {
	in := g.newLabel()
	g.linkProto(etherIPv6, in, f)
	g.bind(in)
	at := func(off uint32) func(t, f label) {
		return func(t, f label) {
			for i := range n.addr {
				next := t
				if i < len(n.addr)-1 {
					next = g.newLabel()
				}
				g.masked(opLdW, g.net.plus(off+4*uint32(i)), n.addr[i], n.mask[i], next, f)
				if next != t {
					g.bind(next)
				}
			}
		}
	}
	n.dir.test(g, at(8), at(24), t, f)
}

// masked compares what op loads under a mask. An empty mask reads nothing.
func (g *gen) masked(op uint16, at place, val, mask uint32, t, f label) {
	if mask == 0 {
		g.jump(t)
		return
	}
	g.load(op, at)
	if mask != 1<<32-1 {
		g.emit(opAnd, mask)
	}
	g.branch(opJeq, val, t, f)
}

// ports tests for a port from lo to hi in protos over IPv6 without extension
// headers and over IPv4 except later fragments.
type ports struct {
	protos []uint32
	dir    direction
	lo, hi uint32
}

func (n *ports) gen(g *gen, t, f label) {
	at := func(load func()) func(t, f label) {
		return func(t, f label) {
			load()
			if n.lo == n.hi {
				g.branch(opJeq, n.lo, t, f)
				return
			}
			atLeast := g.newLabel()
			g.branch(opJge, n.lo, atLeast, f)
			g.bind(atLeast)
			g.branch(opJgt, n.hi, f, t)
		}
	}

	v6, v4 := g.newLabel(), g.newLabel()
	g.linkProto(etherIPv6, v6, v4)
	g.bind(v6)
	transport := g.newLabel()
	g.equalAny(opLdB, g.net.plus(6), n.protos, transport, f)
	g.bind(transport)
	at6 := func(off uint32) func(t, f label) { return at(func() { g.load(opLdH, g.net.plus(40+off)) }) }
	n.dir.test(g, at6(0), at6(2), t, f)

	g.bind(v4)
	in := g.newLabel()
	g.linkProto(etherIPv4, in, f)
	g.bind(in)
	transport = g.newLabel()
	g.equalAny(opLdB, g.net.plus(9), n.protos, transport, f)
	g.bind(transport)
	g.notLaterFragment(f)
	g.loadXHeader4()
	at4 := func(off uint32) func(t, f label) { return at(func() { g.emit(opLdHInd, g.net.off+off) }) }
	n.dir.test(g, at4(0), at4(2), t, f)
}

// notLaterFragment goes on where an IPv4 packet is whole or a first fragment.
func (g *gen) notLaterFragment(f label) {
	ok := g.newLabel()
	g.load(opLdH, g.net.plus(6))
	g.branch(opJset, 0x1fff, f, ok)
	g.bind(ok)
}

// mac tests Ethernet addresses.
type mac struct {
	tok  token
	dir  direction
	addr [6]byte
}

func (n *mac) gen(g *gen, t, f label) {
	g.onEthernet(n.tok, f)
	a := n.addr
	high := uint32(a[0])<<8 | uint32(a[1])
	low := uint32(a[2])<<24 | uint32(a[3])<<16 | uint32(a[4])<<8 | uint32(a[5])
	at := func(off uint32) func(t, f label) {
		return func(t, f label) {
			rest := g.newLabel()
			g.equalAny(opLdW, g.link.plus(off+2), []uint32{low}, rest, f)
			g.bind(rest)
			g.equalAny(opLdH, g.link.plus(off), []uint32{high}, t, f)
		}
	}
	n.dir.test(g, at(6), at(0), t, f)
}

// sent tests whether this host sent the frame.
type sent struct{ tok token }

func (n sent) gen(g *gen, t, f label) { g.outgoing(n.tok, t, f) }

// onInterface tests the index of the interface that the frame was seen on.
type onInterface struct {
	tok   token
	index uint32
}

func (n onInterface) gen(g *gen, t, f label) { g.onInterface(n.tok, n.index, t, f) }

// broadcast tests the destination for all, or for a group too (multicast): in
// the link header, in IP (fam) or in IPv6.
type broadcast struct {
	tok       token
	fam       family
	multicast bool
}

func (n broadcast) gen(g *gen, t, f label) {
	g.word = n.tok
	in := g.newLabel()
	switch {
	case n.fam == famIPv6:
		g.linkProto(etherIPv6, in, f)
		g.bind(in)
		g.equalAny(opLdB, g.net.plus(24), []uint32{0xff}, t, f)
	case n.fam == famIPv4 && n.multicast:
		g.linkProto(etherIPv4, in, f)
		g.bind(in)
		g.load(opLdB, g.net.plus(16))
		g.branch(opJge, 224, t, f)
	case n.fam == famIPv4: // the net's mask, and so its own broadcast address, is not known
		g.linkProto(etherIPv4, in, f)
		g.bind(in)
		g.equalAny(opLdW, g.net.plus(16), []uint32{0, 1<<32 - 1}, t, f)
	case g.kind == linkARCNET:
		g.equalAny(opLdB, g.link.plus(1), []uint32{0}, t, f)
	case n.multicast:
		g.onEthernet(n.tok, f)
		g.load(opLdB, g.link)
		g.branch(opJset, 1, t, f)
	default:
		(&mac{n.tok, dstOnly, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}).gen(g, t, f)
	}
}

// relation compares two numbers. A packet that lacks a protocol it asks for
// makes it false; one too short for its bytes is rejected by the machine.
type relation struct {
	op     uint16 // opJeq, opJgt, opJge
	negate bool   // the comparison, not the need for protocols
	l, r   arith
}

func (n *relation) gen(g *gen, t, f label) {
	checked := make(map[string]bool)
	n.l.require(g, checked, f)
	n.r.require(g, checked, f)
	if n.negate {
		t, f = f, t
	}
	if l, ok := n.l.(number); ok {
		if r, ok := n.r.(number); ok {
			g.jumpIf(n.op == opJeq && l.n == r.n || n.op == opJgt && l.n > r.n || n.op == opJge && l.n >= r.n, t, f)
			return
		}
	}
	if r, ok := n.r.(number); ok {
		n.l.load(g, 0)
		g.branch(n.op, r.n, t, f)
		return
	}
	n.l.load(g, 0)
	g.store(0)
	n.r.load(g, 1)
	g.emit(opTax, 0)
	g.emit(opLdMem, 0)
	g.branch(n.op|srcX, 0, t, f)
}

// arith is a number computed from a packet.
type arith interface {
	// require goes on where the packet has the protocols whose bytes are
	// used, else to f; checked are those already tested.
	require(g *gen, checked map[string]bool, f label)
	// load puts the number into A. It may use the scratch cells from cell on.
	load(g *gen, cell uint32)
}

type number struct{ n uint32 }

func (number) require(*gen, map[string]bool, label) {}
func (a number) load(g *gen, _ uint32)              { g.emit(opLdImm, a.n) }

// length is the packet's.
type length struct{}

func (length) require(*gen, map[string]bool, label) {}

// load counts, live, the VLAN tag that the kernel took out of the frame.
func (length) load(g *gen, _ uint32) {
	if g.live {
		g.emit(opLdW, skfAdVLANTagPresent)
		g.emit(opMul, 4)
		g.emit(opTax, 0)
		g.emit(opLdLen, 0)
		g.emit(opAdd|srcX, 0)
		return
	}
	g.emit(opLdLen, 0)
}

// field is one, two or four bytes of a header: proto[index:size].
type field struct {
	proto token // the protocol's keyword
	index arith
	size  uint32
}

func (a *field) require(g *gen, checked map[string]bool, f label) {
	a.index.require(g, checked, f)
	if checked[a.proto.text] {
		return
	}
	checked[a.proto.text] = true
	g.word = a.proto
	if a.proto.text == "ether" {
		if g.live && !g.geneve && g.kind != linkPPP {
			g.onEthernet(a.proto, f)
		}
		return
	}
	p, _ := lookupProtocol(a.proto.text)
	in := g.newLabel()
	switch p.fam {
	case famNone:
		g.linkProto(p.num, in, f)
		g.bind(in)
	case famIPv6:
		g.linkProto(etherIPv6, in, f)
		g.bind(in)
		ok := g.newLabel()
		g.equalAny(opLdB, g.net.plus(6), []uint32{p.num}, ok, f)
		g.bind(ok)
	default: // of a transport protocol in both, only IPv4's bytes can be reached
		protocol{a.proto, famIPv4, p.num}.gen(g, in, f)
		g.bind(in)
		g.notLaterFragment(f)
	}
}

func (a *field) load(g *gen, cell uint32) {
	var op uint16
	switch a.size {
	case 1:
		op = opLdB
	case 2:
		op = opLdH
	default:
		op = opLdW
	}
	p, ok := lookupProtocol(a.proto.text)
	if g.labels && ok && p.fam == famNone && p.num != etherIPv4 && p.num != etherIPv6 {
		g.notUnderMPLS(a.proto) // of a right operand, require does not say it
	}
	base, afterIPv4 := g.net, false
	if a.proto.text == "ether" {
		base = g.link
	} else if p.fam == famIPv6 {
		base = base.plus(40)
	} else if p.fam != famNone {
		afterIPv4 = true
	}

	if index, ok := a.index.(number); ok {
		if afterIPv4 {
			g.loadXHeader4()
			g.emit(indirect(op), base.off+index.n)
		} else {
			g.load(op, base.plus(index.n))
		}
		return
	}
	a.index.load(g, cell)
	switch {
	case afterIPv4 && base.cell != 0: // which takes A
		g.store(cell)
		g.loadXHeader4()
		g.emit(opLdMem, cell)
		g.emit(opAdd|srcX, 0)
	case afterIPv4:
		g.loadXHeader4()
		g.emit(opAdd|srcX, 0)
	case base.cell != 0:
		g.emit(opLdxMem, base.cell)
		g.emit(opAdd|srcX, 0)
	}
	inside := g.newLabel()
	g.branch(opJgt, maxIndex, g.reject, inside)
	g.bind(inside)
	g.emit(opTax, 0)
	g.emit(indirect(op), base.off)
}

// operation is l op r.
type operation struct {
	op   uint16
	l, r arith
}

// require asks for the protocols of the left operand only, as libpcap does:
// len - tcp[13] reads those bytes of any packet.
func (a *operation) require(g *gen, checked map[string]bool, f label) {
	a.l.require(g, checked, f)
}

func (a *operation) load(g *gen, cell uint32) {
	a.l.load(g, cell)
	if r, ok := a.r.(number); ok {
		g.emit(a.op, r.n)
		return
	}
	g.store(cell)
	a.r.load(g, cell+1)
	if a.op != opLsh && a.op != opRsh {
		g.emit(opTax, 0)
		g.emit(opLdMem, cell)
		g.emit(a.op|srcX, 0)
		return
	}
	// Machines differ in shifts by 32 and more; the language's result is 0.
	far, near, done := g.newLabel(), g.newLabel(), g.newLabel()
	g.branch(opJgt, 31, far, near)
	g.bind(far)
	g.emit(opLdImm, 0)
	g.jump(done)
	g.bind(near)
	g.emit(opTax, 0)
	g.emit(opLdMem, cell)
	g.emit(a.op|srcX, 0)
	g.bind(done)
}

type negation struct{ x arith }

func (a negation) require(g *gen, checked map[string]bool, f label) { a.x.require(g, checked, f) }

func (a negation) load(g *gen, cell uint32) {
	a.x.load(g, cell)
	g.emit(opMul, 1<<32-1) // the machine of x/net/bpf has no negation
}
