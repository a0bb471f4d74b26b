package eviction

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

var began = time.Unix(1_000_000, 0)

// signalsOf are those of thresholds.
func signalsOf(due []Threshold) []Signal {
	var names []Signal
	for _, t := range due {
		names = append(names, t.Signal)
	}
	return names
}

func left(available int64) map[Signal]Amount {
	return map[Signal]Amount{MemoryAvailable: {Available: available, Capacity: 1000}}
}

func TestAThresholdIsMetWhenLessIsLeft(t *testing.T) {
	for name, row := range map[string]struct {
		value     Value
		available int64
		want      bool
	}{
		"more":          {Value{Amount: 100}, 101, false},
		"as much":       {Value{Amount: 100}, 100, false},
		"less":          {Value{Amount: 100}, 99, true},
		"a bigger part": {Value{Percent: 10}, 100, false},
		"a lesser part": {Value{Percent: 10}, 99, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPressure([]Threshold{{Signal: MemoryAvailable, Value: row.value}}, time.Minute)
			assert.Equal(t, row.want, len(p.observe(left(row.available), began)) == 1)
		})
	}
}

func TestWhatIsNotMeasuredIsEnough(t *testing.T) {
	p := newPressure(DefaultHard(), time.Minute)
	assert.Empty(t, p.observe(nil, began))
	assert.Equal(t, corev1.ConditionFalse, p.reported[0].Status)
}

func TestMemoryComesFirst(t *testing.T) {
	p := newPressure([]Threshold{
		{Signal: PIDAvailable, Value: Value{Amount: 10}},
		{Signal: ImageFsAvailable, Value: Value{Amount: 10}},
		{Signal: MemoryAvailable, Value: Value{Amount: 10}},
		{Signal: NodeFsAvailable, Value: Value{Amount: 10}},
	}, time.Minute)
	due := p.observe(map[Signal]Amount{PIDAvailable: {}, ImageFsAvailable: {}, MemoryAvailable: {}, NodeFsAvailable: {Available: 11}}, began)
	assert.Equal(t, []Signal{MemoryAvailable, ImageFsAvailable, PIDAvailable}, signalsOf(due))
}

func TestASoftThresholdHasToLast(t *testing.T) {
	p := newPressure([]Threshold{{Signal: MemoryAvailable, Value: Value{Amount: 100}, Grace: time.Minute}}, time.Minute)
	assert.Empty(t, p.observe(left(50), began))
	assert.Equal(t, corev1.ConditionTrue, p.reported[0].Status, "the condition does not wait")
	assert.Empty(t, p.observe(left(50), began.Add(59*time.Second)))
	assert.Len(t, p.observe(left(50), began.Add(60*time.Second)), 1)
	assert.Empty(t, p.observe(left(150), began.Add(61*time.Second)))
	assert.Empty(t, p.observe(left(50), began.Add(62*time.Second)), "it begins anew")
}

func TestAThresholdIsOverOnlyWithItsMinimumReclaim(t *testing.T) {
	p := newPressure([]Threshold{{Signal: MemoryAvailable, Value: Value{Amount: 100}, MinReclaim: Value{Percent: 5}}}, time.Minute)
	assert.Empty(t, p.observe(left(149), began), "that it was never met")
	assert.Len(t, p.observe(left(99), began), 1)
	assert.Len(t, p.observe(left(149), began), 1)
	assert.Empty(t, p.observe(left(150), began))
	assert.Empty(t, p.observe(left(149), began))
}

func TestAConditionStaysForTheTransitionPeriod(t *testing.T) {
	p := newPressure([]Threshold{{Signal: MemoryAvailable, Value: Value{Amount: 100}}}, 5*time.Minute)
	at := func(after time.Duration, available int64) corev1.NodeCondition {
		p.observe(left(available), began.Add(after))
		assert.Equal(t, []corev1.NodeConditionType{"MemoryPressure", "DiskPressure", "PIDPressure"},
			[]corev1.NodeConditionType{p.reported[0].Type, p.reported[1].Type, p.reported[2].Type})
		return p.reported[0]
	}
	assert.Equal(t, "KubeletHasSufficientMemory", at(0, 200).Reason)
	low := at(time.Minute, 50)
	assert.Equal(t, "KubeletHasInsufficientMemory", low.Reason)
	assert.Equal(t, began.Add(time.Minute), low.LastTransitionTime.Time)
	assert.Equal(t, corev1.ConditionTrue, at(5*time.Minute+59*time.Second, 200).Status)
	assert.Equal(t, began.Add(time.Minute), at(5*time.Minute+59*time.Second, 200).LastTransitionTime.Time)
	assert.Equal(t, corev1.ConditionFalse, at(6*time.Minute, 200).Status)
}

// Only what has been acted upon has to be exceeded by more: a soft threshold that was
// met for less than its grace was not.
func TestTheMinimumReclaimIsOfNoAccountBeforeTheGraceOfASoftThresholdIsOver(t *testing.T) {
	p := newPressure([]Threshold{
		{Signal: MemoryAvailable, Value: Value{Amount: 100}, MinReclaim: Value{Amount: 50}, Grace: time.Minute},
	}, time.Minute)
	assert.Empty(t, p.observe(left(99), began))
	assert.Empty(t, p.observe(left(120), began.Add(10*time.Second)))
	assert.Empty(t, p.observe(left(120), began.Add(2*time.Minute)), "it was short for a moment")
	assert.Empty(t, p.observe(left(99), began.Add(3*time.Minute)))
	assert.Len(t, p.observe(left(99), began.Add(4*time.Minute)), 1)
	assert.Len(t, p.observe(left(120), began.Add(5*time.Minute)), 1, "now there has to be more")
	assert.Empty(t, p.observe(left(150), began.Add(6*time.Minute)))
}
