package trace

import (
	"encoding/binary"
	"math/bits"

	"finack/decode"
)

// chunkSize is the number of records that the slabs grow by: no copying, and
// memory in proportion to what is open.
const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

// slab hands out T by index; a freed one is used again.
type slab[T any] struct {
	chunks []*[chunkSize]T
	free   []uint32
	used   uint32
}

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>chunkBits][i&(chunkSize-1)] }

// alloc returns the index of a T whose contents are those of its last use.
func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	i := s.used
	s.used++
	if int(i>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSize]T))
	}
	return i
}

func (s *slab[T]) release(i uint32) { s.free = append(s.free, i) }

// table finds records by key: open addressing with linear probing. A slot
// holds a hash in its upper half and index+1 in its lower one; zero is empty.
type table struct {
	slots []uint64
	seed  [2]uint64
	n     int
	slab[record]
}

const minSlots = 1 << 10

// makeKey fills k from a packet's endpoints and reports whether the source is
// the higher one.
func makeKey(k *key, src, dst *decode.Endpoint, proto decode.Proto) (srcHi bool) {
	be := binary.BigEndian
	a, b := be.Uint64(src.Addr[:8]), be.Uint64(dst.Addr[:8])
	if a == b {
		a, b = be.Uint64(src.Addr[8:]), be.Uint64(dst.Addr[8:])
	}
	srcHi = a > b || a == b && src.Port > dst.Port
	if srcHi {
		src, dst = dst, src
	}
	k.lo, k.loPort = src.Addr, src.Port
	k.hi, k.hiPort = dst.Addr, dst.Port
	k.proto, k.v6 = proto, src.V6
	return srcHi
}

// hash mixes the key with secret seeds, on both sides of each product, so that
// nobody can choose addresses that collide.
func (t *table) hash(k *key) uint32 {
	a := mix(binary.LittleEndian.Uint64(k.lo[:])^t.seed[0], binary.LittleEndian.Uint64(k.hi[:])^t.seed[1])
	if k.v6 {
		a = mix(a^binary.LittleEndian.Uint64(k.lo[8:])^t.seed[1], binary.LittleEndian.Uint64(k.hi[8:])^t.seed[0])
	}
	tail := uint64(k.loPort) | uint64(k.hiPort)<<16 | uint64(k.proto)<<32
	h := mix(a^tail^t.seed[1], t.seed[0])
	return uint32(h >> 32)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// equal is ==, in words instead of bytes: a third of the time of find.
func (k *key) equal(o *key) bool {
	le := binary.LittleEndian
	return le.Uint64(k.lo[:8]) == le.Uint64(o.lo[:8]) && le.Uint64(k.hi[:8]) == le.Uint64(o.hi[:8]) &&
		k.loPort == o.loPort && k.hiPort == o.hiPort && k.proto == o.proto && k.v6 == o.v6 &&
		le.Uint64(k.lo[8:]) == le.Uint64(o.lo[8:]) && le.Uint64(k.hi[8:]) == le.Uint64(o.hi[8:])
}

// find returns the record of k and its index, or nil.
func (t *table) find(k *key, h uint32) (*record, uint32) {
	if len(t.slots) == 0 {
		return nil, 0
	}
	mask := uint32(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 {
			return nil, 0
		}
		if uint32(s>>32) == h {
			idx := uint32(s) - 1
			if r := t.at(idx); r.key.equal(k) {
				return r, idx
			}
		}
	}
}

// insert adds a record for k, all zero but for its key.
func (t *table) insert(k *key, h uint32) (*record, uint32) {
	if t.n >= len(t.slots)/4*3 {
		t.grow()
	}
	idx := t.alloc()
	t.place(uint64(h)<<32 | uint64(idx+1))
	t.n++
	r := t.at(idx)
	*r = record{key: *k}
	return r, idx
}

func (t *table) place(s uint64) {
	mask := uint32(len(t.slots) - 1)
	i := uint32(s>>32) & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, max(minSlots, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			t.place(s)
		}
	}
}

// remove takes a record out, moving later ones of its run back so that no
// tombstones are left.
func (t *table) remove(idx, h uint32) {
	mask := uint32(len(t.slots) - 1)
	i := h & mask
	for uint32(t.slots[i]) != idx+1 {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.slots[j] != 0; j = (j + 1) & mask {
		home := uint32(t.slots[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
	t.release(idx)
}

// listID names the list that a record is in. Every list is in order of time.
type listID uint8

const (
	listHalfOpen listID = iota // TCP, no handshake yet, by start
	listOpen                   // TCP, by start
	listFinished               // TCP, over: in TIME_WAIT or CLOSED, by the time of the last segment
	listFlow                   // UDP, by the time of the last datagram
	numLists
)

// list is a doubly linked list through record.prev and record.next.
type list struct{ head, tail uint32 } // index+1

// push puts a record at the end of a list.
func (t *Tracker) push(id listID, r *record, idx uint32) {
	l := &t.lists[id]
	r.list, r.prev, r.next = id, l.tail, 0
	if l.tail != 0 {
		t.at(l.tail - 1).next = idx + 1
	} else {
		l.head = idx + 1
	}
	l.tail = idx + 1
}

// unlink takes a record out of its list.
func (t *Tracker) unlink(r *record) {
	l := &t.lists[r.list]
	if r.prev != 0 {
		t.at(r.prev - 1).next = r.next
	} else {
		l.head = r.next
	}
	if r.next != 0 {
		t.at(r.next - 1).prev = r.prev
	} else {
		l.tail = r.prev
	}
}

// move puts a record at the end of another list, or of its own.
func (t *Tracker) move(id listID, r *record, idx uint32) {
	if t.lists[id].tail == idx+1 {
		return
	}
	t.unlink(r)
	t.push(id, r, idx)
}
