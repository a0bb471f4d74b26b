package imagepull

import (
	"sync"

	"github.com/distribution/reference"
)

// Leased reports whether a call of Ensure works on the image, or returned it
// and was not followed by the call of its release yet. The image is named by
// its ID or by a tag or digest, in any form; image GC asks for all of them,
// right before it removes the image. It does not block.
func (p *Puller) Leased(image string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases[fullName(image)] > 0
}

// lease keeps image GC off an image, by all names that were added to it.
type lease struct {
	puller *Puller
	names  []string
	once   sync.Once
}

func (p *Puller) newLease(name string) *lease {
	l := &lease{puller: p}
	l.add(name)
	return l
}

func (l *lease) add(name string) {
	name = fullName(name)
	l.names = append(l.names, name)
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	l.puller.leases[name]++
}

// end gives the image back. It is idempotent.
func (l *lease) end() {
	l.once.Do(func() {
		l.puller.mu.Lock()
		defer l.puller.mu.Unlock()
		for _, name := range l.names {
			l.puller.leases[name]--
			if l.puller.leases[name] == 0 {
				delete(l.puller.leases, name)
			}
		}
	})
}

// fullName is the name as runtimes list it: with registry and tag, or with
// digest and without tag. What is no name, such as an ID, is left as it is.
func fullName(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	if digested, ok := named.(reference.Digested); ok {
		return named.Name() + "@" + digested.Digest().String()
	}
	return reference.TagNameOnly(named).String()
}
