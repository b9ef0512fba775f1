//go:build !linux

package kernel

import (
	"errors"
	"syscall"
)

// ListenerOf returns an error: it needs Linux.
func ListenerOf(syscall.RawConn) (Listener, error) {
	return Listener{}, errors.New("a listening socket's queue: needs Linux")
}
