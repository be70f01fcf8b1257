package apttest

import (
	"bytes"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Key signs suites.
type Key struct {
	entity *openpgp.Entity
	config *packet.Config
}

// NewKey returns a new Ed25519 key that was made, and signs, at the given time. It expires after
// lifetime, to the second, or never if that is 0.
func NewKey(name string, made time.Time, lifetime time.Duration) (*Key, error) {
	config := &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		KeyLifetimeSecs: uint32(lifetime / time.Second),
		Time:            func() time.Time { return made },
	}
	e, err := openpgp.NewEntity(name, "", "", config)
	return &Key{e, config}, err
}

// Public returns the armored public key.
func (k *Key) Public() (string, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		return "", err
	}
	if err := k.entity.Serialize(w); err != nil {
		return "", err
	}
	err = w.Close()
	return b.String() + "\n", err
}

func (k *Key) clearsign(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, k.config)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	b.WriteByte('\n')
	return b.Bytes(), err
}

func (k *Key) detach(text []byte) ([]byte, error) {
	var b bytes.Buffer
	err := openpgp.ArmoredDetachSign(&b, k.entity, bytes.NewReader(text), k.config)
	return b.Bytes(), err
}
