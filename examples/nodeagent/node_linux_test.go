package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPageSizesAreSpelledAsCgroupsSpellThem(t *testing.T) {
	for kilobytes, want := range map[int]string{64: "64KB", 2048: "2MB", 32768: "32MB", 1 << 20: "1GB", 16 << 20: "16GB"} {
		assert.Equal(t, want, pageSize(kilobytes))
	}
}
