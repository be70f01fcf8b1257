package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// A system is a root file system that is being made.
type system struct {
	*sandbox.Sandbox
	build *derive.Build
	time  int64
}

// openSystem returns the system on top of lowers, or an empty one.
func openSystem(b *derive.Build, time int64, lowers ...string) (*system, error) {
	scratch := filepath.Join(b.Scratch, "system")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, fmt.Errorf("open system: %w", err)
	}
	s, err := sandbox.Open(scratch, lowers...)
	if err != nil {
		return nil, err
	}
	return &system{Sandbox: s, build: b, time: time}, nil
}

// packagesDir is where the .debs are seen inside. Cleaning empties /run.
const packagesDir = "/run/packages"

// run runs a command inside, with the release's time as the time of what it makes.
func (s *system) run(ctx context.Context, c sandbox.Command) error {
	c.Env = append(c.Env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", s.time))
	if c.Log == nil {
		c.Log = s.build.Log
	}
	return s.Run(ctx, c)
}

// bootstrap makes a system of nothing but packages. dpkg then unpacks all of them again, over what
// is there, in whatever order: every program that a preinst may call exists already, so that
// Pre-Depends need no care.
func (s *system) bootstrap(ctx context.Context, p *packages) error {
	if err := p.extract(ctx, s.Root, s.build.Scratch); err != nil {
		return err
	}
	return s.dpkg(ctx, p, "dpkg $options --force-depends --unpack "+packagesDir+"/*.deb", "dpkg $options --configure -a")
}

// add installs packages into a system that works.
func (s *system) add(ctx context.Context, p *packages) error {
	if len(p.list) == 0 {
		return nil
	}
	waves, err := p.waves(ctx)
	if err != nil {
		return err
	}
	var steps []string
	for _, w := range waves {
		files := make([]string, 0, len(w))
		for _, i := range w {
			files = append(files, "'"+packagesDir+"/"+i.File+"'")
		}
		// A package that depends on one of a later wave stays unconfigured until then.
		steps = append(steps, "dpkg $options --unpack "+strings.Join(files, " "), "dpkg $options --configure -a || true")
	}
	return s.dpkg(ctx, p, append(steps, "dpkg $options --configure -a")...)
}

// dpkgOptions: nothing here is ever used after a crash, so dpkg need not sync; and a configuration
// file that was changed stays as it is, without a question.
const dpkgOptions = "--force-unsafe-io --force-confdef --force-confold"

// dpkg runs the steps, commands of a shell, and checks that no package is left half installed.
func (s *system) dpkg(ctx context.Context, p *packages, steps ...string) error {
	script := "set -e\noptions='" + dpkgOptions + "'\n" + strings.Join(steps, "\n") + `
problems=$(dpkg --audit)
test -z "$problems" || { echo "$problems"; exit 1; }
`
	err := s.run(ctx, sandbox.Command{
		Args:  []string{"/bin/sh", "-c", script},
		Binds: []sandbox.Bind{{Source: p.dir, Target: packagesDir}},
	})
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("install %d packages: dpkg ended with status %d; the log has its messages", len(p.list), exit.Status)
	}
	return err
}

// policy answers every package that asks whether it may start its service: no. See invoke-rc.d(8).
const policy = "usr/sbin/policy-rc.d"

// withoutServices calls f while no package may start a service.
func (s *system) withoutServices(f func() error) error {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return fmt.Errorf("forbid services: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(policy), 0o755); err != nil {
		return fmt.Errorf("forbid services: %w", err)
	}
	if err := root.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return fmt.Errorf("forbid services: %w", err)
	}
	return errors.Join(f(), root.Remove(policy))
}

// installed asks dpkg which packages there are.
func (s *system) installed(ctx context.Context) ([]installed, error) {
	var out bytes.Buffer
	err := s.run(ctx, sandbox.Command{
		Args: []string{"dpkg-query", "--show", "--showformat", `${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n`},
		Log:  &out,
	})
	if err != nil {
		return nil, err
	}
	var list []installed
	for line := range strings.Lines(out.String()) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("list packages: unexpected line %q", line)
		}
		if f[3] == "installed" {
			list = append(list, installed{Name: f[0], Version: f[1], Arch: f[2]})
		}
	}
	return list, nil
}
