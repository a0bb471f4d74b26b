package imagepull

import (
	_ "crypto/sha256" // digests in names are checked with it
	_ "crypto/sha512"
	"fmt"

	"github.com/distribution/reference"
)

// withDefaultTag appends ":latest" to a name with neither tag nor digest. The
// name is otherwise left as the user wrote it: where short names lead to is
// the runtime's business.
func withDefaultTag(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	if reference.IsNameOnly(named) {
		return image + ":latest", nil
	}
	return image, nil
}
