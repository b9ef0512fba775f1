//go:build !linux

package privnet

import "net/netip"

type forwarder struct{}

// NewWire returns an error: it needs Linux.
func NewWire(*WireConfig) (*Wire, error) { return nil, errNeedsLinux }

// Stats returns an error: there is no wire without Linux.
func (w *Wire) Stats() (WireStats, error) { return WireStats{}, errNeedsLinux }

// Lift returns an error: there is no wire without Linux.
func (w *Wire) Lift(int) error { return errNeedsLinux }

// Close does nothing.
func (w *Wire) Close() error { return nil }

// Do returns an error: there is no host without Linux.
func (h *Host) Do(func() error) error { return errNeedsLinux }

// RouteLoopback returns an error: it needs Linux.
func RouteLoopback(netip.Prefix) (remove func() error, err error) { return nil, errNeedsLinux }

// RouteAddress returns an error: it needs Linux.
func RouteAddress(netip.Addr) (remove func() error, err error) { return nil, errNeedsLinux }
