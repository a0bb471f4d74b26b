package podspec_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/edged-project/edged/podmanager/podspec"
)

func TestPageSizesAreSpelledAsCgroupsSpellThem(t *testing.T) {
	for kilobytes, want := range map[int64]string{64: "64KB", 2048: "2MB", 32768: "32MB", 1 << 20: "1GB", 16 << 20: "16GB"} {
		assert.Equal(t, want, podspec.PageSize(kilobytes<<10))
	}
}
