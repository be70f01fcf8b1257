package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

func TestExitCode(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, 0},
		{"any", failed, 1},
		{"usage", usageErrorf("--jobs: %w", failed), 2},
		{"definition", fmt.Errorf("load: %w", &spec.FileError{File: "a.yaml", Msg: "bad"}), 2},
		{"missing", missingError{failed}, 3},
		{"wrong", wrongError{failed}, 4},
		{"digest", fmt.Errorf("fetch x: %w", &store.DigestError{What: "x"}), 4},
		{"one of several", errors.Join(failed, &store.ConflictError{}), 4},
		{"what rpc-repo has is wrong", reportedError{&cache.WrongError{Err: failed}}, 4},
		{"signature", fmt.Errorf("lock: %w", &apt.SignatureError{Err: failed}), 4},
		{"untrusted", fmt.Errorf("ask rpc-repo: %w", &signature.UntrustedError{Want: 1}), 4},
		{"unreachable", fmt.Errorf("verify: %w", fmt.Errorf("%w: %w", cache.ErrUnreachable, failed)), 5},
		{"interrupted", errInterrupted, 130},
		{"cancelled", errors.Join(failed, context.Canceled), 130},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", test.name, got, test.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("one"), "rpcbuild: one\n"},
		{errors.Join(errors.New("one"), errors.New("two")), "rpcbuild: one\n  two\n"},
		{reportedError{errors.New("told")}, ""},
	} {
		var b strings.Builder
		printError(&b, test.err)
		if b.String() != test.want {
			t.Errorf("printError(%v) = %q, want %q", test.err, b.String(), test.want)
		}
	}
}

func TestUnreported(t *testing.T) {
	told, other := errors.New("told"), errors.New("other")
	for _, test := range []struct{ err, want error }{
		{nil, nil},
		{told, nil},
		{other, other},
		{errors.Join(told, errors.Join(told)), nil},
		{errors.Join(told, other), other},
	} {
		got := unreported(test.err, []error{told})
		if (got == nil) != (test.want == nil) || got != nil && got.Error() != test.want.Error() {
			t.Errorf("unreported(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}
