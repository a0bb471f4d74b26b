package imagepull

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/distribution/reference"
)

// records remember, in a file for each image that was pulled, who has proven to the
// registry that he may have it (KEP-2535). A file for each name that is being pulled
// is there before the pull and goes when its record is written: a crash in between
// leaves it, and the image is asked for again. Without a folder nothing is
// remembered.
type records struct {
	folder string

	mu      sync.Mutex         // guards the fields below, and the removal of notes
	intents map[string]*intent // by full name
	writing sync.Mutex         // held while a record is read and written
}

// intent is a name that is being pulled.
type intent struct {
	pulls int
	doubts
}

// doubts are whether pulls of a name that are over have left an image without a record.
type doubts struct {
	// unsure: nobody waited for the end of one, or it could not be recorded.
	unsure bool
	// died: an earlier agent, or the runtime, died in one. It brings nothing any more.
	died bool
}

// record is what is known of an image.
type record struct {
	// Image is its ID.
	Image string `json:"image"`
	// Repositories it was pulled from, by name without tag and digest.
	Repositories map[string]proof `json:"repositories"`
}

// proof is who may have the images of a repository.
type proof struct {
	// Anyone on the node: the pull was anonymous, or with the node's own credentials.
	Anyone bool `json:"anyone,omitempty"`
	// Credentials of pods, as their hashes.
	Credentials []string `json:"credentials,omitempty"`
}

// hash of the credentials. It is of no use to who does not know them.
func (c credentials) hash() string {
	return hashOf(fmt.Sprintf("%q", []string{c.username, c.password, c.identityToken, c.registryToken}))
}

func hashOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func (r *records) recordFile(id string) string {
	return filepath.Join(r.folder, "pulled-"+hashOf(fullName(id)))
}

func (r *records) intentFile(name string) string {
	return filepath.Join(r.folder, "pulling-"+hashOf(fullName(name)))
}

// repository is the name of the image without tag and digest.
func repository(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return named.Name()
}

// begin notes that the image with this full name is about to be pulled.
func (r *records) begin(name string) error {
	if r.folder == "" {
		return nil
	}
	_, err := os.Stat(r.intentFile(name))
	r.mu.Lock()
	if r.intents[name] == nil {
		r.intents[name] = &intent{doubts: doubts{died: err == nil}}
	}
	r.intents[name].pulls++
	r.mu.Unlock()
	if err := writeDurably(r.intentFile(name), []byte(name)); err != nil {
		r.leave(name, doubts{})
		return fmt.Errorf("note that the image is to be pulled: %w", err)
	}
	return nil
}

// leave ends what begin began, with the doubts that the pull has left, and tells whether
// nobody else pulls the image and what all pulls of it have left.
func (r *records) leave(name string, left doubts) (last bool, all doubts) {
	if r.folder == "" {
		return false, left
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.intents[name]
	current.unsure = current.unsure || left.unsure
	current.died = current.died || left.died
	current.pulls--
	if current.pulls > 0 {
		return false, current.doubts
	}
	delete(r.intents, name)
	return true, current.doubts
}

// settled removes the note of a pull that has ended, unless somebody pulls the image
// again.
func (r *records) settled(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intents[name] != nil {
		return nil
	}
	return remove(r.intentFile(name))
}

// add notes that the image was pulled by the name with the credentials.
func (r *records) add(id, name string, by credentials) error {
	if r.folder == "" {
		return nil
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	known, err := r.read(id)
	if err != nil || known == nil {
		known = &record{} // what cannot be read proves nothing
	}
	known.Image = id
	if known.Repositories == nil {
		known.Repositories = map[string]proof{}
	}
	repo := repository(name)
	before := known.Repositories[repo]
	after := before
	switch {
	case !by.ofPod:
		after.Anyone = true
	case !slices.Contains(before.Credentials, by.hash()):
		after.Credentials = append(slices.Clone(before.Credentials), by.hash())
	}
	if err == nil && after.Anyone == before.Anyone && len(after.Credentials) == len(before.Credentials) {
		return nil
	}
	known.Repositories[repo] = after
	content, err := json.Marshal(known)
	if err != nil {
		return fmt.Errorf("write record of image: %w", err)
	}
	return writeDurably(r.recordFile(id), content)
}

// proven is what is known of who may have the image by the name. preloaded: this
// agent has not pulled it, and does not know that it began to.
func (r *records) proven(id, name string) (known proof, preloaded bool, err error) {
	found, err := r.read(id)
	if err != nil || found != nil {
		if found != nil {
			known = found.Repositories[repository(name)]
		}
		return known, false, err
	}
	_, err = os.Stat(r.intentFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return proof{}, true, nil
	}
	return proof{}, false, err
}

// read returns the record of the image, nil if there is none.
func (r *records) read(id string) (*record, error) {
	content, err := os.ReadFile(r.recordFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found record
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("read record of image %q: %w", id, err)
	}
	return &found, nil
}

// has reports whether anything is remembered of the image with these names.
func (r *records) has(names []string) bool {
	return r.folder != "" && slices.ContainsFunc(names, func(name string) bool {
		_, pulled := os.Stat(r.recordFile(name))
		_, pulling := os.Stat(r.intentFile(name))
		return pulled == nil || pulling == nil
	})
}

// drop forgets the image with these names.
func (r *records) drop(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, remove(r.recordFile(name)), remove(r.intentFile(name)))
	}
	return errors.Join(errs...)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeDurably replaces the file at once, so that it is there after a power cut.
func writeDurably(path string, content []byte) error {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncFolder(folder)
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
