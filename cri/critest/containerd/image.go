//go:build linux

package containerd

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// The images that every daemon has. Nothing serves them: pulling them fails.
const (
	// Busybox has the shell and the tools of busybox in /bin, and no entry point; its command is sh.
	Busybox = "edged.test/busybox:1"
	// BusyboxEdited is Busybox with another ID and, in /etc/image-version, 2 instead of 1.
	BusyboxEdited = "edged.test/busybox:2"
	// Missing is an image that no daemon has.
	Missing = "edged.test/missing:1"
	// Pause is the sandboxes' image.
	Pause = "edged.test/pause:1"
)

// pauseScript ends at SIGTERM, which process 1 of a namespace only gets when it asks for it, and reaps, which it has to
// do for a pod whose containers share its process namespace.
const pauseScript = `trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait $!; done`

// testImage is an image made of busybox and a layer of its own.
type testImage struct {
	name    string
	version string
	command []string
	ballast int64 // bytes of a file that does not compress
}

// preloaded are the images that every daemon has.
func preloaded() []testImage {
	return []testImage{
		{name: Busybox, version: "1", command: []string{"sh"}},
		{name: BusyboxEdited, version: "2", command: []string{"sh"}},
		{name: Pause, version: "pause", command: []string{"/bin/sh", "-c", pauseScript}},
	}
}

func (i testImage) layer() ([]byte, error) {
	files := []file{{name: "etc/image-version", content: []byte(i.version + "\n"), mode: 0o644}}
	if i.ballast > 0 {
		content := make([]byte, i.ballast)
		_, _ = rand.NewChaCha8(sha256.Sum256([]byte(i.name))).Read(content)
		files = append(files, file{name: "ballast", content: content, mode: 0o644})
	}
	return layer(files)
}

// writeImages writes the images as one docker-archive.
func writeImages(archive, busybox string, images ...testImage) error {
	base, err := busyboxLayer(busybox)
	if err != nil {
		return err
	}
	var files []file
	var manifest []manifestEntry
	for _, image := range images {
		version, err := image.layer()
		if err != nil {
			return err
		}
		config, err := json.Marshal(imageConfig(image.command, base, version))
		if err != nil {
			return err
		}
		entry := manifestEntry{Config: digest(config) + ".json", RepoTags: []string{image.name}}
		files = append(files, file{name: entry.Config, content: config, mode: 0o644})
		for _, content := range [][]byte{base, version} {
			name := digest(content) + ".tar"
			entry.Layers = append(entry.Layers, name)
			files = append(files, file{name: name, content: content, mode: 0o644})
		}
		manifest = append(manifest, entry)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := writeTar(out, append(files, file{name: "manifest.json", content: content, mode: 0o644})); err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	return out.Close()
}

// manifestEntry is one image in the manifest.json of a docker-archive.
type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// imageConfig is an OCI image configuration. Its digest is the image's ID.
func imageConfig(command []string, layers ...[]byte) map[string]any {
	var ids []string
	for _, content := range layers {
		ids = append(ids, "sha256:"+digest(content))
	}
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Cmd": command, "Env": []string{"PATH=/bin"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": ids},
	}
}

// busyboxLayer has the binary and a link for each of its tools.
func busyboxLayer(busybox string) ([]byte, error) {
	binary, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	tools, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the tools of %s: %w", busybox, err)
	}
	files := []file{
		{name: "bin/busybox", content: binary, mode: 0o755},
		{name: "etc/passwd", content: []byte("root:x:0:0:root:/root:/bin/sh\n"), mode: 0o644},
		{name: "etc/group", content: []byte("root:x:0:\n"), mode: 0o644},
		{name: "tmp/", mode: 0o1777},
		{name: "root/", mode: 0o700},
	}
	for _, tool := range strings.Fields(string(tools)) {
		if tool != "busybox" {
			files = append(files, file{name: "bin/" + tool, link: "busybox"})
		}
	}
	return layer(files)
}

// file is an entry of a tar archive: a folder when its name ends with a slash, a symbolic link when link is set.
type file struct {
	name    string
	content []byte
	link    string
	mode    int64
}

func layer(files []file) ([]byte, error) {
	var out bytes.Buffer
	err := writeTar(&out, files)
	return out.Bytes(), err
}

// writeTar is deterministic, so that an image has the same ID on every machine with the same busybox. A name that comes
// twice is written once.
func writeTar(out io.Writer, files []file) error {
	archive := tar.NewWriter(out)
	written := map[string]bool{}
	for _, f := range files {
		if written[f.name] {
			continue
		}
		written[f.name] = true
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg, Linkname: f.link}
		switch {
		case f.link != "":
			header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		case strings.HasSuffix(f.name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
