package capture

import (
	"errors"

	"finack/internal/pcapfilter"
)

// LiveConfig says what to capture; nil and zero values mean the defaults.
type LiveConfig struct {
	// Interface is the interface's name. Its frames come with an Ethernet
	// header, as raw IP where it carries nothing else (tun, ppp, sit), else
	// cooked (LINUX_SLL2). "" and "any" are all interfaces, always cooked.
	Interface string
	// Filter is an expression in tcpdump's language, pcap-filter(7).
	Filter string
	// Snaplen is how many bytes of a frame are kept at most. Default 262144.
	Snaplen int
	// Buffer is the size of the ring in bytes, rounded to whole blocks; less
	// is taken where the kernel has not so much. Default 32 MiB: half a second
	// of a stalled reader at 0.6 million small frames a second. Frames that
	// wait for a slow reader take as much memory again, at most.
	Buffer int
	// Promiscuous has the interface receive frames to other hosts too. It means nothing on "any".
	Promiscuous bool
}

const (
	defaultSnaplen = 262144
	defaultBuffer  = 32 << 20
)

// ErrInterfaceDown is returned by Live.ReadFrame, once, when the interface goes
// down; ReadFrame may be called again and waits until it is up. A removed
// interface does not come back: nothing more is captured.
var ErrInterfaceDown = errors.New("interface is down")

// ErrNoInterface is returned by OpenLive for an interface that does not exist.
var ErrNoInterface = errors.New("no such interface")

// any reports whether all interfaces are meant.
func (c *LiveConfig) any() bool { return c.Interface == "" || c.Interface == "any" }

// name is the interface as errors show it.
func (c *LiveConfig) name() string {
	if c.any() {
		return "any"
	}
	return c.Interface
}

// defaults fills in what is not set, and checks the filter.
func (c *LiveConfig) defaults() (*pcapfilter.Filter, error) {
	if c.Snaplen <= 0 {
		c.Snaplen = defaultSnaplen
	}
	if c.Buffer <= 0 {
		c.Buffer = defaultBuffer
	}
	return pcapfilter.Parse(c.Filter)
}
