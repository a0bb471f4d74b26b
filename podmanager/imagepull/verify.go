package imagepull

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mayHave reports whether the pod may have an image that is there without asking the
// registry: anybody may have one that this agent has not pulled, or has pulled with
// nobody's credentials or the node's; else the pod must have credentials with which
// it was pulled. What is not known has to be proven.
func (p *Puller) mayHave(ctx context.Context, r *request, image *runtimeapi.Image) bool {
	if p.records.folder == "" {
		return true
	}
	known, preloaded, err := p.records.proven(image.GetId(), r.spec.Image)
	if err != nil {
		p.log.Warn("record of image set aside, the registry is asked again", zap.String("image", r.spec.Image), zap.Error(err))
		return false
	}
	if preloaded || known.Anyone {
		return true
	}
	if len(known.Credentials) == 0 {
		return false
	}
	logins, _ := p.podLogins(ctx, r.pod)
	return slices.ContainsFunc(lookup(logins, r.spec.Image), func(c credentials) bool {
		return slices.Contains(known.Credentials, c.hash())
	})
}

// recorded pulls, and records with what.
func (p *Puller) recorded(ctx context.Context, r *request) (*runtimeapi.Image, *Error) {
	name := fullName(r.spec.Image)
	if err := p.records.begin(name); err != nil {
		return nil, p.failed(r, err)
	}
	image, by, failed := p.pullAndFind(ctx, r)
	var left doubts
	if failed == nil {
		if err := p.records.add(image.GetId(), name, by); err != nil {
			left.unsure = true
			p.log.Warn("pull not recorded, the registry will be asked again", zap.String("image", name), zap.Error(err))
		}
	} else {
		left.unsure = ctx.Err() != nil || failed.reason == ReasonInspect
		left.died = status.Code(failed.cause) == codes.Unavailable
	}
	known := failed == nil && !left.unsure
	last, left := p.records.leave(name, left)
	if last && (known || !left.unsure && p.broughtNothing(ctx, r, left.died)) {
		if err := p.records.settled(name); err != nil {
			p.log.Warn("note of pull not removed", zap.String("image", name), zap.Error(err))
		}
	}
	return image, failed
}

// broughtNothing reports whether it is sure that neither the pulls of the image that
// failed, nor one in which an agent or the runtime died, have left it without a record.
// Somebody may bring it by other means next, and it is for all then.
func (p *Puller) broughtNothing(ctx context.Context, r *request, died bool) bool {
	image, err := p.inspect(ctx, r.spec)
	return err == nil && (image == nil || !died)
}

// dropRecords forgets an image that was to be removed, if it is gone. The names are
// not leased meanwhile.
func (p *Puller) dropRecords(names []string) {
	if !p.records.has(names) {
		return
	}
	for _, name := range names {
		image, err := p.inspect(context.Background(), &runtimeapi.ImageSpec{Image: name})
		if image != nil || err != nil {
			return
		}
	}
	if err := p.records.drop(names); err != nil {
		p.log.Warn("records of image not removed", zap.Strings("image", names), zap.Error(err))
	}
}

// unproven is the error for an image that is there, not to be pulled, and not for
// everybody.
func unproven(image string) *Error {
	return &Error{reason: ReasonNeverPull, message: fmt.Sprintf(
		"Container image %q is present with pull policy of Never, but none of the pod's pull secrets is one that it was pulled with", image)}
}
