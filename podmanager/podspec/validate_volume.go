package podspec

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	propagationModes = []corev1.MountPropagationMode{
		corev1.MountPropagationNone, corev1.MountPropagationHostToContainer, corev1.MountPropagationBidirectional,
	}
	hostPathTypes = []corev1.HostPathType{
		corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
		corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
	}
	// downwardFields are the fields without a key that downwardAPI files may hold.
	downwardFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
	}
)

const maxFileMode = 0o777

func validateVolumes(spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	seen := names{}
	for i := range spec.Volumes {
		volume, path := &spec.Volumes[i], specPath.Child("volumes").Index(i)
		errs = append(errs, requiredName(path.Child("name"), volume.Name)...)
		errs = append(errs, seen.add(path.Child("name"), volume.Name)...)
		if count := countSources(&volume.VolumeSource); count != 1 {
			errs = append(errs, field.Invalid(path, volume.Name, "must have exactly one source"))
		}
		errs = append(errs, validateSource(&volume.VolumeSource, path)...)
	}
	return errs
}

// countSources counts the sources of a volume, of kinds yet to come too.
func countSources(source *corev1.VolumeSource) int {
	count := 0
	for _, value := range reflect.ValueOf(source).Elem().Fields() {
		if !value.IsNil() {
			count++
		}
	}
	return count
}

// validateSource checks the kinds of volumes that a node can provide by itself
// and the names that the others refer to.
func validateSource(source *corev1.VolumeSource, path *field.Path) field.ErrorList {
	switch {
	case source.HostPath != nil:
		return validateHostPath(source.HostPath, path.Child("hostPath"))
	case source.EmptyDir != nil:
		if limit := source.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			return field.ErrorList{field.Invalid(path.Child("emptyDir", "sizeLimit"), limit.String(), "must not be negative")}
		}
	case source.ConfigMap != nil:
		path = path.Child("configMap")
		errs := required(path.Child("name"), source.ConfigMap.Name)
		errs = append(errs, validateMode(source.ConfigMap.DefaultMode, path.Child("defaultMode"))...)
		return append(errs, validateItems(source.ConfigMap.Items, path.Child("items"))...)
	case source.Secret != nil:
		path = path.Child("secret")
		errs := required(path.Child("secretName"), source.Secret.SecretName)
		errs = append(errs, validateMode(source.Secret.DefaultMode, path.Child("defaultMode"))...)
		return append(errs, validateItems(source.Secret.Items, path.Child("items"))...)
	case source.DownwardAPI != nil:
		path = path.Child("downwardAPI")
		errs := validateMode(source.DownwardAPI.DefaultMode, path.Child("defaultMode"))
		return append(errs, validateDownward(source.DownwardAPI.Items, path.Child("items"))...)
	case source.Projected != nil:
		return validateProjected(source.Projected, path.Child("projected"))
	case source.PersistentVolumeClaim != nil:
		return required(path.Child("persistentVolumeClaim", "claimName"), source.PersistentVolumeClaim.ClaimName)
	case source.CSI != nil:
		return required(path.Child("csi", "driver"), source.CSI.Driver)
	case source.Image != nil:
		return required(path.Child("image", "reference"), source.Image.Reference)
	}
	return nil
}

func validateHostPath(source *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	errs := required(path.Child("path"), source.Path)
	errs = append(errs, noBacksteps(path.Child("path"), source.Path)...)
	if source.Type != nil && !slices.Contains(hostPathTypes, *source.Type) {
		errs = append(errs, field.NotSupported(path.Child("type"), *source.Type, hostPathTypes))
	}
	return errs
}

func validateProjected(source *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := validateMode(source.DefaultMode, path.Child("defaultMode"))
	for i, projection := range source.Sources {
		errs = append(errs, validateProjection(projection, path.Child("sources").Index(i))...)
	}
	return errs
}

func validateProjection(projection corev1.VolumeProjection, path *field.Path) field.ErrorList {
	errs := exactlyOne(path, "one source", map[string]bool{
		"secret":              projection.Secret != nil,
		"configMap":           projection.ConfigMap != nil,
		"downwardAPI":         projection.DownwardAPI != nil,
		"serviceAccountToken": projection.ServiceAccountToken != nil,
		"clusterTrustBundle":  projection.ClusterTrustBundle != nil,
		"podCertificate":      projection.PodCertificate != nil,
	})
	if source := projection.Secret; source != nil {
		errs = append(errs, required(path.Child("secret", "name"), source.Name)...)
		errs = append(errs, validateItems(source.Items, path.Child("secret", "items"))...)
	}
	if source := projection.ConfigMap; source != nil {
		errs = append(errs, required(path.Child("configMap", "name"), source.Name)...)
		errs = append(errs, validateItems(source.Items, path.Child("configMap", "items"))...)
	}
	if source := projection.DownwardAPI; source != nil {
		errs = append(errs, validateDownward(source.Items, path.Child("downwardAPI", "items"))...)
	}
	if source := projection.ServiceAccountToken; source != nil {
		errs = append(errs, validateFilePath(source.Path, path.Child("serviceAccountToken", "path"))...)
	}
	return errs
}

func validateItems(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		errs = append(errs, required(path.Index(i).Child("key"), item.Key)...)
		errs = append(errs, validateFilePath(item.Path, path.Index(i).Child("path"))...)
		errs = append(errs, validateMode(item.Mode, path.Index(i).Child("mode"))...)
	}
	return errs
}

func validateDownward(items []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		path := path.Index(i)
		errs = append(errs, validateFilePath(item.Path, path.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, path.Child("mode"))...)
		errs = append(errs, exactlyOne(path, "one reference", map[string]bool{
			"fieldRef": item.FieldRef != nil, "resourceFieldRef": item.ResourceFieldRef != nil,
		})...)
		if item.FieldRef != nil {
			errs = append(errs, validateFieldRef(item.FieldRef, downwardFields, path.Child("fieldRef"))...)
		}
		if ref := item.ResourceFieldRef; ref != nil {
			errs = append(errs, required(path.Child("resourceFieldRef", "containerName"), ref.ContainerName)...)
			errs = append(errs, validateResourceRef(ref, path.Child("resourceFieldRef"))...)
		}
	}
	return errs
}

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > maxFileMode) {
		return field.ErrorList{field.Invalid(path, fmt.Sprintf("%#o", *mode), "must be between 0 and 0777 (octal)")}
	}
	return nil
}

// validateFilePath checks where in a volume a file goes. Names that begin with
// two dots are the volume's own.
func validateFilePath(name string, path *field.Path) field.ErrorList {
	errs := required(path, name)
	errs = append(errs, descending(path, name)...)
	if len(errs) == 0 && strings.HasPrefix(name, "..") {
		errs = append(errs, field.Invalid(path, name, "must not start with '..'"))
	}
	return errs
}

func descending(fieldPath *field.Path, name string) field.ErrorList {
	if path.IsAbs(name) {
		return field.ErrorList{field.Invalid(fieldPath, name, "must be a relative path")}
	}
	return noBacksteps(fieldPath, name)
}

func noBacksteps(path *field.Path, name string) field.ErrorList {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return field.ErrorList{field.Invalid(path, name, "must not contain '..'")}
	}
	return nil
}

func validateMounts(spec *corev1.PodSpec, c located) field.ErrorList {
	volumes := make(map[string]bool, len(spec.Volumes))
	for i := range spec.Volumes {
		volumes[spec.Volumes[i].Name] = true
	}
	var errs field.ErrorList
	seen := names{}
	for i, mount := range c.VolumeMounts {
		path := c.path.Child("volumeMounts").Index(i)
		errs = append(errs, validateMount(c, mount, volumes, path)...)
		errs = append(errs, seen.add(path.Child("mountPath"), mount.MountPath)...)
	}
	for i, device := range c.VolumeDevices {
		path := c.path.Child("volumeDevices").Index(i)
		errs = append(errs, required(path.Child("devicePath"), device.DevicePath)...)
		if !volumes[device.Name] {
			errs = append(errs, field.NotFound(path.Child("name"), device.Name))
		}
		errs = append(errs, seen.add(path.Child("devicePath"), device.DevicePath)...)
	}
	return errs
}

func validateMount(c located, mount corev1.VolumeMount, volumes map[string]bool, path *field.Path) field.ErrorList {
	errs := required(path.Child("mountPath"), mount.MountPath)
	if mount.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else if !volumes[mount.Name] {
		errs = append(errs, field.NotFound(path.Child("name"), mount.Name))
	}
	errs = append(errs, validateSubPath(c, mount, path)...)
	if mode := mount.MountPropagation; mode != nil {
		errs = append(errs, oneOf(path.Child("mountPropagation"), *mode, propagationModes...)...)
		if *mode == corev1.MountPropagationBidirectional && !privileged(c.SecurityContext) {
			errs = append(errs, field.Forbidden(path.Child("mountPropagation"), "Bidirectional is for privileged containers"))
		}
	}
	return append(errs, validateRecursiveReadOnly(mount, path.Child("recursiveReadOnly"))...)
}

func validateSubPath(c located, mount corev1.VolumeMount, path *field.Path) field.ErrorList {
	errs := descending(path.Child("subPath"), mount.SubPath)
	errs = append(errs, descending(path.Child("subPathExpr"), mount.SubPathExpr)...)
	if mount.SubPath != "" && mount.SubPathExpr != "" {
		errs = append(errs, field.Invalid(path.Child("subPathExpr"), mount.SubPathExpr, "may not be set together with subPath"))
	}
	if c.kind == ephemeral && mount.SubPath+mount.SubPathExpr != "" {
		errs = append(errs, field.Forbidden(path.Child("subPath"), "may not be set for this kind of container"))
	}
	return errs
}

func validateRecursiveReadOnly(mount corev1.VolumeMount, path *field.Path) field.ErrorList {
	if mount.RecursiveReadOnly == nil || *mount.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return nil
	}
	errs := oneOf(path, *mount.RecursiveReadOnly, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if !mount.ReadOnly {
		errs = append(errs, field.Forbidden(path, "may only be set together with readOnly"))
	}
	if mode := deref(mount.MountPropagation); mode != "" && mode != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(path, "may not be set together with mountPropagation"))
	}
	return errs
}
