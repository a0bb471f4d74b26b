package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateLife checks probes and hooks, which only containers have that are
// there to stay.
func validateLife(spec *corev1.PodSpec, c located) field.ErrorList {
	if c.kind == regular || c.sidecar() {
		errs := validateHooks(spec, c)
		errs = append(errs, validateProbe(c.LivenessProbe, c.path.Child("livenessProbe"), true)...)
		errs = append(errs, validateProbe(c.StartupProbe, c.path.Child("startupProbe"), true)...)
		return append(errs, validateReadiness(c.ReadinessProbe, c.path.Child("readinessProbe"))...)
	}
	var errs field.ErrorList
	forbid := func(name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(c.path.Child(name), "may not be set for this kind of container"))
		}
	}
	forbid("lifecycle", c.Lifecycle != nil)
	forbid("livenessProbe", c.LivenessProbe != nil)
	forbid("readinessProbe", c.ReadinessProbe != nil)
	forbid("startupProbe", c.StartupProbe != nil)
	if c.kind == ephemeral {
		forbid("ports", len(c.Ports) > 0)
		forbid("resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0)
		forbid("resizePolicy", len(c.ResizePolicy) > 0)
		forbid("restartPolicy", c.RestartPolicy != nil)
	}
	return errs
}

func validateReadiness(probe *corev1.Probe, path *field.Path) field.ErrorList {
	errs := validateProbe(probe, path, false)
	if probe != nil && probe.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("terminationGracePeriodSeconds"), "a readiness probe ends nothing"))
	}
	return errs
}

// validateProbe checks a probe. One whose failure ends the container (kills)
// has succeeded once it succeeds.
func validateProbe(probe *corev1.Probe, path *field.Path, kills bool) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := exactlyOne(path, "one handler", map[string]bool{
		"exec":      probe.Exec != nil,
		"httpGet":   probe.HTTPGet != nil,
		"tcpSocket": probe.TCPSocket != nil,
		"grpc":      probe.GRPC != nil,
	})
	errs = append(errs, validateHandler(probe.Exec, probe.HTTPGet, probe.TCPSocket, path)...)
	if probe.GRPC != nil {
		errs = append(errs, portNumber(path.Child("grpc", "port"), probe.GRPC.Port)...)
	}
	errs = append(errs, validateTiming(probe, path)...)
	if kills && probe.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), probe.SuccessThreshold, "must be 1"))
	}
	if grace := probe.TerminationGracePeriodSeconds; grace != nil && *grace <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *grace, "must be greater than 0"))
	}
	return errs
}

func validateTiming(probe *corev1.Probe, path *field.Path) field.ErrorList {
	errs := apivalidation.ValidateNonnegativeField(int64(probe.InitialDelaySeconds), path.Child("initialDelaySeconds"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(probe.TimeoutSeconds), path.Child("timeoutSeconds"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(probe.PeriodSeconds), path.Child("periodSeconds"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(probe.SuccessThreshold), path.Child("successThreshold"))...)
	return append(errs, apivalidation.ValidateNonnegativeField(int64(probe.FailureThreshold), path.Child("failureThreshold"))...)
}

func validateHooks(spec *corev1.PodSpec, c located) field.ErrorList {
	if c.Lifecycle == nil {
		return nil
	}
	path := c.path.Child("lifecycle")
	errs := validateHook(spec, c.Lifecycle.PostStart, path.Child("postStart"))
	errs = append(errs, validateHook(spec, c.Lifecycle.PreStop, path.Child("preStop"))...)
	if _, err := stopSignal(c); err != nil {
		errs = append(errs, field.Invalid(path.Child("stopSignal"), *c.Lifecycle.StopSignal, "is no signal"))
	}
	return errs
}

func validateHook(spec *corev1.PodSpec, hook *corev1.LifecycleHandler, path *field.Path) field.ErrorList {
	if hook == nil {
		return nil
	}
	errs := exactlyOne(path, "one handler", map[string]bool{
		"exec":      hook.Exec != nil,
		"httpGet":   hook.HTTPGet != nil,
		"tcpSocket": hook.TCPSocket != nil,
		"sleep":     hook.Sleep != nil,
	})
	errs = append(errs, validateHandler(hook.Exec, hook.HTTPGet, hook.TCPSocket, path)...)
	if hook.Sleep != nil {
		seconds := hook.Sleep.Seconds
		if seconds < 0 || seconds > deref(spec.TerminationGracePeriodSeconds) {
			errs = append(errs, field.Invalid(path.Child("sleep", "seconds"), seconds, "must be between 0 and terminationGracePeriodSeconds"))
		}
	}
	return errs
}

// validateHandler checks the handlers that probes and hooks have in common.
func validateHandler(exec *corev1.ExecAction, get *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if exec != nil && len(exec.Command) == 0 {
		errs = append(errs, field.Required(path.Child("exec", "command"), ""))
	}
	if get != nil {
		errs = append(errs, validateHTTPGet(get, path.Child("httpGet"))...)
	}
	if tcp != nil {
		errs = append(errs, validatePortOrName(tcp.Port, path.Child("tcpSocket", "port"))...)
	}
	return errs
}

func validateHTTPGet(get *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	errs := required(path.Child("path"), get.Path)
	errs = append(errs, validatePortOrName(get.Port, path.Child("port"))...)
	errs = append(errs, oneOf(path.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for i, header := range get.HTTPHeaders {
		name := path.Child("httpHeaders").Index(i).Child("name")
		errs = append(errs, invalid(name, header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

func validatePortOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return portNumber(path, port.IntVal)
	}
	return invalid(path, port.StrVal, validation.IsValidPortName(port.StrVal))
}
