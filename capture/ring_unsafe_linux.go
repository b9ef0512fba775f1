package capture

import (
	"sync/atomic"
	"unsafe"
)

// The status word of a block is shared with the kernel, which writes it last
// when it hands the block over; so it is read and written atomically.

// statusWord returns the word at off in the ring. The offset must be a multiple
// of four inside the ring.
func statusWord(ring []byte, off int) *uint32 {
	return (*uint32)(unsafe.Pointer(&ring[off : off+4][0]))
}

func loadStatus(ring []byte, off int) uint32 { return atomic.LoadUint32(statusWord(ring, off)) }

func storeStatus(ring []byte, off int, v uint32) { atomic.StoreUint32(statusWord(ring, off), v) }
