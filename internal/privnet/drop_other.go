//go:build !linux

package privnet

import "errors"

// ErrCgo is never returned here.
var ErrCgo = errors.New("built with cgo")

// DropPrivileges answers an error: it needs Linux.
func DropPrivileges() error { return errNeedsLinux }
