package echo

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// streamServer serves each connection with f and counts them.
func streamServer(t *testing.T, f func(io.ReadWriter)) (Endpoint, *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer c.Close()
				f(struct{ io.ReadWriter }{c}) // or io.Copy would splice, and keep its pipes
			}()
		}
	}()
	return Endpoint{"tcp4", ln.Addr().String()}, &conns
}

func TestLoadSharesOutItsMessages(t *testing.T) {
	nothingLeft(t)
	var bytes atomic.Int64
	ep, conns := streamServer(t, func(c io.ReadWriter) {
		n, _ := io.Copy(c, c)
		bytes.Add(n)
	})
	res, err := Load(t.Context(), ep, &LoadConfig{Conns: 3, Count: 10, Size: 100})
	if err != nil || res.Sent != 10 || res.Received != 10 || res.RTT.N != 10 || res.Lost+res.Late+res.Duplicates+res.Wrong != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if res.Elapsed <= 0 || res.Elapsed < res.RTT.Max {
		t.Errorf("%v in all, the longest round trip %v", res.Elapsed, res.RTT.Max)
	}
	eventually(func() bool { return bytes.Load() >= (10+3*warmup)*100 })
	if n, c := bytes.Load(), conns.Load(); n != (10+3*warmup)*100 || c != 3 {
		t.Errorf("%d bytes on %d connections, want %d on 3", n, c, (10+3*warmup)*100)
	}
}

func TestLoadOverEveryTransport(t *testing.T) {
	for name, ep := range allEndpoints(t) {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			_, eps := serve(t, nil, ep)
			res, err := Load(t.Context(), eps[0], &LoadConfig{Conns: 7, Count: 100})
			if err != nil || res.Sent != 100 || res.Received != 100 || res.RTT.N != 100 {
				t.Errorf("%+v, %v", res, err)
			}
			d, lost, err := OneShots(t.Context(), eps[0], 5, nil)
			if err != nil || lost != 0 || d.N != 5 || d.Percentile(50) <= 0 {
				t.Errorf("one-shots: %d, %d lost, %v", d.N, lost, err)
			}
		})
	}
}

// What is lost, and what is answered wrongly, is counted apart and is no round trip.
func TestLoadCountsWhatIsLostAndWrong(t *testing.T) {
	nothingLeft(t)
	ep := udpServer(t, func(in []byte) [][]byte {
		switch binary.BigEndian.Uint64(in) {
		case warmup + 2:
			return nil
		case warmup + 4:
			in[20] ^= 1
		}
		return [][]byte{in}
	})
	res, err := Load(t.Context(), ep, &LoadConfig{Conns: 2, Count: 10, Timeout: 300 * time.Millisecond})
	if err != nil || res.Sent != 10 || res.Received+res.Lost != 10 || res.Lost < 4 || res.Wrong != 2 || res.RTT.N != res.Received {
		t.Errorf("%d round trips, %+v, %v", res.RTT.N, res, err)
	}
}

// One conversation that breaks ends the others, also before they have begun.
func TestLoadEndsWhenAConversationBreaks(t *testing.T) {
	for name, after := range map[string]int64{"while warming up": 64, "later": 64 * (warmup + 2)} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			var first atomic.Bool
			ep, _ := streamServer(t, func(c io.ReadWriter) {
				if first.CompareAndSwap(false, true) {
					_, _ = io.CopyN(c, c, after)
					return
				}
				_, _ = io.Copy(c, c)
			})
			_, err := Load(t.Context(), ep, &LoadConfig{Conns: 4, Count: 1 << 30})
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v, want the end of one connection", err)
			}
		})
	}
	t.Run("nobody is there", func(t *testing.T) {
		nothingLeft(t)
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		if _, err := Load(t.Context(), Endpoint{"tcp4", ln.Addr().String()}, &LoadConfig{Conns: 2}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want ECONNREFUSED", err)
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		nothingLeft(t)
		ctx, cancel := context.WithCancel(t.Context())
		ep, _ := streamServer(t, func(c io.ReadWriter) {
			_, _ = io.CopyN(c, c, 64*(warmup+20))
			cancel()
			_, _ = io.Copy(c, c)
		})
		res, err := Load(ctx, ep, &LoadConfig{Count: 1 << 20})
		if !errors.Is(err, context.Canceled) || res.Received < 10 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestOneShotsConnectEachTime(t *testing.T) {
	nothingLeft(t)
	ep, conns := streamServer(t, func(c io.ReadWriter) { _, _ = io.Copy(c, c) })
	d, lost, err := OneShots(t.Context(), ep, 20, nil)
	if err != nil || lost != 0 || d.N != 20 || conns.Load() != 20 {
		t.Errorf("%d times, %d lost, %d connections, %v", d.N, lost, conns.Load(), err)
	}
	first := true
	ep = udpServer(t, func(in []byte) [][]byte {
		if first {
			first = false
			return nil
		}
		return [][]byte{in}
	})
	d, lost, err = OneShots(t.Context(), ep, 3, &ClientConfig{Timeout: 500 * time.Millisecond})
	if err != nil || lost+d.N != 3 || lost < 1 {
		t.Errorf("%d times, %d lost, %v; one was not answered", d.N, lost, err)
	}
}

func TestBurstSortsItsAnswers(t *testing.T) {
	nothingLeft(t)
	var held []byte
	ep := udpServer(t, func(in []byte) [][]byte {
		switch binary.BigEndian.Uint64(in) {
		case 3: // lost
			return nil
		case 5: // twice
			return [][]byte{in, in}
		case 7: // late
			held = append(held, in...)
			return nil
		case 8:
			return [][]byte{in, held}
		case 9: // not what was sent
			wrong := append([]byte(nil), in...)
			wrong[30] ^= 1
			return [][]byte{wrong, in[:10], in}
		}
		return [][]byte{in}
	})
	res, err := Burst(t.Context(), ep, &ClientConfig{Count: 12, Timeout: 500 * time.Millisecond})
	want := BurstResult{Sent: 12, Answered: 11, Missing: 1, Duplicates: 1, OutOfOrder: 1, Wrong: 2}
	if err != nil || res != want {
		t.Errorf("%+v, %v, want %+v", res, err, want)
	}
	if _, err := Burst(t.Context(), ep, &ClientConfig{Size: 7}); err == nil {
		t.Error("a burst of datagrams too short for a number")
	}
	if _, err := Burst(t.Context(), Endpoint{"tcp4", "127.0.0.1:1"}, nil); err == nil {
		t.Error("a burst on a stream")
	}
}
