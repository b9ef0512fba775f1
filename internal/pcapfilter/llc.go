package pcapfilter

// Protocols behind an IEEE 802.2 (LLC) header: what older link protocols and
// OSI's use on Ethernet.

// LLC service access points (IEEE 802.2): below 1501 a link protocol is one of
// these.
const (
	maxLength  = 1500 // the largest length field of an 802.3 frame
	sapIP      = 0x06
	sapSTP     = 0x42
	sapSNAP    = 0xaa
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe
)

// Linux's protocol numbers of frames without an EtherType (linux/if_ether.h).
const (
	ethP8023 = 1 // no LLC header: Novell's
	ethP8022 = 4
)

// is8022 tests whether the link header announces an LLC header.
func (g *gen) is8022(t, f label) {
	g.loadProto()
	if g.kind == linkEther {
		g.branch(opJgt, maxLength, f, t)
	} else {
		g.branch(opJeq, ethP8022, t, f)
	}
}

// sap tests for a service access point.
func (g *gen) sap(sap uint32, t, f label) {
	in := g.newLabel()
	g.is8022(in, f)
	g.bind(in)
	switch sap {
	case sapIP, sapISO, sapNetBEUI:
		g.equalAny(opLdH, g.payload, []uint32{sap<<8 | sap}, t, f) // DSAP and SSAP
	default:
		dsap := g.payload
		if g.kind == linkEther { // the same but inside Geneve
			dsap = g.proto.plus(2)
		}
		g.equalAny(opLdB, dsap, []uint32{sap}, t, f)
	}
}

// snap tests for an LLC header with SNAP (IEEE 802): an organization's code and
// its protocol.
func (g *gen) snap(org, proto uint32, t, f label) {
	first := g.newLabel()
	g.equalAny(opLdW, g.payload.plus(4), []uint32{org<<16 | proto}, first, f)
	g.bind(first)
	g.equalAny(opLdW, g.payload, []uint32{sapSNAP<<24 | sapSNAP<<16 | 3<<8 | org>>16}, t, f)
}

// appleTalk tests for AppleTalk or its ARP, in their own EtherType or SNAP.
func (g *gen) appleTalk(proto uint32, t, f label) {
	other, in := g.newLabel(), g.newLabel()
	g.isType(proto, t, other)
	g.bind(other)
	g.is8022(in, f)
	g.bind(in)
	org := uint32(0)
	if proto == etherAppleTalk {
		org = 0x080007
	}
	g.snap(org, proto, t, f)
}

// ipx tests for IPX in any of its four encapsulations.
func (g *gen) ipx(t, f label) {
	other, llc, next := g.newLabel(), g.newLabel(), g.newLabel()
	g.isType(etherIPX, t, other)
	g.bind(other)
	if g.kind != linkEther {
		notRaw := g.newLabel()
		g.isType(ethP8023, t, notRaw)
		g.bind(notRaw)
		g.is8022(llc, f)
		g.bind(llc)
		g.equalAny(opLdB, g.payload, []uint32{sapIPX}, t, next)
		g.bind(next)
		g.snap(0, etherIPX, t, f)
		return
	}
	g.is8022(llc, f)
	g.bind(llc)
	g.snap(0, etherIPX, t, next)
	g.bind(next)
	raw := g.newLabel()
	g.equalAny(opLdB, g.payload, []uint32{sapIPX}, t, raw)
	g.bind(raw)
	g.equalAny(opLdH, g.payload, []uint32{0xffff}, t, f)
}

// OSI's protocols behind its SAP, and the types of IS-IS messages (ISO 10589).
const (
	osiCLNP = 0x81
	osiESIS = 0x82
	osiISIS = 0x83

	isisL1Hello = 15
	isisL2Hello = 16
	isisHello   = 17 // point to point, of both levels
	isisL1LSP   = 18
	isisL2LSP   = 20
	isisL1CSNP  = 24
	isisL2CSNP  = 25
	isisL1PSNP  = 26
	isisL2PSNP  = 27
)

// osi tests for a protocol of OSI's and, if there are any, for message types.
type osi struct {
	tok   token
	proto uint32
	types []uint32
}

// lookupOSI returns the meaning of a keyword.
func lookupOSI(tok token) (osi, bool) {
	isis := func(types ...uint32) (osi, bool) { return osi{tok, osiISIS, types}, true }
	switch tok.text {
	case "clnp":
		return osi{tok: tok, proto: osiCLNP}, true
	case "esis", "es-is":
		return osi{tok: tok, proto: osiESIS}, true
	case "isis", "is-is":
		return isis()
	case "l1":
		return isis(isisL1Hello, isisHello, isisL1LSP, isisL1CSNP, isisL1PSNP)
	case "l2":
		return isis(isisL2Hello, isisHello, isisL2LSP, isisL2CSNP, isisL2PSNP)
	case "iih":
		return isis(isisL1Hello, isisL2Hello, isisHello)
	case "lsp":
		return isis(isisL1LSP, isisL2LSP)
	case "snp":
		return isis(isisL1CSNP, isisL2CSNP, isisL1PSNP, isisL2PSNP)
	case "csnp":
		return isis(isisL1CSNP, isisL2CSNP)
	case "psnp":
		return isis(isisL1PSNP, isisL2PSNP)
	}
	return osi{}, false
}

func (n osi) gen(g *gen, t, f label) {
	g.word = n.tok
	in, typed := g.newLabel(), t
	g.linkProto(sapISO, in, f)
	g.bind(in)
	header := g.payload.plus(g.llc)
	if len(n.types) > 0 {
		typed = g.newLabel()
	}
	g.equalAny(opLdB, header, []uint32{n.proto}, typed, f)
	if len(n.types) > 0 {
		g.bind(typed)
		g.equalAny(opLdB, header.plus(4), n.types, t, f)
	}
}

// llc tests for an LLC header and bits of its control field.
type llc struct {
	tok       token
	val, mask uint32 // a mask of 0: any
}

// lookupLLC returns the control field of a frame type: of information (i),
// supervisory (s) or unnumbered (u) frames, or of one of those.
func lookupLLC(name string) (val, mask uint32, ok bool) {
	switch name {
	case "i":
		return 0, 0x01, true
	case "s":
		return 1, 0x03, true
	case "u":
		return 3, 0x03, true
	case "rr":
		return 0x01, 0x0f, true
	case "rnr":
		return 0x05, 0x0f, true
	case "rej":
		return 0x09, 0x0f, true
	case "ui":
		return 0x03, 0xef, true
	case "ua":
		return 0x63, 0xef, true
	case "disc":
		return 0x43, 0xef, true
	case "dm":
		return 0x0f, 0xef, true
	case "sabme":
		return 0x6f, 0xef, true
	case "test":
		return 0xe3, 0xef, true
	case "xid":
		return 0xaf, 0xef, true
	case "frmr":
		return 0x87, 0xef, true
	}
	return 0, 0, false
}

func (n llc) gen(g *gen, t, f label) {
	if g.kind != linkEther && g.kind != linkCooked && g.kind != linkLive {
		g.fail(n.tok, "frames of this link type have no LLC header")
		return
	}
	in, control := g.newLabel(), g.newLabel()
	g.is8022(in, f)
	g.bind(in)
	g.equalAny(opLdH, g.payload, []uint32{0xffff}, f, control) // Novell's have none
	g.bind(control)
	g.masked(opLdB, g.payload.plus(2), n.val, n.mask, t, f)
}
