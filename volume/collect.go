package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// defaultMode is the mode of files for which the spec names none.
const defaultMode = 0o644

// collector makes the content of one volume.
type collector struct {
	m      *Manager
	record *record
	volume string
	// due is when the content is to be made anew, zero if only a change calls for it.
	due time.Time
	// old is why part of the content is not the newest, which does for now.
	old error
}

// collect makes the content of a volume. Its errors hold no content.
func (c *collector) collect(ctx context.Context, spec *corev1.Volume) (payload, error) {
	var mode *int32
	var sources []corev1.VolumeProjection
	switch {
	case spec.ConfigMap != nil:
		mode = spec.ConfigMap.DefaultMode
		sources = []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: spec.ConfigMap.LocalObjectReference, Items: spec.ConfigMap.Items, Optional: spec.ConfigMap.Optional,
		}}}
	case spec.Secret != nil:
		mode = spec.Secret.DefaultMode
		sources = []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: spec.Secret.SecretName}, Items: spec.Secret.Items, Optional: spec.Secret.Optional,
		}}}
	case spec.DownwardAPI != nil:
		mode = spec.DownwardAPI.DefaultMode
		sources = []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: spec.DownwardAPI.Items}}}
	case spec.Projected != nil:
		mode, sources = spec.Projected.DefaultMode, spec.Projected.Sources
	}
	fallback, err := fileMode(mode, defaultMode)
	if err != nil {
		return nil, fmt.Errorf("defaultMode: %w", err)
	}
	return c.project(ctx, sources, fallback)
}

// project merges the sources in their order. If one fails, all do.
func (c *collector) project(ctx context.Context, sources []corev1.VolumeProjection, mode fs.FileMode) (payload, error) {
	all := make(payload)
	var errs []error
	for i := range sources {
		files, err := c.source(ctx, &sources[i], i, mode)
		if err == nil {
			err = all.merge(files)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

func (c *collector) source(ctx context.Context, source *corev1.VolumeProjection, index int, mode fs.FileMode) (payload, error) {
	switch {
	case source.ConfigMap != nil:
		return c.configMap(ctx, source.ConfigMap, mode)
	case source.Secret != nil:
		return c.secret(ctx, source.Secret, mode)
	case source.DownwardAPI != nil:
		return c.downward(source.DownwardAPI.Items, mode)
	case source.ServiceAccountToken != nil:
		return c.token(ctx, source.ServiceAccountToken, index, mode)
	case source.ClusterTrustBundle != nil:
		return nil, &UnsupportedError{Kind: "projected with the source clusterTrustBundle"}
	case source.PodCertificate != nil:
		return nil, &UnsupportedError{Kind: "projected with the source podCertificate"}
	default:
		return nil, fmt.Errorf("source %d: it has no kind that is known", index)
	}
}

func (c *collector) configMap(ctx context.Context, source *corev1.ConfigMapProjection, mode fs.FileMode) (payload, error) {
	object, err := c.m.src.ConfigMap(ctx, c.record.pod.Namespace, source.Name)
	if err != nil {
		return absent("configmap", source.Name, source.Optional, err)
	}
	data := maps.Clone(object.BinaryData)
	if data == nil {
		data = make(map[string][]byte, len(object.Data))
	}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	return pick("configmap", source.Name, data, source.Items, source.Optional, mode)
}

func (c *collector) secret(ctx context.Context, source *corev1.SecretProjection, mode fs.FileMode) (payload, error) {
	object, err := c.m.src.Secret(ctx, c.record.pod.Namespace, source.Name)
	if err != nil {
		return absent("secret", source.Name, source.Optional, err)
	}
	return pick("secret", source.Name, object.Data, source.Items, source.Optional, mode)
}

// absent is the content that is made of an object that was not delivered: none, if
// it does not exist and may be missing.
func absent(kind, name string, optional *bool, err error) (payload, error) {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	return nil, fmt.Errorf("%s %q: %w", kind, name, err)
}

// pick makes files of the keys that the items name, of all if there are no items.
func pick(kind, name string, data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) (payload, error) {
	files := make(payload)
	if len(items) == 0 {
		for _, key := range slices.Sorted(maps.Keys(data)) {
			if err := files.add(key, file{data: data[key], mode: mode}); err != nil {
				return nil, fmt.Errorf("%s %q: %w", kind, name, err)
			}
		}
		return files, nil
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found && optional != nil && *optional {
			continue
		}
		if !found {
			return nil, fmt.Errorf("%s %q has no key %q", kind, name, item.Key)
		}
		itemMode, err := fileMode(item.Mode, mode)
		if err == nil {
			err = files.add(item.Path, file{data: value, mode: itemMode})
		}
		if err != nil {
			return nil, fmt.Errorf("%s %q, item with key %q: %w", kind, name, item.Key, err)
		}
	}
	return files, nil
}

func (c *collector) downward(items []corev1.DownwardAPIVolumeFile, mode fs.FileMode) (payload, error) {
	if c.m.cfg.Downward == nil {
		return nil, &UnsupportedError{Kind: "downwardAPI"}
	}
	files := make(payload)
	for i := range items {
		item := &items[i]
		value, err := c.m.cfg.Downward(c.record.pod, item)
		if err != nil {
			return nil, fmt.Errorf("downwardAPI item with path %q: %w", item.Path, err)
		}
		itemMode, err := fileMode(item.Mode, mode)
		if err == nil {
			err = files.add(item.Path, file{data: []byte(value), mode: itemMode})
		}
		if err != nil {
			return nil, fmt.Errorf("downwardAPI item with path %q: %w", item.Path, err)
		}
	}
	return files, nil
}
