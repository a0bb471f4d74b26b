package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nativeDomain is the domain of Kubernetes' own resources, in which nobody
// else may name one.
const nativeDomain = "kubernetes.io/"

func validateResources(c located) field.ErrorList {
	path := c.path.Child("resources")
	var errs field.ErrorList
	for _, name := range sortedNames(c.Resources.Limits) {
		errs = append(errs, validateQuantity(name, c.Resources.Limits[name], path.Child("limits").Key(string(name)))...)
	}
	for _, name := range sortedNames(c.Resources.Requests) {
		request := c.Resources.Requests[name]
		key := path.Child("requests").Key(string(name))
		errs = append(errs, validateQuantity(name, request, key)...)
		errs = append(errs, validateRequest(name, request, c.Resources.Limits, key)...)
	}
	return errs
}

func validateQuantity(name corev1.ResourceName, quantity resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case hugePages(name):
		if _, err := pageSize(name); err != nil {
			errs = append(errs, field.Invalid(path, name, "names no page size"))
		}
	case computeResource(name):
	case !strings.Contains(string(name), "/"):
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
	case strings.Contains(string(name), nativeDomain), strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix):
		errs = append(errs, field.Invalid(path, name, "may not be named so"))
	default:
		errs = append(errs, invalid(path, name, validation.IsQualifiedName(string(name)))...)
	}
	if !bounded(quantity) {
		return append(errs, field.Invalid(path, "", "must fit 64 bits"))
	}
	if quantity.Sign() < 0 {
		errs = append(errs, field.Invalid(path, quantity.String(), "must not be negative"))
	}
	if !overcommits(name) && quantity.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, quantity.String(), "must be an integer"))
	}
	return errs
}

// validateRequest compares a request with the limit of the same resource.
// What cannot be shared out twice must be limited to what is requested.
func validateRequest(name corev1.ResourceName, request resource.Quantity, limits corev1.ResourceList, path *field.Path) field.ErrorList {
	limit, limited := limits[name]
	switch {
	case !bounded(request), !bounded(limit):
		return nil // already reported
	case !limited && !overcommits(name):
		return field.ErrorList{field.Required(path, "a limit must be set for this resource")}
	case limited && !overcommits(name) && request.Cmp(limit) != 0:
		return field.ErrorList{field.Invalid(path, request.String(), "must be equal to the limit of "+limit.String())}
	case limited && request.Cmp(limit) > 0:
		return field.ErrorList{field.Invalid(path, request.String(), "must be less than or equal to the limit of "+limit.String())}
	}
	return nil
}

// overcommits reports whether more of the resource may be promised than there is.
func overcommits(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") && !hugePages(name)
}
