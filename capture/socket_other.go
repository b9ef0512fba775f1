//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"time"

	"finack/decode"
	"finack/raw"
)

// Socket captures on Linux only.
type Socket struct{}

// OpenSocket answers an error: live capture needs Linux.
func OpenSocket(cfg *SocketConfig) (*Socket, error) {
	c := SocketConfig{}
	if cfg != nil {
		c = *cfg
	}
	if _, err := c.defaults(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("capture from %v: live capture needs Linux: %w", c.Sockets[0], errors.ErrUnsupported)
}

// ReadFrame implements Source.
func (*Socket) ReadFrame(*decode.Frame) error { return errors.ErrUnsupported }

// Buffered reports whether ReadFrame has a frame at hand.
func (*Socket) Buffered() bool { return false }

// SetReadDeadline implements Source.
func (*Socket) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// Stats implements Source.
func (*Socket) Stats() (Stats, error) { return Stats{}, errors.ErrUnsupported }

// Close implements Source.
func (*Socket) Close() error { return nil }

// Sockets returns none.
func (*Socket) Sockets() []raw.Socket { return nil }
