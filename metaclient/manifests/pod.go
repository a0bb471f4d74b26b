package manifests

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Annotations that the kubelet puts on pods from files.
const (
	sourceAnnotation = "kubernetes.io/config.source"
	hashAnnotation   = "kubernetes.io/config.hash"
)

// pod decodes one Pod and makes it this node's.
func (d *decoding) pod(raw []byte, obj map[string]any) {
	pod := &corev1.Pod{}
	if !d.decode(raw, pod) {
		return
	}
	adopt(pod, contentHash(obj, d.nodeName), d.nodeName)
	errs := checkMeta(&pod.ObjectMeta)
	if d.nodeName != "" && pod.Spec.NodeName != d.nodeName {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nodeName"), pod.Spec.NodeName, "pod is for another node than "+d.nodeName))
	}
	if len(errs) == 0 && d.complete != nil {
		errs = d.complete(pod)
	}
	d.take("Pod", pod, errs)
	d.warnOfImages(pod)
}

// adopt takes off what belongs to an API server and puts on what belongs to this
// node.
func adopt(pod *corev1.Pod, hash, nodeName string) {
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.ObjectMeta = ownMeta(pod.ObjectMeta)
	pod.Status = corev1.PodStatus{}

	if pod.UID == "" {
		pod.UID = types.UID(hash)
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	// The manifest may be a copy of what a cluster showed of a static pod.
	delete(pod.Annotations, corev1.MirrorPodAnnotationKey)
	pod.Annotations[sourceAnnotation] = "file"
	pod.Annotations[hashAnnotation] = hash
	if pod.Spec.NodeName == "" {
		pod.Spec.NodeName = nodeName
	}
	noExecute := corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	if !slices.Contains(pod.Spec.Tolerations, noExecute) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, noExecute)
	}
}

// ownMeta is what of an object's metadata does not belong to an API server.
func ownMeta(meta metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            meta.Name,
		GenerateName:    meta.GenerateName,
		Namespace:       cmp.Or(meta.Namespace, metav1.NamespaceDefault),
		UID:             meta.UID,
		Labels:          meta.Labels,
		Annotations:     meta.Annotations,
		OwnerReferences: meta.OwnerReferences,
	}
}

// checkMeta applies the API's rules for metadata, and one of our own: an explicit
// UID, which no API server ever accepts, becomes a folder's name.
func checkMeta(meta *metav1.ObjectMeta) field.ErrorList {
	path := field.NewPath("metadata")
	if meta.Name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "names are not generated without an API server")}
	}
	errs := apivalidation.ValidateObjectMeta(meta, true, apivalidation.NameIsDNSSubdomain, path)
	for _, message := range validation.IsValidLabelValue(string(meta.UID)) {
		errs = append(errs, field.Invalid(path.Child("uid"), meta.UID, message))
	}
	return errs
}

// warnOfImages: a reference that cannot be parsed can never be pulled, but the pod
// is run all the same, as its status is where people look.
func (d *decoding) warnOfImages(pod *corev1.Pod) {
	check := func(list string, containers []corev1.Container) {
		for i, c := range containers {
			if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
				d.warn(fmt.Sprintf("spec.%s[%d].image", list, i), fmt.Sprintf("image %.200q: %v", c.Image, err))
			}
		}
	}
	check("initContainers", pod.Spec.InitContainers)
	check("containers", pod.Spec.Containers)
}

// contentHash identifies what a manifest says: 32 hexadecimal digits. It is taken
// of the document rather than of the decoded Pod, whose encoding may change with
// the version of the API's types, and an update of the agent must not restart all
// pods. Key order, comments and the fields that adopt drops do not count.
func contentHash(obj map[string]any, nodeName string) string {
	content := maps.Clone(obj)
	for _, key := range []string{"apiVersion", "kind", "status"} {
		delete(content, key)
	}
	if meta, ok := content["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, key := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
			"deletionGracePeriodSeconds", "finalizers", "managedFields", "selfLink"} {
			delete(meta, key)
		}
		content["metadata"] = meta
	}
	// What was decoded from JSON can be encoded again, with sorted keys.
	encoded, _ := json.Marshal(content)
	sum := sha256.Sum256(append(encoded, "\x00"+nodeName...))
	return hex.EncodeToString(sum[:16])
}

// describe names an object for people, as far as it has a name.
func describe(obj map[string]any) string {
	kind, _ := obj["kind"].(string)
	meta, _ := obj["metadata"].(map[string]any)
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	if namespace == "" && slices.Contains(served(), kind) {
		namespace = metav1.NamespaceDefault
	}
	if namespace != "" && name != "" {
		name = namespace + "/" + name
	}
	return strings.TrimSpace(kind + " " + name)
}
