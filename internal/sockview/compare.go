package sockview

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/raw"
)

// CompareConfig says what to compare.
type CompareConfig struct {
	Protocol  raw.Protocol // of AF_INET, or AF_INET6
	IPv6      bool
	Interface string // one only; "" and "any" are all
	Filter    string // in tcpdump's language
	Buffer    int    // of each socket, see capture.SocketConfig
	Packets   uint64 // stop when ETH_P_ALL has seen so many; 0: do not
}

// Comparison is three sockets that see the same packets, each in its way: a
// raw one of a protocol, an AF_PACKET one of the IP version, and an AF_PACKET
// one of everything. It counts from when they are open.
type Comparison struct {
	cfg      CompareConfig
	counters []*Counter // the raw one, the version's, ETH_P_ALL's
	dropped  []uint64
}

// The counters of a Comparison.
const (
	ofProtocol = iota
	ofVersion
	ofAll
	numCounters
)

// OpenComparison opens the sockets. Errors are capture.OpenSocket's.
func OpenComparison(cfg *CompareConfig) (*Comparison, error) {
	c := &Comparison{cfg: *cfg, dropped: make([]uint64, numCounters)}
	domain, ether, version := raw.AF_INET, raw.ETH_P_IP, "ip"
	if cfg.IPv6 {
		domain, ether, version = raw.AF_INET6, raw.ETH_P_IPV6, "ip6"
	}
	filter := fmt.Sprintf("%s proto %d", version, cfg.Protocol)
	if cfg.Filter != "" {
		filter += " and (" + cfg.Filter + ")"
	}
	for _, s := range []raw.Socket{
		ofProtocol: {Domain: domain, Type: raw.SOCK_RAW, Protocol: cfg.Protocol},
		ofVersion:  {Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM, Protocol: ether},
		ofAll:      {Domain: raw.AF_PACKET, Type: raw.SOCK_RAW, Protocol: raw.ETH_P_ALL},
	} {
		counter, err := NewCounter(s, capture.SocketConfig{Interface: cfg.Interface, Filter: filter, Buffer: cfg.Buffer})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.counters = append(c.counters, counter)
	}
	// What came before is known to some of them only.
	start := decode.TimestampOf(time.Now())
	for _, counter := range c.counters {
		counter.start = start
	}
	return c, nil
}

// Close closes the sockets.
func (c *Comparison) Close() error {
	var errs []error
	for _, counter := range c.counters {
		errs = append(errs, counter.Close())
	}
	return errors.Join(errs...)
}

// Run counts until ctx ends, which is no error, or so many packets were seen
// as are wanted.
func (c *Comparison) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := sync.OnceFunc(func() { c.end(decode.TimestampOf(time.Now())) })
	context.AfterFunc(ctx, end)
	errs := make([]error, len(c.counters))
	var all sync.WaitGroup
	for i, counter := range c.counters {
		var each func(decode.Timestamp)
		if n := uint64(0); i == ofAll && c.cfg.Packets > 0 {
			each = func(at decode.Timestamp) {
				if n++; n == c.cfg.Packets {
					counter.end(at)
					cancel()
				}
			}
		}
		all.Go(func() {
			if errs[i] = counter.run(each); errs[i] != nil {
				cancel() // the others need not go on
			}
		})
	}
	all.Wait()
	for i, counter := range c.counters {
		st, err := counter.src.Stats()
		c.dropped[i] = st.Dropped
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// end ends all counters that have not been ended before.
func (c *Comparison) end(stop decode.Timestamp) {
	for _, counter := range c.counters {
		if counter.stop.Load() == 0 {
			counter.end(stop)
		}
	}
}

// Dropped is how many packets the sockets lost because they were not read fast
// enough; where there are some, the counts of those sockets are too low.
func (c *Comparison) Dropped() (n uint64) {
	for _, d := range c.dropped {
		n += d
	}
	return n
}

// conn is a connection, or what else passes between two endpoints.
type conn struct {
	client, server decode.Endpoint // the client sent first
	first          decode.Timestamp
	iface          string // "" where it is not known, or several
	views          [numCounters][2]Tally
}

// conns returns the connections in the order of their first packets.
func (c *Comparison) conns() []*conn {
	var list []*conn
	known := make(map[[2]decode.Endpoint]bool)
	for _, counter := range c.counters {
		for pair := range counter.seen {
			if known[pair] {
				continue
			}
			known[pair], known[[2]decode.Endpoint{pair[1], pair[0]}] = true, true
			list = append(list, c.conn(pair[0], pair[1]))
		}
	}
	slices.SortFunc(list, func(a, b *conn) int {
		if a.first != b.first {
			return int(max(min(a.first.Sub(b.first), 1), -1))
		}
		return strings.Compare(a.client.String(), b.client.String())
	})
	return list
}

// conn collects what the sockets saw of a connection.
func (c *Comparison) conn(a, b decode.Endpoint) *conn {
	k := &conn{client: a, server: b}
	var first [2]decode.Timestamp
	iface, several := uint32(0), false
	for i, counter := range c.counters {
		k.views[i][0], k.views[i][1] = counter.Of(a, b)
		for d, t := range k.views[i] {
			if t.Packets == 0 {
				continue
			}
			if first[d] == 0 || t.First < first[d] {
				first[d] = t.First
			}
			several = several || t.Several || iface != 0 && iface != t.Iface
			iface = t.Iface
		}
	}
	if !several {
		if ifi, err := net.InterfaceByIndex(int(iface)); err == nil {
			k.iface = ifi.Name
		}
	}
	k.first = first[0]
	if first[0] == 0 || first[1] != 0 && first[1] < first[0] {
		k.first, k.client, k.server = first[1], b, a
		for i := range k.views {
			k.views[i][0], k.views[i][1] = k.views[i][1], k.views[i][0]
		}
	}
	return k
}

// arrived and left are how many packets ETH_P_ALL saw arriving and leaving, in
// each direction of the connection.
func (k *conn) arrived() [2]int {
	v := &k.views[ofAll]
	return [2]int{v[0].Packets - v[0].Outgoing, v[1].Packets - v[1].Outgoing}
}

func (k *conn) left() [2]int { return [2]int{k.views[ofAll][0].Outgoing, k.views[ofAll][1].Outgoing} }

// loops reports whether every packet left and arrived again on one interface,
// as on loopback. A router's packets leave on another one.
func (k *conn) loops() bool { return k.left() == k.arrived() && !k.several() }

// verdict says what a socket saw, what not, and why, as far as the counts prove it.
func (c *Comparison) verdict(k *conn, i int) string {
	if n := c.dropped[i]; n > 0 {
		return fmt.Sprintf("not comparable: %d packets of this socket were lost, its receive buffer was full", n)
	}
	if c.dropped[ofAll] > 0 {
		return "not comparable: the socket of ETH_P_ALL lost packets"
	}
	in, out := k.arrived(), k.left()
	if i == ofAll {
		switch {
		case in == out && in == [2]int{}:
			return "nothing: on the links these packets were inside others, or not of this filter"
		case k.loops():
			return "each packet twice: once as it leaves, once as it arrives again (loopback)"
		case k.several():
			return "both directions, on several interfaces: packets count at each"
		case in[0]+in[1] == 0:
			return "what this host sends, as it leaves; nothing came back"
		case out[0]+out[1] == 0:
			return "what arrives; this host sent nothing"
		default:
			return "both directions, each packet once: what arrives, and what this host sends"
		}
	}
	saw := [2]int{k.views[i][0].Packets, k.views[i][1].Packets}
	total, sent := saw[0]+saw[1], out[0]+out[1]
	switch {
	case total+sent+in[0]+in[1] == 0:
		return "nothing of it"
	case saw[0] > in[0] || saw[1] > in[1]:
		return fmt.Sprintf("%d packets, where ETH_P_ALL saw %d arrive: the others were inside others on the links", total, in[0]+in[1])
	case saw == in && k.loops():
		return "each packet once, as it arrives; what leaves is not shown to it"
	case saw == in && sent > 0 && total > 0:
		return fmt.Sprintf("only what arrives: none of the %d packets that this host sent", sent)
	case saw == in && sent > 0:
		return fmt.Sprintf("nothing: it sees what arrives, and all %d packets were sent by this host", sent)
	case saw == in:
		return "all of it: every packet arrived here"
	case i == ofProtocol:
		return fmt.Sprintf("%d of the %d packets that arrived: the others were not delivered on this host "+
			"(forwarded, filtered, to another host), or were fragments", total, in[0]+in[1])
	default:
		return fmt.Sprintf("%d of the %d packets that arrived: the others were not of this EtherType", total, in[0]+in[1])
	}
}

// several reports whether ETH_P_ALL saw a direction on more than one interface.
func (k *conn) several() bool {
	v := &k.views[ofAll]
	return v[0].Several || v[1].Several
}

// maxTold is how many connections are told in text.
const maxTold = 20

// AppendText appends a table for each connection, in lines of at most 80 columns
// where addresses allow it.
func (c *Comparison) AppendText(dst []byte) []byte {
	all := c.conns()
	for n, k := range all[:min(len(all), maxTold)] {
		head := fmt.Sprintf("#%d %s", n+1, k.ends(" → "))
		if k.iface != "" {
			head += " on " + k.iface
		}
		dst = append(dst, head...)
		dst = append(dst, strings.Repeat(" ", max(1, 62-len([]rune(head))))...)
		dst = append(dst, "      →       ←\n"...)
		for i, counter := range c.counters {
			dst = fmt.Appendf(dst, "  %-59s%8d%8d\n", counter.Socket, k.views[i][0].Packets, k.views[i][1].Packets)
			dst = appendWrapped(dst, "    ", c.verdict(k, i))
		}
		dst = append(dst, '\n')
	}
	if more := len(all) - maxTold; more > 0 {
		dst = fmt.Appendf(dst, "and %d more, which --json lists\n", more)
	}
	if len(all) == 0 {
		dst = append(dst, "no socket saw a packet\n"...)
	}
	if n := c.counters[ofAll].others; n > 0 {
		dst = appendWrapped(dst, "", fmt.Sprintf("%d packets of ETH_P_ALL belong to no connection here: later fragments, "+
			"malformed ones, or more connections than are kept", n))
	}
	return dst
}

// ends are both endpoints, without ports where the protocol has none.
func (k *conn) ends(between string) string {
	if k.client.Port == 0 && k.server.Port == 0 {
		return k.client.AddrPort().Addr().String() + between + k.server.AddrPort().Addr().String()
	}
	return k.client.String() + between + k.server.String()
}

// AppendJSON appends a line of JSON for each connection.
func (c *Comparison) AppendJSON(dst []byte) ([]byte, error) {
	type view struct {
		Socket        string `json:"socket"`
		ClientPackets int    `json:"client_packets"`
		ServerPackets int    `json:"server_packets"`
		ClientBytes   int    `json:"client_bytes"`
		ServerBytes   int    `json:"server_bytes"`
		Dropped       uint64 `json:"dropped"`
		Verdict       string `json:"verdict"`
	}
	for _, k := range c.conns() {
		line := struct {
			Type      string `json:"type"`
			Protocol  int    `json:"protocol"`
			Client    string `json:"client"`
			Server    string `json:"server"`
			Interface string `json:"interface,omitempty"`
			Views     []view `json:"views"`
		}{Type: "comparison", Protocol: int(c.cfg.Protocol), Interface: k.iface}
		line.Client, line.Server, _ = strings.Cut(k.ends(" "), " ")
		for i, counter := range c.counters {
			v := &k.views[i]
			line.Views = append(line.Views, view{
				counter.Socket.String(), v[0].Packets, v[1].Packets, v[0].Bytes, v[1].Bytes, c.dropped[i], c.verdict(k, i),
			})
		}
		var err error
		if dst, err = appendLine(dst, line); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
