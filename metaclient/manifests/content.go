package manifests

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/internal/object"
)

// content is what the whole folder says.
type content struct {
	pods    []*corev1.Pod
	objects map[metaclient.Ref]metav1.Object // nil while the folder was not read
	unsure  bool                             // there may be more: a file was never read whole
}

// merge joins the objects of all files in order. Of two with one name, or pods with
// one UID, the first wins. What of an object may not change stays as it was.
func merge(names []string, files map[string]file, before content) (now content, problems []Problem) {
	now.objects = map[metaclient.Ref]metav1.Object{}
	byID := map[id]string{}
	byUID := map[types.UID]string{}
	for _, name := range names {
		problems = append(problems, files[name].problems...)
		now.unsure = now.unsure || !files[name].whole
		for _, e := range files[name].entries {
			at := Problem{File: name, Document: e.document, Object: e.String()}
			if other, ok := byID[e.id()]; ok {
				at.Field, at.Message = "metadata.name", fmt.Sprintf("%s is already given by file %s", kindName(e.kind), other)
				problems = append(problems, at)
				continue
			}
			pod, isPod := e.object.(*corev1.Pod)
			if other, ok := byUID[e.object.GetUID()]; ok && isPod {
				at.Field, at.Message = "metadata.uid", fmt.Sprintf("uid is already used in file %s", other)
				problems = append(problems, at)
				continue
			}
			byID[e.id()] = name
			if isPod {
				byUID[pod.UID] = name
				now.pods = append(now.pods, pod)
				continue
			}
			ref := refOf(e)
			kept, errs := update(before.objects[ref], e.object)
			now.objects[ref] = kept
			for _, err := range errs {
				at.Field, at.Message = err.Field, err.ErrorBody()+"; it stays as it was, remove it first"
				problems = append(problems, at)
			}
		}
	}
	return now, problems
}

func refOf(e entry) metaclient.Ref {
	return metaclient.Ref{Kind: metaclient.Kind(e.kind), Namespace: e.object.GetNamespace(), Name: e.object.GetName()}
}

// update returns the new object, or the old one and why it may not be changed so.
func update(before, now metav1.Object) (metav1.Object, field.ErrorList) {
	var errs field.ErrorList
	switch old := before.(type) {
	case *corev1.ConfigMap:
		if cm, ok := now.(*corev1.ConfigMap); ok {
			errs = object.ValidateConfigMapUpdate(old, cm)
		}
	case *corev1.Secret:
		if secret, ok := now.(*corev1.Secret); ok {
			errs = object.ValidateSecretUpdate(old, secret)
		}
	}
	if len(errs) > 0 {
		return before, errs
	}
	return now, nil
}

// deliver tells what has changed since before: objects first, so that a new pod
// finds what came with it, and pods only if there is a change among them, or if it
// is known only now that they are all.
func (c content) deliver(ctx context.Context, sink metaclient.Sink, before content, first bool) error {
	for _, ref := range sorted(c.objects) {
		if c.objects[ref] == before.objects[ref] { // decoded once, while its file stays
			continue
		}
		if err := sink.Object(ctx, c.objects[ref]); err != nil {
			return err
		}
	}
	for _, ref := range sorted(before.objects) {
		if c.objects[ref] != nil {
			continue
		}
		if err := sink.Gone(ctx, ref, ""); err != nil {
			return err
		}
	}
	switch {
	case !first && slices.Equal(c.pods, before.pods) && (c.unsure || !before.unsure):
		return nil
	case c.unsure:
		return sink.PodsSoFar(ctx, c.pods)
	}
	return sink.Pods(ctx, c.pods)
}

func sorted(objects map[metaclient.Ref]metav1.Object) []metaclient.Ref {
	return slices.SortedFunc(maps.Keys(objects), func(a, b metaclient.Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
