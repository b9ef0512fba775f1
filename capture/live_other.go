//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"time"

	"finack/decode"
)

// Live captures on Linux only.
type Live struct{}

// OpenLive answers an error: live capture needs Linux.
func OpenLive(cfg *LiveConfig) (*Live, error) {
	c := LiveConfig{}
	if cfg != nil {
		c = *cfg
	}
	if _, err := c.defaults(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("open live %s: live capture needs Linux: %w", c.name(), errors.ErrUnsupported)
}

// ReadFrame implements Source.
func (*Live) ReadFrame(*decode.Frame) error { return errors.ErrUnsupported }

// Buffered reports whether ReadFrame has a frame at hand.
func (*Live) Buffered() bool { return false }

// SetReadDeadline implements Source.
func (*Live) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// Stats implements Source.
func (*Live) Stats() (Stats, error) { return Stats{}, errors.ErrUnsupported }

// Close implements Source.
func (*Live) Close() error { return nil }
