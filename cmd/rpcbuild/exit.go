package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// A usageError is a command line, a variable or a configuration that means nothing.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// A missingError is verify's answer that something would be built.
type missingError struct{ error }

// A wrongError is verify's answer that something is not what it should be.
type wrongError struct{ error }

// A reportedError was told to the user already, where and when it happened.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// exitCode returns the status of the program that ends with err.
func exitCode(err error) int {
	var (
		usage     usageError
		file      *spec.FileError
		missing   missingError
		wrong     wrongError
		digest    *store.DigestError
		conflict  *store.ConflictError
		published *cache.WrongError
		archive   *apt.SignatureError
		untrusted *signature.UntrustedError
	)
	switch {
	case err == nil:
		return 0
	case isInterrupt(err):
		return 130
	case errors.As(err, &usage), errors.As(err, &file):
		return 2
	case errors.As(err, &wrong), errors.As(err, &digest), errors.As(err, &conflict), errors.As(err, &published),
		errors.As(err, &archive), errors.As(err, &untrusted):
		return 4
	case errors.Is(err, cache.ErrUnreachable):
		return 5
	case errors.As(err, &missing):
		return 3
	default:
		return 1
	}
}

// printError tells what ended the program, unless that was told before.
func printError(w io.Writer, err error) {
	var reported reportedError
	if err == nil || errors.As(err, &reported) {
		return
	}
	fmt.Fprintf(w, "rpcbuild: %s\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n  "))
}

// firstError returns the first error that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
