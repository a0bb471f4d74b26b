package pleg

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func TestNewListingGroupsByPodAndKeepsEachIDOnce(t *testing.T) {
	of := func(uid string) map[string]string { return map[string]string{cri.LabelPodUID: uid} }
	all := newListing(
		[]*runtimeapi.PodSandbox{
			{Id: "s2", Labels: of("b"), State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY},
			{Id: "x"},
			{Id: "s1", Labels: of("a")},
		},
		[]*runtimeapi.Container{
			{Id: "c1", PodSandboxId: "s1", Labels: of("a"), State: runtimeapi.ContainerState_CONTAINER_RUNNING},
			nil,
			{Id: "c0", PodSandboxId: "s1", Labels: of("a"), State: runtimeapi.ContainerState_CONTAINER_EXITED},
			{Id: "c1", PodSandboxId: "s1", Labels: of("a"), State: runtimeapi.ContainerState_CONTAINER_RUNNING},
			{Id: "c1", Labels: of("c")},
		})

	got := map[types.UID][]record{}
	for uid, part := range all.byPod() {
		got[uid] = part.records()
	}

	assert.Equal(t, map[types.UID][]record{
		"a": {
			{id: "s1", sandbox: true, phase: running},
			{id: "c0", sandboxID: "s1", phase: exited},
			{id: "c1", sandboxID: "s1", phase: running},
		},
		"b": {{id: "s2", sandbox: true, phase: exited}},
		"c": {{id: "c1", phase: created}},
	}, got)
	assert.Equal(t, got["b"], all.pod("b").records())
	assert.Empty(t, all.pod("d"))
	assert.Empty(t, all.pod(""))
}

func TestIsNews(t *testing.T) {
	tests := map[string]struct {
		before, after phase
		news          bool
	}{
		"absent to created":  {absent, created, false},
		"absent to running":  {absent, running, true},
		"absent to exited":   {absent, exited, true},
		"absent to unknown":  {absent, unknown, true},
		"created to running": {created, running, true},
		"created to absent":  {created, absent, true},
		"running to exited":  {running, exited, true},
		"running to unknown": {running, unknown, true},
		"running to absent":  {running, absent, true},
		"unknown to absent":  {unknown, absent, true},
		"exited to absent":   {exited, absent, false},
		"exited to exited":   {exited, exited, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// Around a quiet one on each side, as the walk must find its way.
			around := []phase{running, absent, exited}
			before, after := slices.Clone(around), slices.Clone(around)
			before[1], after[1] = test.before, test.after

			assert.Equal(t, test.news, isNews(recordsOf(before), recordsOf(after)))
		})
	}
	assert.True(t, isNews(nil, recordsOf([]phase{created})), "a pod that was unknown is always told")
	assert.False(t, isNews(nil, nil))
}

// absent is the phase of what is not there.
const absent = exited + 1

// recordsOf makes a record for each phase, whose ID is its index.
func recordsOf(phases []phase) []record {
	var records []record
	for i, p := range phases {
		if p != absent {
			records = append(records, record{id: string(rune('a' + i)), sandbox: i < 2, phase: p})
		}
	}
	return records
}

// FuzzIsNews compares the walk over two ordered lists with look-ups in two maps.
func FuzzIsNews(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4}, []byte{4, 3, 2, 1, 0})
	f.Add([]byte{2, 4}, []byte{2, 2})
	f.Fuzz(func(t *testing.T, before, after []byte) {
		b, a := recordsOf(phasesOf(before)), recordsOf(phasesOf(after))
		assert.Equal(t, isNewsByMaps(b, a), isNews(b, a))
	})
}

func phasesOf(data []byte) []phase {
	phases := make([]phase, len(data))
	for i, b := range data {
		phases[i] = phase(b % byte(absent+1))
	}
	return phases
}

func isNewsByMaps(before, after []record) bool {
	byID := func(records []record) map[string]phase {
		phases := map[string]phase{}
		for _, r := range records {
			phases[r.id] = r.phase
		}
		return phases
	}
	b, a := byID(before), byID(after)
	if len(b) == 0 {
		return len(a) > 0
	}
	ids := maps.Clone(b)
	maps.Copy(ids, a)
	for id := range ids {
		was, had := b[id]
		is, has := a[id]
		switch {
		case had && has && was != is, had && !has && was != exited, !had && has && is != created:
			return true
		}
	}
	return false
}
