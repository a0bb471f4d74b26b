package manifests_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/edged-project/edged/metaclient/manifests"
	"github.com/edged-project/edged/metaclient/metatest"
)

// world is a folder with a file for each object.
type world struct {
	*manifests.Source
	dir string
}

func (w world) Set(t *testing.T, pods []*corev1.Pod, objects []metav1.Object) {
	want := map[string]string{}
	add := func(kind string, o metav1.Object) {
		data, err := yaml.Marshal(o)
		require.NoError(t, err)
		want[kind+"-"+o.GetName()+".yaml"] = string(data)
	}
	for _, pod := range pods {
		add("pod", pod)
	}
	for _, o := range objects {
		if _, ok := o.(*corev1.Secret); ok {
			add("secret", o)
			continue
		}
		add("configmap", o)
	}
	old, err := os.ReadDir(w.dir)
	require.NoError(t, err)
	for _, file := range old {
		if _, ok := want[file.Name()]; !ok {
			require.NoError(t, os.Remove(filepath.Join(w.dir, file.Name())))
		}
	}
	for name, content := range want {
		write(t, w.dir, name, content)
	}
}

func TestFolderConforms(t *testing.T) {
	metatest.Conform(t, func(t *testing.T) metatest.World {
		dir := t.TempDir()
		return world{manifests.New(dir, byNotification), dir}
	})
}
