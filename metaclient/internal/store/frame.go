package store

import (
	"fmt"
	"hash/crc32"
	"strconv"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumLen is eight hexadecimal digits and a space.
const checksumLen = 9

// encode renders a value as it lies in the file: behind a checksum, and sealed if
// its bucket is secret.
func (s *File) encode(bucket, key string, value []byte) []byte {
	if s.seal != nil && s.secret[bucket] {
		value = s.seal.close(bucket, key, value)
	}
	return addChecksum(value)
}

func (s *File) decode(bucket, key string, raw []byte) ([]byte, error) {
	value, err := checkChecksum(raw)
	if err != nil || !isSealed(value) {
		return value, err
	}
	return s.seal.open(bucket, key, value)
}

func addChecksum(value []byte) []byte {
	raw := fmt.Appendf(make([]byte, 0, checksumLen+len(value)), "%08x ", crc32.Checksum(value, castagnoli))
	return append(raw, value...)
}

func checkChecksum(raw []byte) ([]byte, error) {
	if len(raw) <= checksumLen || raw[checksumLen-1] != ' ' {
		return nil, fmt.Errorf("value of %d bytes has no checksum", len(raw))
	}
	want, err := strconv.ParseUint(string(raw[:checksumLen-1]), 16, 32)
	if err != nil {
		return nil, fmt.Errorf("read checksum: %w", err)
	}
	value := raw[checksumLen:]
	if got := crc32.Checksum(value, castagnoli); got != uint32(want) {
		return nil, fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	return value, nil
}
