//go:build !linux

package raw

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
)

var errNeedsLinux = fmt.Errorf("needs Linux: %w", errors.ErrUnsupported)

// Conn is an open socket; on this system there is none.
type Conn struct{}

// Open returns an error: it needs Linux.
func Open(s Socket, _ *Config) (*Conn, error) {
	return nil, &net.OpError{Op: s.String(), Err: errNeedsLinux}
}

// Read returns an error: it needs Linux.
func (c *Conn) Read([]byte) (int, error) { return 0, errNeedsLinux }

// Write returns an error: it needs Linux.
func (c *Conn) Write([]byte) (int, error) { return 0, errNeedsLinux }

// ReadFrom returns an error: it needs Linux.
func (c *Conn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errNeedsLinux }

// WriteTo returns an error: it needs Linux.
func (c *Conn) WriteTo([]byte, net.Addr) (int, error) { return 0, errNeedsLinux }

// Bind returns an error: it needs Linux.
func (c *Conn) Bind(net.Addr) error { return errNeedsLinux }

// Connect returns an error: it needs Linux.
func (c *Conn) Connect(net.Addr) error { return errNeedsLinux }

// Listen returns an error: it needs Linux.
func (c *Conn) Listen(int) error { return errNeedsLinux }

// Accept returns an error: it needs Linux.
func (c *Conn) Accept() (*Conn, error) { return nil, errNeedsLinux }

// Shutdown returns an error: it needs Linux.
func (c *Conn) Shutdown(How) error { return errNeedsLinux }

// Close returns an error: it needs Linux.
func (c *Conn) Close() error { return errNeedsLinux }

// LocalAddr returns nil.
func (c *Conn) LocalAddr() net.Addr { return nil }

// RemoteAddr returns nil.
func (c *Conn) RemoteAddr() net.Addr { return nil }

// SetDeadline returns an error: it needs Linux.
func (c *Conn) SetDeadline(time.Time) error { return errNeedsLinux }

// SetReadDeadline returns an error: it needs Linux.
func (c *Conn) SetReadDeadline(time.Time) error { return errNeedsLinux }

// SetWriteDeadline returns an error: it needs Linux.
func (c *Conn) SetWriteDeadline(time.Time) error { return errNeedsLinux }

// SetBPF returns an error: it needs Linux.
func (c *Conn) SetBPF([]bpf.RawInstruction) error { return errNeedsLinux }

// SyscallConn returns an error: it needs Linux.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return nil, errNeedsLinux }

// IPv4 returns an error: it needs Linux.
func (c *Conn) IPv4() (*ipv4.RawConn, error) { return nil, errNeedsLinux }

// Options returns an error: it needs Linux.
func (c *Conn) Options() ([]Option, error) { return nil, errNeedsLinux }

// Drops returns an error: it needs Linux.
func (c *Conn) Drops() (uint32, error) { return 0, errNeedsLinux }

// CanOpenRaw reports false: it needs Linux.
func CanOpenRaw() bool { return false }

// Refused reports false: nobody was asked.
func Refused(Socket, error) (Refusal, bool) { return Refusal{}, false }
