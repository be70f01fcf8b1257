package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// copyExtension is how a server copies a part of a file to another file of its own.
const copyExtension = "copy-data"

// An sftpCopier asks a server to copy: a request that the sftp package does not know. It has a channel of
// its own, with a server at its end that does nothing else, and waits for each answer.
type sftpCopier struct {
	dir     string // that names are in
	session *ssh.Session
	in      io.Writer
	out     io.Reader
}

// The packets of draft-ietf-secsh-filexfer-02, with copy-data, which is in section 7 of
// draft-ietf-secsh-filexfer-extensions-00. An ID tells answers apart where several are awaited.
type (
	sftpInit struct {
		Version uint32 `sshtype:"1"`
	}
	sftpVersion struct {
		Version    uint32 `sshtype:"2"`
		Extensions []byte `ssh:"rest"`
	}
	sftpOpen struct {
		ID         uint32 `sshtype:"3"`
		Name       string
		Flags      uint32
		Attributes uint32 // which ones follow
	}
	sftpStatus struct {
		ID      uint32 `sshtype:"101"`
		Code    uint32
		Message string
		Rest    []byte `ssh:"rest"`
	}
	sftpHandle struct {
		ID     uint32 `sshtype:"102"`
		Handle string
	}
	sftpCopyData struct {
		ID         uint32 `sshtype:"200"`
		Extension  string
		Source     string // handle
		From, Size uint64
		Target     string // handle
		Offset     uint64
	}
)

const (
	sftpProtocol   = 3       // OpenSSH's version
	sftpStatusType = 101     // the type of a status
	sftpRead       = 1       // a flag of open
	sftpWrite      = 2       // another
	sftpAnswer     = 1 << 20 // the longest, in bytes
)

func newSFTPCopier(conn *ssh.Client, dir string) (_ *sftpCopier, err error) {
	session, err := conn.NewSession()
	if err != nil {
		return nil, err
	}
	c := &sftpCopier{dir: dir, session: session}
	if c.in, err = session.StdinPipe(); err == nil {
		c.out, err = session.StdoutPipe()
	}
	if err == nil {
		err = session.RequestSubsystem("sftp")
	}
	if err == nil {
		err = c.ask(sftpInit{sftpProtocol}, &sftpVersion{})
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *sftpCopier) close() error {
	if err := c.session.Close(); err != io.EOF { // else the server was faster
		return err
	}
	return nil
}

// copy copies spans to their places in the file to. It and the files that have them must be there.
func (c *sftpCopier) copy(ctx context.Context, to string, spans []Span) error {
	target, err := c.open(to, sftpWrite)
	if err != nil {
		return err
	}
	sources := make(map[string]string) // handles by path, which end with the session
	for _, s := range spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		source, ok := sources[s.Path]
		if !ok {
			if source, err = c.open(s.Path, sftpRead); err != nil {
				return err
			}
			sources[s.Path] = source
		}
		err := c.ask(sftpCopyData{
			Extension: copyExtension, Source: source, From: uint64(s.From), Size: uint64(s.Size),
			Target: target, Offset: uint64(s.Offset),
		}, nil)
		if err != nil {
			return fmt.Errorf("copy %d bytes at %d of %s: %w", s.Size, s.From, s.Path, err)
		}
	}
	return nil
}

func (c *sftpCopier) open(name string, flags uint32) (handle string, err error) {
	var h sftpHandle
	if err := c.ask(sftpOpen{Name: path.Join(c.dir, name), Flags: flags}, &h); err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	return h.Handle, nil
}

// ask sends a request and reads the answer: of the type of answer, or a status, which is an error where it
// is not success.
func (c *sftpCopier) ask(request, answer any) error {
	body := ssh.Marshal(request)
	if _, err := c.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return err
	}
	var length uint32
	if err := binary.Read(c.out, binary.BigEndian, &length); err != nil {
		return err
	}
	if length < 1 || length > sftpAnswer {
		return fmt.Errorf("sftp: an answer of %d bytes", length)
	}
	packet := make([]byte, length)
	if _, err := io.ReadFull(c.out, packet); err != nil {
		return err
	}
	if packet[0] != sftpStatusType && answer != nil {
		return ssh.Unmarshal(packet, answer)
	}
	var s sftpStatus
	if err := ssh.Unmarshal(packet, &s); err != nil {
		return err
	}
	if s.Code != 0 {
		return fmt.Errorf("%s: %w", s.Message, &sftp.StatusError{Code: s.Code})
	}
	return nil
}
