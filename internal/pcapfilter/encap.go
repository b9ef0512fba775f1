package pcapfilter

// Encapsulations. Each of these words is a test and, whether it holds or not,
// moves everything after it in the expression behind the header that it names.

// tagged is what vlan, mpls, pppoes and geneve have in common.
type tagged struct {
	tok   token
	id    uint32 // of the VLAN, label, session or network
	hasID bool
}

// EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and an older one of stacked tags.
const (
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	etherQinQ2 = 0x9100
)

// vlan tests for a VLAN tag.
type vlan struct{ tagged }

func (n vlan) gen(g *gen, t, f label) {
	switch {
	case g.labels:
		g.fail(n.tok, "not possible after mpls")
		return
	case g.kind != linkEther && g.kind != linkCooked && g.kind != linkLive:
		g.fail(n.tok, "frames of this link type have no VLAN tags")
		return
	}
	id := t
	if n.hasID {
		id = g.newLabel()
	}
	live := g.kind == linkLive
	if live {
		g.onEthernet(n.tok, f)
	}
	g.loadProto()
	g.anyOf([]uint32{etherVLAN, etherQinQ, etherQinQ2}, id, f)
	if live {
		// The tag is beside the frame or in it; behind it are both where an
		// Ethernet header tells, with the shift that the prelude finds.
		shift := g.reserve(&g.shiftCell)
		g.kind = linkEther
		g.proto = place{skfLLOff + 12 - 4, shift}
		g.payload = place{skfLLOff + 14 - 4, shift}
		g.net = g.payload
	}
	if n.hasID {
		g.bind(id)
		const mask = 0xfff
		if live {
			inFrame, beside, masked := g.newLabel(), g.newLabel(), g.newLabel()
			g.emit(opLdW, skfAdVLANTagPresent)
			g.branch(opJeq, 0, inFrame, beside)
			g.bind(beside)
			g.emit(opLdW, skfAdVLANTag)
			g.jump(masked)
			g.bind(inFrame)
			g.emit(opLdH, skfLLOff+14)
			g.bind(masked)
			g.emit(opAnd, mask)
			g.branch(opJeq, n.id, t, f)
		} else {
			g.masked(opLdH, g.payload, n.id, mask, t, f)
		}
	}
	if g.kind == linkCooked { // SLL2's protocol is not at its end
		g.proto = g.payload.minus(2)
	}
	g.proto = g.proto.plus(4)
	g.payload = g.payload.plus(4)
	g.net = g.net.plus(4)
}

// mpls tests for an MPLS label (RFC 3032).
type mpls struct{ tagged }

func (n mpls) gen(g *gen, t, f label) {
	label := t
	if n.hasID {
		label = g.newLabel()
	}
	switch {
	case g.labels: // the label before is not the last of the stack
		g.masked(opLdB, g.net.minus(4-2), 0, 1, label, f)
	case g.kind == linkEther, g.kind == linkCooked, g.kind == linkLive:
		g.isType(0x8847, label, f)
	case g.kind == linkPPP:
		g.linkProto(0x0281, label, f)
	default:
		g.fail(n.tok, "frames of this link type have no MPLS labels")
		return
	}
	if n.hasID {
		g.bind(label)
		g.masked(opLdW, g.net, n.id<<12, 0xfffff000, t, f)
	}
	g.labels = true
	g.llc += 4
	g.net = g.net.plus(4)
}

// underMPLS tests for IP behind the last label of a stack, which does not tell
// its protocol.
func (g *gen) underMPLS(proto uint32, t, f label) {
	if proto != etherIPv4 && proto != etherIPv6 {
		g.notUnderMPLS(g.word)
		return
	}
	last := g.newLabel()
	g.masked(opLdB, g.net.minus(2), 1, 1, last, f)
	g.bind(last)
	if proto == etherIPv4 {
		g.masked(opLdB, g.net, 4<<4, 0xf0, t, f)
	} else {
		g.masked(opLdB, g.net, 6<<4, 0xf0, t, f)
	}
}

func (g *gen) notUnderMPLS(tok token) {
	g.fail(tok, "not possible after mpls: only IP and IPv6 are recognized there")
}

// pppoes tests for a PPPoE session (RFC 2516).
type pppoes struct{ tagged }

func (n pppoes) gen(g *gen, t, f label) {
	g.word = n.tok
	id := t
	if n.hasID {
		id = g.newLabel()
	}
	g.linkProto(0x8864, id, f)
	if n.hasID {
		g.bind(id)
		g.masked(opLdW, g.net, n.id, 0xffff, t, f)
	}
	g.kind, g.llc = linkPPP, 0
	g.link = g.net.plus(6)
	g.proto = g.link
	g.payload = g.link.plus(2)
	g.net = g.payload
}

// geneve tests for Geneve (RFC 8926) to its port, over either IP. What it
// carries is an Ethernet frame or has the EtherType in Geneve's header.
type geneve struct{ tagged }

func (n geneve) gen(g *gen, t, f label) {
	const (
		port     = 6081
		bridging = 0x6558 // EtherType of a whole Ethernet frame
		udpLen   = 8
	)
	g.word = n.tok
	header := func(at place, ind bool, ok, f label) {
		load := func(op uint16, p place) {
			if ind {
				g.emit(indirect(op), p.off)
			} else {
				g.load(op, p)
			}
		}
		version := g.newLabel()
		load(opLdH, at.plus(2))
		g.branch(opJeq, port, version, f)
		g.bind(version)
		id := ok
		if n.hasID {
			id = g.newLabel()
		}
		load(opLdB, at.plus(udpLen))
		g.emit(opAnd, 0xc0)
		g.branch(opJeq, 0, id, f)
		if n.hasID {
			g.bind(id)
			load(opLdW, at.plus(udpLen+4))
			g.emit(opAnd, 0xffffff00)
			g.branch(opJeq, n.id<<8, ok, f)
		}
	}

	// Both ways end with the length of what precedes UDP in A: the IP header
	// and what the place of the network header adds to its constant.
	ip, v4, v6, found := g.newLabel(), g.newLabel(), g.newLabel(), g.newLabel()
	udp, ok := g.newLabel(), g.newLabel()
	g.linkProto(etherIPv4, ip, v6)
	g.bind(ip)
	g.equalAny(opLdB, g.net.plus(9), []uint32{protoUDP}, v4, v6)
	g.bind(v4)
	g.notLaterFragment(v6)
	g.loadXHeader4()
	header(g.net, true, ok, v6)
	g.bind(ok)
	g.emit(opTxa, 0)
	g.jump(found)

	ip, ok = g.newLabel(), g.newLabel()
	g.bind(v6)
	g.linkProto(etherIPv6, ip, f)
	g.bind(ip)
	g.equalAny(opLdB, g.net.plus(6), []uint32{protoUDP}, udp, f)
	g.bind(udp)
	header(g.net.plus(40), false, ok, f)
	g.bind(ok)
	g.emit(opLdImm, 40)
	if g.net.cell != 0 {
		g.emit(opLdxMem, g.net.cell)
		g.emit(opAdd|srcX, 0)
	}

	g.bind(found)
	base := uint32(0)
	if g.live {
		base = g.net.off &^ (1<<20 - 1) // SKF_NET_OFF or SKF_LL_OFF
	}
	g.geneveOffsets(base, g.net.off-base+udpLen, bridging)
	g.jump(t)
}

// geneveOffsets computes where Geneve's payload begins and moves the layout
// there. A is the length of what precedes UDP, but for the constant rest.
func (g *gen) geneveOffsets(base, rest, bridging uint32) {
	link, proto, payload := g.static(), g.static(), g.static()
	ethernet, bare := g.newLabel(), g.newLabel()
	g.emit(opAdd, rest)
	g.emit(opTax, 0)
	g.emit(opAdd, 2)
	g.emit(opSt, proto)
	g.emit(opLdBInd, base)
	g.emit(opAnd, 0x3f) // length of the options
	g.emit(opMul, 4)
	g.emit(opAdd, 8)
	g.emit(opAdd|srcX, 0)
	g.emit(opSt, link)
	g.emit(opLdHInd, base+2)
	g.emit(opLdxMem, link)
	g.branch(opJeq, bridging, ethernet, bare)
	g.bind(ethernet)
	g.emit(opTxa, 0)
	g.emit(opAdd, 12)
	g.emit(opSt, proto)
	g.emit(opAdd, 2)
	g.emit(opTax, 0)
	g.bind(bare)
	g.emit(opStx, payload)

	g.kind, g.geneve = linkEther, true
	g.link, g.proto, g.payload = place{base, link}, place{base, proto}, place{base, payload}
	g.net = g.payload
}
