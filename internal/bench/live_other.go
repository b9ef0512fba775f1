//go:build !linux

package bench

import (
	"context"
	"errors"
)

// Live needs Linux.
func Live(context.Context, *Watcher, string, string, *LiveConfig) LiveResult {
	return LiveResult{Err: errors.ErrUnsupported}
}

// Echo needs Linux.
func Echo(context.Context, *Watcher, int) EchoResult { return EchoResult{Err: errors.ErrUnsupported} }
