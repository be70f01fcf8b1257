package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted; what ran was stopped and cleaned up")

// isInterrupt reports whether err is what a signal made of what ran: the context's error, or, of an
// http request, its cause.
func isInterrupt(err error) bool {
	return errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled)
}

// interruptible returns a context that the first SIGINT or SIGTERM ends; the second one ends the
// program at once, as it would any other. stop must be called.
func interruptible(parent context.Context, w io.Writer) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-signals:
			signal.Stop(signals)
			fmt.Fprintln(w, "rpcbuild: interrupted: stopping what runs (once more ends it at once)")
			cancel(errInterrupted)
		case <-ctx.Done():
			signal.Stop(signals)
		}
	})
	return ctx, func() {
		cancel(nil)
		watcher.Wait()
	}
}
