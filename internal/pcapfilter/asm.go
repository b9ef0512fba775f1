package pcapfilter

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// Opcodes of classic BPF (linux/bpf_common.h).
const (
	opLdImm  = 0x00
	opLdW    = 0x20
	opLdH    = 0x28
	opLdB    = 0x30
	opLdWInd = 0x40
	opLdHInd = 0x48
	opLdBInd = 0x50
	opLdMem  = 0x60
	opLdLen  = 0x80
	opLdxMem = 0x61
	opLdxMsh = 0xb1 // X = 4*([k]&0xf): an IPv4 header's length
	opSt     = 0x02
	opStx    = 0x03
	opTax    = 0x07
	opTxa    = 0x87
	opRet    = 0x06

	opAdd = 0x04
	opSub = 0x14
	opMul = 0x24
	opDiv = 0x34
	opOr  = 0x44
	opAnd = 0x54
	opLsh = 0x64
	opRsh = 0x74
	opMod = 0x94
	opXor = 0xa4

	opJa   = 0x05
	opJeq  = 0x15
	opJgt  = 0x25
	opJge  = 0x35
	opJset = 0x45

	srcX = 0x08 // the operand is X instead of the constant
)

const (
	maxProgram = 4096 // BPF_MAXINSNS
	maxCells   = 16   // BPF_MEMWORDS
	// maxCode bounds what is generated before unused code is taken out.
	maxCode = 16 * maxProgram
)

// label is a place in a program, known once it is bound.
type label int

// insn is an instruction whose jumps go to labels, later to indexes.
type insn struct {
	op   uint16
	k    uint32
	t, f int // of a branch; t of opJa
}

func (i insn) isBranch() bool { return i.op&7 == 5 && i.op != opJa }

// gen collects a program. All its jumps go forward.
type gen struct {
	layout         // of what the word that is generated now sees
	expr           string
	word           token // the one that is generated now, for errors
	accept, reject label
	code           []insn
	places         []int // of labels
	err            error

	// Scratch cells: arithmetic takes them from 0 on, what lasts from 15 down.
	temporary uint32 // cells that arithmetic used
	lasting   uint32 // cells that last
	protoCell uint32 // live: the link header's protocol; 0: not needed
	shiftCell uint32 // live: 4, but 0 for a frame whose VLAN tag is beside it; 0: not needed
}

func (g *gen) newLabel() label {
	g.places = append(g.places, -1)
	return label(len(g.places) - 1)
}

func (g *gen) bind(l label) { g.places[l] = len(g.code) }

func (g *gen) add(i insn) {
	if len(g.code) >= maxCode {
		if g.err == nil {
			g.err = fmt.Errorf("compile filter: %w", ErrTooLong)
		}
		return
	}
	g.code = append(g.code, i)
}

func (g *gen) emit(op uint16, k uint32) { g.add(insn{op: op, k: k}) }

func (g *gen) branch(op uint16, k uint32, t, f label) {
	g.add(insn{op: op, k: k, t: int(t), f: int(f)})
}

func (g *gen) jump(to label) { g.add(insn{op: opJa, t: int(to)}) }

func (g *gen) jumpIf(cond bool, t, f label) {
	if cond {
		g.jump(t)
	} else {
		g.jump(f)
	}
}

// indirect returns the load that adds X of an absolute one.
func indirect(op uint16) uint16 { return op + opLdWInd - opLdW }

// load loads from a place into A. It may change X.
func (g *gen) load(op uint16, at place) {
	if at.cell == 0 {
		g.emit(op, at.off)
		return
	}
	g.emit(opLdxMem, at.cell)
	g.emit(indirect(op), at.off)
}

// loadXHeader4 loads into X the length of the IPv4 header and, if it is not
// constant, of what precedes it, less g.net.off. It may change A.
func (g *gen) loadXHeader4() {
	if g.net.cell == 0 {
		g.emit(opLdxMsh, g.net.off)
		return
	}
	g.load(opLdB, g.net)
	g.emit(opAnd, 0xf)
	g.emit(opLsh, 2)
	g.emit(opAdd|srcX, 0)
	g.emit(opTax, 0)
}

// equalAny loads a value and tests whether it is one of vals.
func (g *gen) equalAny(op uint16, at place, vals []uint32, t, f label) {
	if len(vals) > 0 {
		g.load(op, at)
	}
	g.anyOf(vals, t, f)
}

// anyOf tests whether A is one of vals.
func (g *gen) anyOf(vals []uint32, t, f label) {
	if len(vals) == 0 {
		g.jump(f)
		return
	}
	for i, v := range vals {
		next := f
		if i < len(vals)-1 {
			next = g.newLabel()
		}
		g.branch(opJeq, v, t, next)
		if next != f {
			g.bind(next)
		}
	}
}

// store saves A in a scratch cell, for a while.
func (g *gen) store(cell uint32) {
	g.temporary = max(g.temporary, cell+1)
	g.emit(opSt, cell)
}

// static returns a scratch cell that lasts to the end of the program. It is
// never cell 0.
func (g *gen) static() uint32 {
	g.lasting++
	return maxCells - min(g.lasting, maxCells-1)
}

// reserve returns *cell, which becomes a cell that lasts if it was none yet.
func (g *gen) reserve(cell *uint32) uint32 {
	if *cell == 0 {
		*cell = g.static()
	}
	return *cell
}

// prelude puts before the program what fills the cells that last. The kernel
// refuses to load from a cell that was not stored to, and zero is what a cell
// holds that nothing was stored to where the machine allows that.
//
// The kernel takes the outer VLAN tag out of a frame that it receives, and
// calls the frame by its payload's protocol; here that frame's protocol is the
// tag's again, as it is in a file, where the tag is put back in.
func (g *gen) prelude() {
	body, labels := g.code, len(g.places)
	g.code = nil
	if g.protoCell != 0 {
		plain, tagged, both := g.newLabel(), g.newLabel(), g.newLabel()
		g.emit(opLdW, skfAdVLANTagPresent)
		g.branch(opJeq, 0, plain, tagged)
		g.bind(tagged)
		g.emit(opLdW, skfAdVLANTPID)
		g.jump(both)
		g.bind(plain)
		g.emit(opLdW, skfAdProtocol)
		g.bind(both)
		g.emit(opSt, g.protoCell)
	}
	if g.shiftCell != 0 {
		g.emit(opLdW, skfAdVLANTagPresent)
		g.emit(opMul, 1<<32-4)
		g.emit(opAdd, 4)
		g.emit(opSt, g.shiftCell)
	}
	zero := false
	for i := range min(g.lasting, maxCells-1) {
		cell := maxCells - 1 - i
		if cell == g.protoCell || cell == g.shiftCell {
			continue
		}
		if !zero {
			g.emit(opLdImm, 0)
			zero = true
		}
		g.emit(opSt, cell)
	}
	for i := range labels {
		g.places[i] += len(g.code)
	}
	g.code = append(g.code, body...)
}

// assemble turns labels into offsets.
func (g *gen) assemble() ([]bpf.RawInstruction, error) {
	if g.lasting >= maxCells || g.temporary+g.lasting > maxCells {
		return nil, errors.New("compile filter: arithmetic and encapsulations nested too deeply for 16 scratch cells")
	}
	code := g.code
	for i := range code {
		if code[i].isBranch() {
			code[i].f = g.places[code[i].f]
		}
		if code[i].isBranch() || code[i].op == opJa {
			code[i].t = g.places[code[i].t]
		}
	}
	code = dropUnused(code)
	code = dropReloads(code)
	switch {
	case code[0].op == opRet && code[0].k == 0:
		return nil, fmt.Errorf("compile filter %q: %w", g.expr, ErrRejectsAll)
	case len(code) > maxProgram:
		return nil, fmt.Errorf("compile filter: %w", ErrTooLong)
	}
	return resolve(code)
}

// dropUnused lets jumps to jumps go to the end at once and removes what cannot
// be reached then.
func dropUnused(code []insn) []insn {
	end := make([]int, len(code)) // where a jump to an instruction really goes
	for i := len(code) - 1; i >= 0; i-- {
		c := &code[i]
		if c.isBranch() {
			c.t, c.f = end[c.t], end[c.f]
			if c.t == c.f {
				*c = insn{op: opJa, t: c.t}
			}
		}
		end[i] = i
		if c.op == opJa {
			c.t = end[c.t]
			end[i] = c.t
		}
	}

	keep := make([]bool, len(code))
	keep[end[0]] = true
	for i, c := range code {
		switch {
		case !keep[i]:
		case c.isBranch():
			keep[c.t], keep[c.f] = true, true
		case c.op == opJa:
			keep[c.t] = true
		case c.op != opRet:
			keep[i+1] = true
		}
	}
	next := len(code)
	for i := len(code) - 1; i >= 0; i-- {
		if keep[i] && code[i].op == opJa && code[i].t == next {
			keep[i] = false
		}
		if keep[i] {
			next = i
		}
	}
	return compact(code, keep)
}

// dropReloads removes loads of what the register holds already on every way
// that leads there.
func dropReloads(code []insn) []insn {
	type value struct {
		known bool
		op    uint16
		k     uint32
	}
	type state struct {
		reached bool
		a, x    value
	}
	in := make([]state, len(code))
	in[0].reached = true
	flow := func(to int, s state) {
		old := &in[to]
		if !old.reached {
			*old = s
			return
		}
		if old.a != s.a {
			old.a = value{}
		}
		if old.x != s.x {
			old.x = value{}
		}
	}
	keep := make([]bool, len(code))
	for i, c := range code {
		keep[i] = true
		s := in[i]
		switch c.op {
		case opRet:
			continue
		case opJa:
			flow(c.t, s)
			continue
		case opLdW, opLdH, opLdB, opLdImm, opLdLen, opLdMem:
			v := value{true, c.op, c.k}
			keep[i] = s.a != v
			s.a = v
		case opLdxMsh, opLdxMem:
			v := value{true, c.op, c.k}
			keep[i] = s.x != v
			s.x = v
		case opTax:
			s.x = value{}
		case opSt, opStx:
			if s.a.op == opLdMem {
				s.a = value{}
			}
			if s.x.op == opLdxMem {
				s.x = value{}
			}
		default:
			if c.isBranch() {
				flow(c.t, s)
				flow(c.f, s)
				continue
			}
			s.a = value{}
		}
		flow(i+1, s)
	}
	return compact(code, keep)
}

// compact removes instructions; a jump to a removed one goes to the next kept.
func compact(code []insn, keep []bool) []insn {
	at := make([]int, len(code))
	n := 0
	for i := range code {
		at[i] = n
		if keep[i] {
			n++
		}
	}
	out := make([]insn, 0, n)
	for i, c := range code {
		if !keep[i] {
			continue
		}
		if c.isBranch() {
			c.f = at[c.f]
		}
		if c.isBranch() || c.op == opJa {
			c.t = at[c.t]
		}
		out = append(out, c)
	}
	return out
}

// resolve makes jumps relative. A branch reaches 255 instructions; where that
// is too short, a jump that reaches further is put behind the branch.
func resolve(code []insn) ([]bpf.RawInstruction, error) {
	type far struct{ t, f bool }
	long := make([]far, len(code))
	pos := make([]int, len(code))
	size := 0
	for changed := true; changed; {
		changed, size = false, 0
		for i := range code {
			pos[i] = size
			size++
			if long[i].t {
				size++
			}
			if long[i].f {
				size++
			}
		}
		for i, c := range code {
			if !c.isBranch() {
				continue
			}
			if !long[i].t && pos[c.t]-pos[i]-1 > 255 {
				long[i].t, changed = true, true
			}
			if !long[i].f && pos[c.f]-pos[i]-1 > 255 {
				long[i].f, changed = true, true
			}
		}
	}
	if size > maxProgram {
		return nil, fmt.Errorf("compile filter: %w", ErrTooLong)
	}

	prog := make([]bpf.RawInstruction, 0, size)
	for i, c := range code {
		raw := bpf.RawInstruction{Op: c.op, K: c.k}
		switch {
		case c.op == opJa:
			raw.K = uint32(pos[c.t] - pos[i] - 1)
			prog = append(prog, raw)
		case c.isBranch():
			var jumps []bpf.RawInstruction
			offset := func(far bool, target int) uint8 {
				if !far {
					return uint8(pos[target] - pos[i] - 1)
				}
				at := pos[i] + 1 + len(jumps)
				jumps = append(jumps, bpf.RawInstruction{Op: opJa, K: uint32(pos[target] - at - 1)})
				return uint8(len(jumps) - 1)
			}
			raw.Jt = offset(long[i].t, c.t)
			raw.Jf = offset(long[i].f, c.f)
			prog = append(append(prog, raw), jumps...)
		default:
			prog = append(prog, raw)
		}
	}
	return prog, nil
}
