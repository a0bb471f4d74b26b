package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An empty folder is what a variable that is not set makes of -manifests. It would be
// the working directory, where there are no pods, and end all that run.
func TestAFolderOfManifestsIsNeverTheWorkingDirectoryByMistake(t *testing.T) {
	_, err := parse([]string{"-manifests", ""})
	require.ErrorContains(t, err, "-manifests is empty")
	opts, err := parse([]string{"-manifests", "."})
	require.NoError(t, err)
	assert.NotEqual(t, ".", opts.manifests, "good for another working directory")
}
