package podspec

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// resourceFieldValue is a request or limit of a container in units of the
// divisor, rounded up (Kubernetes docs, "Downward API"). A limit that is not
// set is what the node can give.
func resourceFieldValue(pod *corev1.Pod, self *corev1.Container, opts ContainerOptions, ref *corev1.ResourceFieldSelector, path *field.Path) (string, error) {
	container, err := referredContainer(pod, self, ref, path)
	if err != nil {
		return "", err
	}
	list, name, err := splitResource(ref.Resource, path)
	if err != nil {
		return "", err
	}
	quantity := container.Resources.Requests[name]
	if list == "limits" {
		quantity = limitOrAllocatable(container, name, opts.Allocatable)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = *resource.NewQuantity(1, resource.DecimalSI)
	}
	if divisor.Sign() < 0 {
		return "", field.Invalid(path.Child("divisor"), divisor.String(), "must not be negative")
	}
	if name == corev1.ResourceCPU {
		return ceilDiv(milliValue(quantity), milliValue(divisor)), nil
	}
	return ceilDiv(value(quantity), value(divisor)), nil
}

func referredContainer(pod *corev1.Pod, self *corev1.Container, ref *corev1.ResourceFieldSelector, path *field.Path) (*corev1.Container, error) {
	if ref.ContainerName == "" || ref.ContainerName == self.Name {
		return self, nil
	}
	for _, c := range longLived(pod) {
		if c.Name == ref.ContainerName {
			return c.Container, nil
		}
	}
	return nil, field.NotFound(path.Child("containerName"), ref.ContainerName)
}

// splitResource splits "limits.cpu" into the list and the resource.
func splitResource(text string, path *field.Path) (list string, name corev1.ResourceName, err error) {
	list, rest, _ := strings.Cut(text, ".")
	if (list != "limits" && list != "requests") || !computeResource(corev1.ResourceName(rest)) {
		return "", "", fmt.Errorf("%s: unsupported container resource %q", path.Child("resource"), text)
	}
	return list, corev1.ResourceName(rest), nil
}

func limitOrAllocatable(container *corev1.Container, name corev1.ResourceName, allocatable corev1.ResourceList) resource.Quantity {
	limit := container.Resources.Limits[name]
	if limit.IsZero() && !hugePages(name) {
		return allocatable[name]
	}
	return limit
}

// ceilDiv divides two numbers of which the second is positive.
func ceilDiv(value, divisor int64) string {
	divisor = max(divisor, 1)
	quotient := value / divisor
	if value%divisor > 0 {
		quotient++
	}
	return strconv.FormatInt(quotient, 10)
}
