package critest

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultImageSize is the size of images that do not say.
const defaultImageSize = 10 << 20

// Image is an image on the node.
type Image struct {
	// Name is a name as pods use it: "nginx", "registry.local:5000/app:v1",
	// "app@sha256:…".
	Name string
	// ID is the image's. Default: one made from the name. Images of the same
	// ID are one image with several names.
	ID string
	// Size in bytes. Default 10 MiB.
	Size uint64
	// User is the image's user, "1000", "1000:1000" or "nobody".
	User string
	// Pinned images are not to be collected by the agent.
	Pinned bool
}

// RemoteImage is what PullImage finds in the registry. A pull that fails, is
// slow at times or hangs is a Fault.
type RemoteImage struct {
	Image
	// PullTime is how long each pull takes.
	PullTime time.Duration
	// Username and Password are asked for when not empty.
	Username, Password string
}

// image is one image of the store.
type image struct {
	id      string
	tags    []string
	digests []string
	size    uint64
	user    string
	pinned  bool
}

// imageStore is what is on the node and what is in the registry. Runtime.mu
// guards it.
type imageStore struct {
	byID     map[string]*image
	byName   map[string]string // tags and digests, to IDs
	registry map[string]RemoteImage
}

func newImageStore(local []Image, remote []RemoteImage) imageStore {
	store := imageStore{registry: map[string]RemoteImage{}}
	store.reset(local)
	for _, image := range remote {
		store.registry[normalize(image.Name)] = image
	}
	return store
}

// reset leaves only the given images on the node.
func (s *imageStore) reset(local []Image) {
	s.byID, s.byName = map[string]*image{}, map[string]string{}
	for _, image := range local {
		s.add(image, false)
	}
}

// AddImage puts an image on the node without a pull, as `ctr images import`
// does. A name that another image has moves to this one.
func (r *Runtime) AddImage(image Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images.add(image, false)
}

// Publish puts an image into the registry, or replaces the one of that name:
// give it another ID and the tag has moved.
func (r *Runtime) Publish(image RemoteImage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images.registry[normalize(image.Name)] = image
}

// add puts an image on the node and returns its ID. Only one that was pulled
// has a digest.
func (s *imageStore) add(from Image, pulled bool) string {
	name := normalize(from.Name)
	id := from.ID
	if id == "" {
		id = "sha256:" + hash("config of "+name)
	}
	known := s.byID[id]
	if known == nil {
		known = &image{id: id}
		s.byID[id] = known
	}
	known.size, known.user, known.pinned = from.Size, from.User, known.pinned || from.Pinned
	if known.size == 0 {
		known.size = defaultImageSize
	}
	tag, digest := references(name, id)
	s.name(tag, known, &known.tags)
	if pulled || tag == "" {
		s.name(digest, known, &known.digests)
	}
	return id
}

// name gives an image one more name, which is taken from who had it.
func (s *imageStore) name(name string, image *image, names *[]string) {
	if name == "" || s.byName[name] == image.id {
		return
	}
	if holder := s.byID[s.byName[name]]; holder != nil {
		isName := func(other string) bool { return other == name }
		holder.tags = slices.DeleteFunc(holder.tags, isName)
		holder.digests = slices.DeleteFunc(holder.digests, isName)
	}
	s.byName[name] = image.id
	*names = append(*names, name)
	slices.Sort(*names)
}

// references returns the names that a pull of name leaves behind: a tag if it
// was one, and the digest.
func references(name, id string) (tag, digest string) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", ""
	}
	if _, ok := named.(reference.Canonical); ok {
		return "", name
	}
	return name, named.Name() + "@sha256:" + hash("manifest of "+id)
}

// normalize is the full form of an image name: "nginx" is
// "docker.io/library/nginx:latest". What is no name stays as it is.
func normalize(name string) string {
	full, err := parse(name)
	if err != nil {
		return name
	}
	return full
}

func parse(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	if digested, ok := named.(reference.Digested); ok {
		// A digest outdoes a tag.
		canonical, err := reference.WithDigest(reference.TrimNamed(named), digested.Digest())
		if err != nil {
			return "", err
		}
		return canonical.String(), nil
	}
	return reference.TagNameOnly(named).String(), nil
}

// find returns the image of a name, an ID or the start of one, with or without
// the algorithm. The error is NotFound, or Unknown for an empty name.
func (s *imageStore) find(name string) (*image, error) {
	if found, ok := s.byID[name]; ok {
		return found, nil
	}
	if id, ok := s.byName[normalize(name)]; ok {
		return s.byID[id], nil
	}
	digits := strings.TrimPrefix(name, "sha256:")
	if digits == "" {
		return find(s.byID, "")
	}
	return find(s.byID, "sha256:"+digits)
}

func (s *imageStore) remove(image *image) {
	for _, name := range slices.Concat(image.tags, image.digests) {
		delete(s.byName, name)
	}
	delete(s.byID, image.id)
}

func (i *image) message() *runtimeapi.Image {
	message := &runtimeapi.Image{
		Id:          i.id,
		RepoTags:    slices.Clone(i.tags),
		RepoDigests: slices.Clone(i.digests),
		Size:        i.size,
		Pinned:      i.pinned,
	}
	user, _, _ := strings.Cut(i.user, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		message.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		message.Username = user
	}
	return message
}

func (s *service) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	image, err := s.r.images.find(req.GetImage().GetImage())
	if isNotFound(err) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, wrap(err, "can not resolve %q locally", req.GetImage().GetImage())
	}
	return &runtimeapi.ImageStatusResponse{Image: image.message()}, nil
}

func (s *service) RemoveImage(_ context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	image, err := s.r.images.find(req.GetImage().GetImage())
	switch {
	case err == nil:
		s.r.images.remove(image)
	case !isNotFound(err):
		return nil, wrap(err, "can not resolve %q locally", req.GetImage().GetImage())
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (s *service) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	name, err := parse(req.GetImage().GetImage())
	if err != nil {
		return nil, failed("failed to parse image reference %q: %v", req.GetImage().GetImage(), err)
	}
	remote, ok := s.r.remoteImage(name)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "failed to pull and unpack image %q: failed to resolve reference %q: %s: not found", name, name, name)
	}
	if err := remote.authorize(req.GetAuth()); err != nil {
		return nil, failed("failed to pull and unpack image %q: failed to resolve reference %q: %v", name, name, err)
	}
	if err := wait(ctx, remote.PullTime); err != nil {
		return nil, err
	}
	remote.Name = name
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return &runtimeapi.PullImageResponse{ImageRef: s.r.images.add(remote.Image, true)}, nil
}

func (r *Runtime) remoteImage(name string) (RemoteImage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remote, ok := r.images.registry[name]
	return remote, ok || !r.cfg.RegistryOnly
}

// authorize checks the credentials of a pull against those of the registry.
func (i RemoteImage) authorize(auth *runtimeapi.AuthConfig) error {
	if i.Username == "" && i.Password == "" {
		return nil
	}
	username, password := credentials(auth)
	switch {
	case username == "" && password == "":
		return errors.New("pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials")
	case username != i.Username || password != i.Password:
		return errors.New("failed to authorize: unexpected status: 401 Unauthorized")
	}
	return nil
}

// credentials reads an auth config in the order in which containerd does.
func credentials(auth *runtimeapi.AuthConfig) (username, password string) {
	if auth.GetUsername() != "" {
		return auth.GetUsername(), auth.GetPassword()
	}
	if auth.GetIdentityToken() != "" {
		return "", auth.GetIdentityToken()
	}
	decoded, err := base64.StdEncoding.DecodeString(auth.GetAuth())
	if err != nil {
		return "", ""
	}
	username, password, _ = strings.Cut(string(decoded), ":")
	return username, password
}

// imageFs is what ImageFsInfo tells besides the images' own size.
type imageFs struct {
	mountpoint string
	otherBytes uint64
}

// SetImageFs sets where the images' file system is said to be mounted, and how
// many bytes are used on it besides those of the images. Default
// "/var/lib/critest" and none.
func (r *Runtime) SetImageFs(mountpoint string, otherBytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.imageFs = imageFs{mountpoint: mountpoint, otherBytes: otherBytes}
}

func (s *service) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	used := s.r.imageFs.otherBytes
	for _, image := range s.r.images.byID {
		used += image.size
	}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: s.r.imageFs.mountpoint},
		UsedBytes:  &runtimeapi.UInt64Value{Value: used},
		InodesUsed: &runtimeapi.UInt64Value{Value: uint64(len(s.r.images.byID))},
	}}}, nil
}
