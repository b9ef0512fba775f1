package pcapfilter

// maxChain is how many headers protochain looks behind. libpcap's program goes
// round a loop, which no kernel takes; this one has a copy for each header.
const maxChain = 16

// protochain tests whether a protocol is somewhere in the chain of headers that
// follows an IP header: authentication headers (RFC 4302), and in IPv6 also
// extension headers (RFC 8200 section 4).
type protochain struct {
	tok token
	fam family // famIPv4, famIPv6, famBoth
	num uint32
}

func (n protochain) gen(g *gen, t, f label) {
	if g.geneve {
		g.fail(n.tok, "not possible after geneve")
		return
	}
	g.word = n.tok
	cell := g.static()
	if n.fam != famIPv6 {
		next, in := f, g.newLabel()
		if n.fam == famBoth {
			next = g.newLabel()
		}
		g.linkProto(etherIPv4, in, next)
		g.bind(in)
		g.load(opLdB, g.net.plus(9))
		g.emit(opSt, cell)
		g.loadXHeader4()
		n.headers(g, cell, nil, t, next)
		if n.fam == famIPv4 {
			return
		}
		g.bind(next)
	}
	in := g.newLabel()
	g.linkProto(etherIPv6, in, f)
	g.bind(in)
	g.load(opLdB, g.net.plus(6))
	g.emit(opSt, cell)
	g.emit(opLdImm, 40)
	if g.net.cell != 0 {
		g.emit(opLdxMem, g.net.cell)
		g.emit(opAdd|srcX, 0)
	}
	g.emit(opTax, 0)
	n.headers(g, cell, []uint32{0, 60, 43, protoIPv6Fr}, t, f) // hop-by-hop and destination options, routing
}

// headers walks along the chain. A header's protocol is in the cell, its offset
// in X; extensions are the protocols whose headers count their length in eight
// bytes after the first eight. An authentication header counts in four bytes
// after the first eight.
func (n protochain) headers(g *gen, cell uint32, extensions []uint32, t, f label) {
	for range maxChain {
		other, auth, notAuth := g.newLabel(), g.newLabel(), g.newLabel()
		extension, more := g.newLabel(), g.newLabel()
		g.emit(opLdMem, cell)
		g.branch(opJeq, n.num, t, other)
		g.bind(other)
		g.branch(opJeq, protoAH, auth, notAuth)

		g.bind(notAuth)
		g.anyOf(extensions, extension, f)
		g.bind(extension)
		g.skip(cell, 1, 8)
		g.jump(more)

		g.bind(auth)
		g.skip(cell, 2, 4)
		g.bind(more)
	}
	g.emit(opLdMem, cell)
	g.branch(opJeq, n.num, t, f)
}

// skip moves X over the header that it points to, whose length is the second
// byte and add more, in units, and the first byte, the next protocol, to the cell.
func (g *gen) skip(cell, add, unit uint32) {
	g.emit(opLdBInd, g.net.off)
	g.emit(opSt, cell)
	g.emit(opLdBInd, g.net.off+1)
	g.emit(opAdd, add)
	g.emit(opMul, unit)
	g.emit(opAdd|srcX, 0)
	g.emit(opTax, 0)
}
