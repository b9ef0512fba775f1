//go:build !linux

package echo

import "syscall"

func readNow(fd int, b []byte) (n int, err error) {
	err = ignoringEINTR(func() (err error) {
		n, err = syscall.Read(fd, b)
		return err
	})
	return n, err
}

func writeNow(fd int, b []byte) (n int, err error) {
	err = ignoringEINTR(func() (err error) {
		n, err = syscall.Write(fd, b)
		return err
	})
	return n, err
}
