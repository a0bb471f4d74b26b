package imagepull

import (
	"context"
	"slices"
	"sync"

	"github.com/distribution/reference"
)

// Leased reports whether a call of Ensure works on the image, or returned it
// and was not followed by the call of its release yet. The image is named by
// its ID or by a tag or digest, in any form. What is not leased now may be leased
// before the caller can act on it: RemoveUnleased is for removing an image. It
// does not block.
func (p *Puller) Leased(image string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases[fullName(image)] > 0
}

// RemoveUnleased runs remove, which is to remove one image from the runtime,
// unless the image is leased, and reports whether it did. names are the image's
// ID, which must be among them, its tags and its digests. The error is that of
// remove. It blocks for as long as remove does, and does nothing while another
// removal of the image is under way.
//
// Leases that begin meanwhile wait for the end of remove and look for the image
// only then, so that Ensure never returns an image that is being removed. A
// container whose creator has called release by now is there already: remove finds
// it when it lists the containers once more.
func (p *Puller) RemoveUnleased(names []string, remove func() error) (bool, error) {
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = fullName(name)
	}
	end, ok := p.beginRemoval(full)
	if !ok {
		return false, nil
	}
	defer end()
	if err := remove(); err != nil {
		return true, err
	}
	p.dropRecords(names)
	return true, nil
}

func (p *Puller) beginRemoval(names []string) (end func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(names, func(name string) bool { return p.leases[name] > 0 || p.removals[name] != nil }) {
		return nil, false
	}
	ended := make(chan struct{})
	for _, name := range names {
		p.removals[name] = ended
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range names {
			delete(p.removals, name)
		}
		p.removed++
		close(ended)
	}, true
}

// settle waits until no removal of the image is under way, and returns how many
// removals of any image have ended. The error is that of ctx.
func (p *Puller) settle(ctx context.Context, image string) (removed int, err error) {
	image = fullName(image)
	for {
		p.mu.Lock()
		underWay, removed := p.removals[image], p.removed
		p.mu.Unlock()
		if underWay == nil {
			return removed, nil
		}
		select {
		case <-underWay:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
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
