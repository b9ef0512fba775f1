//go:build !unix

package capture

import "os"

// newWaiter returns nothing: here a read that waits ends only with input.
func newWaiter(*os.File) (wait func(), cancel func() error, err error) { return nil, nil, nil }
