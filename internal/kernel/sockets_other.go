//go:build !linux

package kernel

import "errors"

// Sockets returns an error: it needs Linux.
func Sockets() ([]Socket, error) { return nil, errors.New("list TCP sockets: needs Linux") }
