package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// This file knows bbolt's file format, version 2. It exists because bbolt trusts
// its pages: opened for writing, it walks them in a goroutine of its own, where a
// damaged page is a panic that nobody can recover, or a walk without end. So the
// tree is walked here first, with every number doubted.
//
// A page is a header (id u64, type u16, count u16, overflow u32) and count
// elements, followed by what they point at. All numbers are the machine's own.
const (
	pageHeaderLen  = 16
	elementLen     = 16 // branch: pos, ksize u32, page u64; leaf: flags, pos, ksize, vsize u32
	bucketValueLen = 16 // root page u64, sequence u64

	pageIsBranch = 0x01
	pageIsLeaf   = 0x02
	leafIsBucket = 0x01
)

// tree is the walk over one file.
type tree struct {
	file     io.ReaderAt
	pageSize uint64
	pages    uint64 // all page ids are below
	seen     map[uint64]bool
}

// verify reads every page that tx can reach and returns errCorrupt if bbolt could
// stumble over one. used is the size of the pages that are in use.
func verify(tx *bolt.Tx) (used int64, err error) {
	file, err := os.Open(tx.DB().Path())
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	pageSize := uint64(tx.DB().Info().PageSize)
	t := &tree{
		file:     file,
		pageSize: pageSize,
		pages:    min(uint64(tx.Size()), uint64(info.Size())) / pageSize,
		seen:     map[uint64]bool{0: true, 1: true}, // the two heads
	}
	if err := t.walk(uint64(tx.Cursor().Bucket().Root()), nil, nil); err != nil {
		return 0, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return int64(uint64(len(t.seen)) * pageSize), nil
}

// walk checks the page and all below it. Its keys must lie in [low, high); nil
// is no bound.
func (t *tree) walk(id uint64, low, high []byte) error {
	page, err := t.read(id)
	if err != nil {
		return err
	}
	if pageType(page) == pageIsBranch {
		err = t.walkBranch(page, low, high)
	} else {
		err = t.walkLeaf(page, low, high)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read returns the page with its overflow, each page at most once, which is what
// bounds the whole walk.
func (t *tree) read(id uint64) ([]byte, error) {
	if id >= t.pages {
		return nil, fmt.Errorf("page %d of %d", id, t.pages)
	}
	header := make([]byte, pageHeaderLen)
	if _, err := t.file.ReadAt(header, int64(id*t.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	overflow := uint64(binary.NativeEndian.Uint32(header[12:]))
	switch {
	case binary.NativeEndian.Uint64(header) != id:
		return nil, fmt.Errorf("page %d has another id", id)
	case pageType(header) != pageIsBranch && pageType(header) != pageIsLeaf:
		return nil, fmt.Errorf("page %d has type %#x", id, pageType(header))
	case id+overflow >= t.pages:
		return nil, fmt.Errorf("page %d overflows the file", id)
	}
	for p := id; p <= id+overflow; p++ {
		if t.seen[p] {
			return nil, fmt.Errorf("page %d is used twice", p)
		}
		t.seen[p] = true
	}
	page := make([]byte, (overflow+1)*t.pageSize)
	if _, err := t.file.ReadAt(page, int64(id*t.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return page, nil
}

func (t *tree) walkBranch(page, low, high []byte) error {
	table, err := elements(page)
	if err != nil {
		return err
	}
	if len(table) == 0 {
		return errors.New("branch is empty")
	}
	keys := make([][]byte, len(table))
	for i, e := range table {
		if keys[i], err = cut(page, e.offset, e.u32(0), e.u32(4)); err != nil {
			return err
		}
	}
	if err := checkOrder(keys, low, high); err != nil {
		return err
	}
	for i, e := range table {
		next := high
		if i+1 < len(keys) {
			next = keys[i+1]
		}
		if err := t.walk(binary.NativeEndian.Uint64(e.data[8:]), keys[i], next); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) walkLeaf(page, low, high []byte) error {
	table, err := elements(page)
	if err != nil {
		return err
	}
	keys := make([][]byte, len(table))
	for i, e := range table {
		flags, pos, keyLen, valueLen := e.u32(0), e.u32(4), e.u32(8), e.u32(12)
		if keys[i], err = cut(page, e.offset, pos, keyLen); err != nil {
			return err
		}
		value, err := cut(page, e.offset, pos+keyLen, valueLen)
		if err != nil {
			return err
		}
		if flags&leafIsBucket != 0 {
			if err := t.walkBucket(value); err != nil {
				return fmt.Errorf("bucket %q: %w", keys[i], err)
			}
		}
	}
	return checkOrder(keys, low, high)
}

// walkBucket checks a bucket's own tree, or its only leaf if that is so small
// that it is kept in the value.
func (t *tree) walkBucket(value []byte) error {
	if len(value) < bucketValueLen {
		return fmt.Errorf("value has %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return t.walk(root, nil, nil)
	}
	page := value[bucketValueLen:]
	if len(page) < pageHeaderLen || pageType(page) != pageIsLeaf {
		return errors.New("inline page is not a leaf")
	}
	return t.walkLeaf(page, nil, nil)
}

func pageType(page []byte) uint16 { return binary.NativeEndian.Uint16(page[8:]) }

// element is one entry of a page's table.
type element struct {
	offset uint64 // in the page
	data   []byte
}

func (e element) u32(at int) uint64 { return uint64(binary.NativeEndian.Uint32(e.data[at:])) }

func elements(page []byte) ([]element, error) {
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if pageHeaderLen+count*elementLen > len(page) {
		return nil, fmt.Errorf("%d elements do not fit", count)
	}
	all := make([]element, count)
	for i := range all {
		offset := pageHeaderLen + i*elementLen
		all[i] = element{uint64(offset), page[offset : offset+elementLen]}
	}
	return all, nil
}

// cut returns the n bytes that lie pos behind the element at offset.
func cut(page []byte, offset, pos, n uint64) ([]byte, error) {
	from := offset + pos
	if from+n > uint64(len(page)) {
		return nil, fmt.Errorf("element at %d points outside", offset)
	}
	return page[from : from+n], nil
}

// checkOrder: keys rise strictly within [low, high).
func checkOrder(keys [][]byte, low, high []byte) error {
	for i, key := range keys {
		if i > 0 && bytes.Compare(keys[i-1], key) >= 0 ||
			bytes.Compare(key, low) < 0 ||
			high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("key %d is out of order", i)
		}
	}
	return nil
}
