package imagepull

import (
	"net"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// dockerHub is the domain of short names, dockerHubKey the one that docker logs
// in to for them.
const (
	dockerHub    = "docker.io"
	dockerHubKey = "index.docker.io"
)

// scope is what images credentials are for. The labels of the host may have
// wildcards, of which none crosses a dot.
type scope struct {
	key    string // host and path, which scopes are ordered by
	labels []string
	port   string
	path   string
}

// parseScope reads the name of an entry in a docker config: a host with or
// without scheme, port, API version and path.
func parseScope(registry string) (scope, error) {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	s, err := split(registry)
	if err != nil {
		return scope{}, err
	}
	if strings.HasPrefix(s.path, "/v1/") || strings.HasPrefix(s.path, "/v2/") {
		s.path = s.path[len("/v1"):]
	}
	if s.path == "/" {
		s.path = ""
	}
	s.key += s.path
	return s, nil
}

// split takes host and path apart. It leaves the path out of the key. It is not
// url.Parse, to which the wildcard "?" would be the end of the host.
func split(name string) (scope, error) {
	address, rest, found := strings.Cut(name, "/")
	if address == "" {
		return scope{}, errMalformed
	}
	s := scope{key: address}
	if found {
		s.path = "/" + rest
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "" // there is none
	}
	s.labels, s.port = strings.Split(host, "."), port
	return s, nil
}

// covers reports whether the image of the given host and path is in the scope.
func (s scope) covers(image scope) bool {
	if s.port != image.port || len(s.labels) != len(image.labels) || !strings.HasPrefix(image.path, s.path) {
		return false
	}
	for i, label := range s.labels {
		if matched, err := path.Match(label, image.labels[i]); err != nil || !matched {
			return false
		}
	}
	return true
}

// lookup returns the credentials to try for the image, the most specific scope
// first, by the rules of the kubelet (Kubernetes: Images, config.json). The path
// is a prefix of letters, as there: "example.com/team" covers example.com/teams.
func lookup(logins []login, image string) []credentials {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil
	}
	target, err := split(named.Name())
	if err != nil {
		return nil
	}
	found := choose(logins, func(s scope) bool { return s.covers(target) })
	if len(found) == 0 && reference.Domain(named) == dockerHub {
		found = choose(logins, func(s scope) bool { return s.key == dockerHubKey })
	}
	return found
}

// choose returns the credentials of the scopes that fit, in reverse order of
// their keys; those of one key stay in their order.
func choose(logins []login, fits func(scope) bool) []credentials {
	var chosen []*login // sorting pointers is code that others use, too
	for i := range logins {
		if fits(logins[i].scope) {
			chosen = append(chosen, &logins[i])
		}
	}
	slices.SortStableFunc(chosen, func(a, b *login) int { return strings.Compare(b.scope.key, a.scope.key) })
	var found []credentials
	for _, l := range chosen {
		found = append(found, l.credentials)
	}
	return found
}
