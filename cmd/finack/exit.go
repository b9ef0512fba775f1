package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"finack/capture"
	"finack/internal/pcapfilter"
	"finack/internal/pipeline"
	"finack/internal/privnet"
)

// The exit statuses.
const (
	exitOK      = 0 // also Ctrl-C, and a closed stdout pipe
	exitCheck   = 1 // a check failed
	exitUsage   = 2 // wrong usage, missing file or interface
	exitDenied  = 3 // not permitted
	exitDamaged = 4 // the input is damaged or no capture
	exitLost    = 5 // packets were lost, with --strict
	exitOther   = 6 // anything else
)

// statusError is an error that knows its exit status; without an error it is silent.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// report prints an error in one line and returns the exit status for it.
func report(w io.Writer, err error) int {
	status := exitStatus(err)
	var se *statusError
	if status == exitOK || errors.As(err, &se) && se.err == nil {
		return status
	}
	text := strings.ReplaceAll(err.Error(), "\n", ": ")
	fmt.Fprintf(w, "finack: %s\n", text)
	return status
}

func exitStatus(err error) int {
	var (
		se     *statusError
		syntax *pcapfilter.SyntaxError
		priv   *privnet.Error
	)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, syscall.EPIPE):
		return exitOK
	case errors.As(err, &se):
		return se.status
	case errors.Is(err, pipeline.ErrOutput):
		return exitOther
	case errors.Is(err, capture.ErrFormat):
		return exitDamaged
	case errors.As(err, &priv), errors.Is(err, os.ErrPermission):
		return exitDenied
	case errors.As(err, &syntax), errors.Is(err, pcapfilter.ErrRejectsAll), errors.Is(err, fs.ErrNotExist), errors.Is(err, capture.ErrNoInterface):
		return exitUsage
	default:
		return exitOther
	}
}
