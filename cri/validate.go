package cri

import (
	"errors"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// notEmpty passes on what a runtime must not leave empty.
func notEmpty(value, what, field string) (string, error) {
	if value == "" {
		return "", fmt.Errorf("%s: runtime returned an empty %s", what, field)
	}
	return value, nil
}

func checkVersion(version *runtimeapi.VersionResponse) error {
	return complete("version",
		field{"version", version.GetVersion() != ""},
		field{"runtime name", version.GetRuntimeName() != ""},
		field{"runtime API version", version.GetRuntimeApiVersion() != ""},
		field{"runtime version", version.GetRuntimeVersion() != ""})
}

func checkSandboxStatus(status *runtimeapi.PodSandboxStatus) error {
	return complete("sandbox status",
		field{"ID", status.GetId() != ""},
		field{"metadata", status.GetMetadata() != nil},
		field{"metadata name", status.GetMetadata().GetName() != ""},
		field{"metadata namespace", status.GetMetadata().GetNamespace() != ""},
		field{"metadata UID", status.GetMetadata().GetUid() != ""},
		field{"creation time", status.GetCreatedAt() != 0})
}

func checkContainerStatus(status *runtimeapi.ContainerStatus) error {
	return complete("container status",
		field{"ID", status.GetId() != ""},
		field{"metadata", status.GetMetadata() != nil},
		field{"metadata name", status.GetMetadata().GetName() != ""},
		field{"creation time", status.GetCreatedAt() != 0},
		field{"image", status.GetImage().GetImage() != ""},
		field{"image reference", status.GetImageRef() != ""})
}

func checkRuntimeStatus(status *runtimeapi.RuntimeStatus) error {
	has := map[string]bool{}
	for _, condition := range status.GetConditions() {
		has[condition.GetType()] = true
	}
	return complete("runtime status",
		field{"condition " + runtimeapi.RuntimeReady, has[runtimeapi.RuntimeReady]},
		field{"condition " + runtimeapi.NetworkReady, has[runtimeapi.NetworkReady]})
}

type field struct {
	name    string
	present bool
}

// complete names the fields that a runtime left out.
func complete(what string, fields ...field) error {
	var missing []error
	for _, f := range fields {
		if !f.present {
			missing = append(missing, fmt.Errorf("runtime returned a %s without %s", what, f.name))
		}
	}
	return errors.Join(missing...)
}
