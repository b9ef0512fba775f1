// Package outside is a program of another module, whose tests say what it must
// put on the wire.
package outside

import (
	"io"
	"net"
)

// Echo sends back what each connection sends, to its end, and closes it then.
func Echo(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}
