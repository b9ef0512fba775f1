package capture

import (
	"io"
	"net"
)

// What is read ahead of who reads: enough that neither waits for the other's
// pauses, a fixed amount for each file that is open.
const (
	aheadPieces = 4
	aheadSize   = 256 << 10
)

// ahead reads a reader on a goroutine of its own, so that decompression and
// what is done with the frames take a core each.
type ahead struct {
	stop  <-chan struct{} // closed: the goroutine ends, as soon as its read does
	full  chan piece      // closed when it has ended
	empty chan []byte
	at    piece
	used  int // bytes of at
}

// piece is what one read has brought.
type piece struct {
	b   []byte
	err error
}

// readAhead starts reading r. What comes from a reader that may wait, as a pipe
// does, is handed on at once; else pieces are filled, so that there are fewer.
func readAhead(r io.Reader, waits bool, stop <-chan struct{}) *ahead {
	a := &ahead{stop: stop, full: make(chan piece, aheadPieces), empty: make(chan []byte, aheadPieces)}
	for range aheadPieces {
		a.empty <- nil
	}
	go a.run(r, waits)
	return a
}

// run reads until there is an error or a stop.
func (a *ahead) run(r io.Reader, waits bool) {
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.empty:
		case <-a.stop:
			return
		}
		if b == nil {
			b = make([]byte, aheadSize)
		}
		b = b[:aheadSize]
		n, err := r.Read(b)
		for m := n; !waits && m > 0 && n < len(b) && err == nil; n += m {
			m, err = r.Read(b[n:])
		}
		a.full <- piece{b[:n], err} // has room for all that there are
		if err != nil {
			return
		}
	}
}

// Read returns net.ErrClosed after a stop, also when it waits.
func (a *ahead) Read(p []byte) (int, error) {
	if a.used == len(a.at.b) {
		if a.at.err != nil {
			return 0, a.at.err
		}
		if a.at.b != nil {
			a.empty <- a.at.b
		}
		var ok bool
		a.used = 0
		select {
		case a.at, ok = <-a.full:
		case <-a.stop:
		}
		if !ok {
			a.at = piece{err: net.ErrClosed}
		}
	}
	n := copy(p, a.at.b[a.used:])
	a.used += n
	if a.used == len(a.at.b) {
		return n, a.at.err
	}
	return n, nil
}
