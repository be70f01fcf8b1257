package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store/signature"
)

func newKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make or show the key that signs what is built and pushed here",
		Long: `key makes and shows the ed25519 key that signs what this machine says of its builds, and of what it
publishes. Whoever lists its public part under trust in the configuration believes that.

apt knows nothing of it: apt repositories are signed by an OpenPGP key, which --gpg-private names.`,
	}
	cmd.AddCommand(newKeyVerb(a, "generate", "Make a key", (*keyVerb).generate), newKeyVerb(a, "show", "Print a key's public part", (*keyVerb).show))
	return cmd
}

// keyVerb is a verb about the key in file.
type keyVerb struct {
	*app
	file   string
	public string // file that gets the public part
	json   bool
}

func newKeyVerb(a *app, name, short string, run func(*keyVerb) error) *cobra.Command {
	v := keyVerb{app: a}
	cmd := &cobra.Command{
		Use:   name + " [FILE]",
		Short: short,
		Long: short + `. FILE is the one that --key, RPCBUILD_KEY or key in the configuration name, or else signing.pem in the
user's configuration folder.

The public part goes to standard output, as others list it under trust in their configuration. FILE is PKCS #8 in
PEM, and --public writes PKIX in PEM: what openssl reads and writes.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			v.file = a.signingFile()
			if len(args) > 0 {
				v.file = args[0]
			}
			return run(&v)
		},
	}
	cmd.Flags().StringVar(&v.public, "public", "", "`file` that gets the public part")
	jsonFlag(cmd.Flags(), &v.json)
	return cmd
}

func (v *keyVerb) generate() error {
	if v.public != "" { // that is better found out before there is a key
		if _, err := os.Lstat(v.public); err == nil {
			return fmt.Errorf("generate key: %s exists already", v.public)
		}
	}
	if v.file == filepath.Join(v.configDir(), filepath.Base(v.file)) {
		if err := os.MkdirAll(v.configDir(), 0o700); err != nil {
			return fmt.Errorf("generate key: %w", err)
		}
	}
	key, err := signature.Generate(v.file)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: it stays as it is (key show prints it)", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(v.err, "made %s: keep it to yourself, and keep a copy\n", v.file)
	return v.print(key)
}

func (v *keyVerb) show() error {
	key, err := signature.Load(v.file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (key generate makes it)", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(v.err, "the key in %s\n", v.file)
	return v.print(key)
}

// jsonKey is the only line of key generate and of key show.
type jsonKey struct {
	Event  string `json:"event"`
	Public string `json:"public"`
	File   string `json:"file"`
}

func (v *keyVerb) print(key *signature.Key) error {
	public := key.Public()
	if err := v.writePublic(public); err != nil {
		return err
	}
	if v.json {
		j := newJSONLines(v.out)
		j.write(jsonKey{"key", public.String(), v.file})
		return j.err
	}
	if _, err := fmt.Fprintln(v.out, public); err != nil {
		return err
	}
	fmt.Fprintf(v.err, "others trust it with this in their configuration:\ntrust: [\"%s\"]\n", public)
	return nil
}

// writePublic makes the file of --public. One that exists may be the key itself: it stays.
func (v *keyVerb) writePublic(public signature.PublicKey) error {
	if v.public == "" {
		return nil
	}
	text, err := public.PEM()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(v.public, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	return nil
}
