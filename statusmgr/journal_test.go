package statusmgr

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// The tables beside the records must not outgrow them, which cannot be seen
// from outside.
func TestJournalKnowsNothingThatNoRecordIsAbout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := newJournal(rapid.IntRange(1, 8).Draw(t, "capacity"), corev1.EventSource{})
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		for range rapid.IntRange(0, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(-60, 900).Draw(t, "seconds")) * time.Second)
			about := &corev1.ObjectReference{Name: fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "pod"))}
			j.add(about, "Normal", fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "reason")), fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "message")), now)

			groups, subjects := map[groupKey]int{}, map[subjectKey]int{}
			for r := range j.all {
				groups[r.key.group]++
				subjects[r.key.group.subject]++
				require.Same(t, r, j.byKey[r.key].Value)
			}
			require.LessOrEqual(t, j.records.Len(), j.capacity)
			require.Len(t, j.byKey, j.records.Len())
			require.Len(t, j.groups, len(groups))
			require.Len(t, j.subjects, len(subjects))
			for key, count := range groups {
				require.Equal(t, count, j.groups[key].records)
			}
			for key, count := range subjects {
				require.Equal(t, count, j.subjects[key].records)
			}
		}
	})
}
