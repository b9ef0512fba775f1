package pcapfilter

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/bpf"
)

// Program is a filter compiled for one link type. It is immutable: any
// goroutine may run it.
type Program struct {
	code []bpf.RawInstruction // all jumps go forward and end inside, the last instruction returns
}

// Instructions returns the program, for a socket whose packets begin as the
// link type says.
func (p *Program) Instructions() []bpf.RawInstruction { return slices.Clone(p.code) }

// Match reports whether the program accepts a frame: data is what was captured
// of it, wire its whole length, which is what len, less and greater mean. A
// frame that is too short for what the program reads is not accepted. Match
// keeps nothing and allocates nothing.
//
// It is the machine of bpf(4) as far as compile makes use of it.
func (p *Program) Match(data []byte, wire int) bool {
	var (
		a, x uint32
		mem  [maxCells]uint32
	)
	code := p.code
	size := uint64(len(data))
	for pc := uint(0); pc < uint(len(code)); pc++ {
		in := &code[pc]
		switch in.Op {
		case opLdW:
			at := uint64(in.K)
			if at+4 > size {
				return false
			}
			a = binary.BigEndian.Uint32(data[at:])
		case opLdH:
			at := uint64(in.K)
			if at+2 > size {
				return false
			}
			a = uint32(binary.BigEndian.Uint16(data[at:]))
		case opLdB:
			at := uint64(in.K)
			if at >= size {
				return false
			}
			a = uint32(data[at])
		case opLdWInd:
			at := uint64(x) + uint64(in.K)
			if at+4 > size {
				return false
			}
			a = binary.BigEndian.Uint32(data[at:])
		case opLdHInd:
			at := uint64(x) + uint64(in.K)
			if at+2 > size {
				return false
			}
			a = uint32(binary.BigEndian.Uint16(data[at:]))
		case opLdBInd:
			at := uint64(x) + uint64(in.K)
			if at >= size {
				return false
			}
			a = uint32(data[at])
		case opLdxMsh:
			at := uint64(in.K)
			if at >= size {
				return false
			}
			x = uint32(data[at]&0xf) << 2
		case opLdLen:
			a = uint32(wire)
		case opLdImm:
			a = in.K
		case opLdMem:
			a = mem[in.K%maxCells]
		case opLdxMem:
			x = mem[in.K%maxCells]
		case opSt:
			mem[in.K%maxCells] = a
		case opStx:
			mem[in.K%maxCells] = x
		case opTax:
			x = a
		case opTxa:
			a = x
		case opRet:
			return in.K != 0

		case opJa:
			pc += uint(in.K)
		case opJeq:
			pc += jump(in, a == in.K)
		case opJgt:
			pc += jump(in, a > in.K)
		case opJge:
			pc += jump(in, a >= in.K)
		case opJset:
			pc += jump(in, a&in.K != 0)
		case opJeq | srcX:
			pc += jump(in, a == x)
		case opJgt | srcX:
			pc += jump(in, a > x)
		case opJge | srcX:
			pc += jump(in, a >= x)

		default:
			operand := in.K
			if in.Op&srcX != 0 {
				operand = x
			}
			switch in.Op &^ srcX {
			case opAdd:
				a += operand
			case opSub:
				a -= operand
			case opMul:
				a *= operand
			case opDiv:
				if operand == 0 {
					return false
				}
				a /= operand
			case opMod:
				if operand == 0 {
					return false
				}
				a %= operand
			case opOr:
				a |= operand
			case opAnd:
				a &= operand
			case opXor:
				a ^= operand
			case opLsh:
				a <<= operand
			case opRsh:
				a >>= operand
			default:
				return false
			}
		}
	}
	return false
}

// jump returns how many instructions a branch skips.
func jump(in *bpf.RawInstruction, cond bool) uint {
	if cond {
		return uint(in.Jt)
	}
	return uint(in.Jf)
}

// String returns the program as tcpdump -d prints it.
func (p *Program) String() string { return Listing(p.code) }

// Listing prints a program, one instruction a line, as tcpdump -d does.
func Listing(code []bpf.RawInstruction) string {
	var b strings.Builder
	for i, in := range code {
		name, operand := mnemonic(i, in)
		if in.Op&7 == 5 && in.Op != opJa {
			fmt.Fprintf(&b, "(%03d) %-8s %-16s jt %d\tjf %d\n", i, name, operand, i+1+int(in.Jt), i+1+int(in.Jf))
		} else {
			fmt.Fprintf(&b, "(%03d) %-8s %s\n", i, name, operand)
		}
	}
	return b.String()
}

// mnemonic returns the name and the operand of an instruction.
func mnemonic(at int, in bpf.RawInstruction) (name, operand string) {
	decimal := fmt.Sprintf("#%d", int32(in.K))
	hex := fmt.Sprintf("#0x%x", in.K)
	cell := fmt.Sprintf("M[%d]", in.K)
	switch in.Op {
	case opRet:
		return "ret", decimal
	case opLdW:
		return "ld", absolute(in.K)
	case opLdH:
		return "ldh", absolute(in.K)
	case opLdB:
		return "ldb", absolute(in.K)
	case opLdWInd:
		return "ld", fmt.Sprintf("[x + %d]", int32(in.K))
	case opLdHInd:
		return "ldh", fmt.Sprintf("[x + %d]", int32(in.K))
	case opLdBInd:
		return "ldb", fmt.Sprintf("[x + %d]", int32(in.K))
	case opLdLen:
		return "ld", "#pktlen"
	case opLdImm:
		return "ld", hex
	case opLdMem:
		return "ld", cell
	case opLdxMem:
		return "ldx", cell
	case opLdxMsh:
		return "ldxb", fmt.Sprintf("4*([%d]&0xf)", int32(in.K))
	case opSt:
		return "st", cell
	case opStx:
		return "stx", cell
	case opTax:
		return "tax", ""
	case opTxa:
		return "txa", ""
	case opJa:
		return "ja", fmt.Sprint(at + 1 + int(in.K))
	}
	x := in.Op&srcX != 0
	op := in.Op &^ srcX
	switch op {
	case opJeq:
		name, operand = "jeq", hex
	case opJgt:
		name, operand = "jgt", hex
	case opJge:
		name, operand = "jge", hex
	case opJset:
		name, operand = "jset", hex
	case opAdd:
		name, operand = "add", decimal
	case opSub:
		name, operand = "sub", decimal
	case opMul:
		name, operand = "mul", decimal
	case opDiv:
		name, operand = "div", decimal
	case opMod:
		name, operand = "mod", decimal
	case opLsh:
		name, operand = "lsh", decimal
	case opRsh:
		name, operand = "rsh", decimal
	case opOr:
		name, operand = "or", hex
	case opAnd:
		name, operand = "and", hex
	case opXor:
		name, operand = "xor", hex
	default:
		return "unimp", fmt.Sprintf("0x%x", in.Op)
	}
	if x {
		operand = "x"
	}
	return name, operand
}

// absolute prints the operand of a load: what Linux tells beside a packet has a
// name.
func absolute(k uint32) string {
	switch k {
	case skfAdProtocol:
		return "[proto]"
	case skfAdPktType:
		return "[type]"
	case skfAdIfindex:
		return "[ifidx]"
	case skfAdHatype:
		return "[hatype]"
	case skfAdVLANTag:
		return "[vlan_tci]"
	case skfAdVLANTagPresent:
		return "[vlanp]"
	case skfAdVLANTPID:
		return "[vlan_tpid]"
	}
	return fmt.Sprintf("[%d]", int32(k))
}
