package bench

import (
	"encoding/binary"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"finack/decode"
	"finack/internal/craft"
)

// Watcher is a command that captures, until it is interrupted.
type Watcher struct {
	Name  string   // of the row
	Argv  []string // "IFACE" stands for the interface
	Ready string   // what it says on stderr when it captures
	// Received and Dropped find the counters in what it has printed: each
	// has one group, a number.
	Received, Dropped *regexp.Regexp
}

// LiveConfig tells what Live offers.
type LiveConfig struct {
	Packets int // that are sent
	Rate    int // packets a second; 0: as many as one core can send
}

// LiveResult is how a Watcher did.
type LiveResult struct {
	Offered  uint64        // packets that were sent
	Received uint64        // of them, by its own account
	Dropped  uint64        // packets lost, by its own account
	Took     time.Duration // to send them
	CPU      time.Duration // user and system time of the watcher
	MaxRSS   int64         // bytes
	Err      error         // exec.ErrNotFound where it is not installed
}

// Lost is what the watcher has not received, whatever it says itself.
func (r *LiveResult) Lost() uint64 { return r.Offered - min(r.Offered, r.Received) }

// PerPacket is the watcher's time for a packet that was sent.
func (r *LiveResult) PerPacket() time.Duration { return r.CPU / time.Duration(max(1, r.Offered)) }

// Rate is how many packets a second were sent.
func (r *LiveResult) Rate() float64 { return float64(r.Offered) / r.Took.Seconds() }

// EchoResult is what connections on loopback cost, and a watcher beside them.
type EchoResult struct {
	Conns    int
	Workload time.Duration // user and system time of client and server
	Watcher  time.Duration // and of the watcher
	Dropped  uint64        // packets that it lost, by its own account
	Err      error
}

// Total is what the connections cost with the watcher.
func (r *EchoResult) Total() time.Duration { return r.Workload + r.Watcher }

// number returns the number that re finds in text, the last one.
func number(re *regexp.Regexp, text string) (uint64, bool) {
	all := re.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(all[len(all)-1][1], 10, 64)
	return n, err == nil
}

const (
	crowdConns = 1 << 13 // of one round
	crowdSide  = 64      // connections side by side
	crowdLow   = 49152   // the low half of the servers' address in round 0
)

// crowd is the frames of short connections of the smallest size that TCP has,
// 60 bytes and fewer on Ethernet: a handshake, a request, an answer, a teardown.
// In each round they are other connections.
type crowd struct {
	frames [][]byte
	round  uint16
}

// steps of one connection: the numbers are relative.
func crowdSteps() []craft.TCP {
	const client, srv = 40000, 443
	c := func(seq, ack uint32, flags decode.Flags) craft.TCP {
		return craft.TCP{SrcPort: client, DstPort: srv, Seq: seq, Ack: ack, Flags: flags, Window: 501}
	}
	s := func(seq, ack uint32, flags decode.Flags) craft.TCP {
		return craft.TCP{SrcPort: srv, DstPort: client, Seq: seq, Ack: ack, Flags: flags, Window: 501}
	}
	const syn, ack, psh, fin = decode.SYN, decode.ACK, decode.PSH, decode.FIN
	return []craft.TCP{
		c(0, 0, syn), s(0, 1, syn|ack), c(1, 1, ack),
		c(1, 1, psh|ack), s(1, 7, ack), s(1, 7, psh|ack), c(7, 7, ack),
		c(7, 7, fin|ack), s(7, 8, fin|ack), c(8, 8, ack),
	}
}

func newCrowd() (*crowd, error) {
	c := &crowd{}
	steps := crowdSteps()
	addr := func(net uint32, low int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, net<<16|uint32(low))))
	}
	for first := 0; first < crowdConns; first += crowdSide {
		for _, step := range steps {
			for i := first; i < first+crowdSide; i++ {
				tcp, ip := step, craft.IP{Src: addr(0x0a00, i), Dst: addr(0xc0a8, crowdLow), ID: uint16(i)}
				frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
				iss, irs := uint32(i)*7919, uint32(i)*104729
				if c.fromServer(&step) {
					ip.Src, ip.Dst = ip.Dst, ip.Src
					iss, irs = irs, iss
				}
				tcp.Seq += iss
				if tcp.Flags.Has(decode.ACK) {
					tcp.Ack += irs
				}
				var payload []byte
				if tcp.Flags.Has(decode.PSH) {
					payload = []byte("hello\n")
				}
				frame, err := craft.AppendTCP(frame, &ip, &tcp, payload)
				if err != nil {
					return nil, err
				}
				c.frames = append(c.frames, frame)
			}
		}
	}
	return c, nil
}

func (*crowd) fromServer(step *craft.TCP) bool { return step.SrcPort < step.DstPort }

// batch returns the frames of the connections that come next, which are
// consecutive ones of c.frames from at on.
func (c *crowd) batch(at int) [][]byte {
	const size = crowdSide
	batch := c.frames[at : at+size]
	if c.round == 0 {
		return batch
	}
	// The client's address goes up by what the server's goes down, so that the
	// checksums stay as they are.
	for _, frame := range batch {
		src, dst := frame[14+12+2:], frame[14+16+2:]
		if frame[14+12] != 10 {
			src, dst = dst, src
		}
		be := binary.BigEndian
		be.PutUint16(src, be.Uint16(src)+1)
		be.PutUint16(dst, be.Uint16(dst)-1)
	}
	return batch
}

// each calls send with batch after batch, n frames in all, whole rounds but for the last.
func (c *crowd) each(n int, send func([][]byte) error) error {
	for at := 0; n > 0; n -= crowdSide {
		if err := send(c.batch(at)); err != nil {
			return err
		}
		if at += crowdSide; at == len(c.frames) {
			at = 0
			c.round++
		}
	}
	return nil
}
