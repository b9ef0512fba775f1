//go:build !linux

package privnet

import "os"

var errNeedsLinux = &Error{Reason: "needs Linux"}

// Setup returns an error: there is no private network without Linux.
func Setup() error { return errNeedsLinux }

// Veth returns an error: it needs Linux.
func Veth(_, _ string) error { return errNeedsLinux }

func run(*os.File) (int, error) { return 0, errNeedsLinux }
