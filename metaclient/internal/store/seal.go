package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// minKeyLen is what is expected of a key: as much as AES-256 takes.
const minKeyLen = 32

// errOtherKey says that a value was sealed with a key that is not at hand.
var errOtherKey = errors.New("value is sealed with another key")

// sealMark begins a sealed value. JSON cannot begin so.
var sealMark = []byte("\x00sealed1")

// keyIDLen bytes behind the mark tell which key it was.
const keyIDLen = 8

// seal is AES-256-GCM with a random nonce. A value is bound to its bucket and key,
// so that one secret cannot be put in another's place.
type seal struct {
	aead  cipher.AEAD
	keyID []byte
}

// newSeal returns nil when there is no key.
func newSeal(material []byte) (*seal, error) {
	if material == nil {
		return nil, nil
	}
	if len(material) < minKeyLen {
		return nil, fmt.Errorf("key has %d bytes, at least %d are needed", len(material), minKeyLen)
	}
	key, err := hkdf.Key(sha256.New, material, nil, "edged store: key", 32)
	if err != nil {
		return nil, err
	}
	id, err := hkdf.Key(sha256.New, material, nil, "edged store: key id", keyIDLen)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &seal{aead: aead, keyID: id}, nil
}

func isSealed(value []byte) bool { return bytes.HasPrefix(value, sealMark) }

func (s *seal) close(bucket, key string, value []byte) []byte {
	head := bytes.Join([][]byte{sealMark, s.keyID}, nil)
	return s.aead.Seal(head, nil, value, place(bucket, key))
}

// open works on a nil seal, too: what is sealed stays closed without a key.
func (s *seal) open(bucket, key string, sealed []byte) ([]byte, error) {
	rest := sealed[len(sealMark):]
	if len(rest) < keyIDLen {
		return nil, errors.New("sealed value is cut off")
	}
	if s == nil || !bytes.Equal(rest[:keyIDLen], s.keyID) {
		return nil, errOtherKey
	}
	value, err := s.aead.Open(nil, nil, rest[keyIDLen:], place(bucket, key))
	if err != nil {
		return nil, errors.New("sealed value is not what was sealed")
	}
	return value, nil
}

func place(bucket, key string) []byte { return []byte(bucket + "\x00" + key) }
