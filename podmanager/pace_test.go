package podmanager

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestEffectiveGrace(t *testing.T) {
	seconds := func(s int64) *int64 { return &s }
	tests := map[string]struct {
		spec, deletion *int64
		want           time.Duration
	}{
		"nothing said":            {nil, nil, 30 * time.Second},
		"spec":                    {seconds(45), nil, 45 * time.Second},
		"deletion over spec":      {seconds(45), seconds(5), 5 * time.Second},
		"longer deletion":         {seconds(45), seconds(120), 120 * time.Second},
		"deletion without spec":   {nil, seconds(7), 7 * time.Second},
		"force delete":            {seconds(45), seconds(0), time.Second},
		"spec zero":               {seconds(0), nil, time.Second},
		"negative":                {seconds(-5), nil, time.Second},
		"more than can be waited": {seconds(math.MaxInt64), nil, math.MaxInt64 / time.Second * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.Spec.TerminationGracePeriodSeconds = tt.spec
			pod.DeletionGracePeriodSeconds = tt.deletion
			assert.Equal(t, tt.want, effectiveGrace(pod))
		})
	}
}

func TestRestAfterSync(t *testing.T) {
	cfg := Config{}.withDefaults()
	now := time.Unix(1000, 0)
	broken := errors.New("broken")
	at := func(d time.Duration) Result { return Result{RetryAt: now.Add(d)} }
	tests := map[string]struct {
		res     Result
		err     error
		hurried int
		random  float64
		want    rest
	}{
		"resync":                          {want: rest{0, time.Minute}},
		"resync, jittered":                {random: 0.5, want: rest{0, 75 * time.Second}},
		"retry is exact":                  {res: at(20 * time.Second), random: 0.9, want: rest{0, 20 * time.Second}},
		"retry after resync":              {res: at(time.Hour), want: rest{0, time.Minute}},
		"retry at once":                   {res: at(0), want: rest{0, 0}},
		"retry was due":                   {res: at(-time.Hour), want: rest{0, 0}},
		"retry at once, again":            {res: at(0), hurried: 3, want: rest{400 * time.Millisecond, 400 * time.Millisecond}},
		"retry at once, for ever":         {res: at(0), hurried: 1e9, want: rest{10 * time.Second, 10 * time.Second}},
		"error":                           {err: broken, want: rest{0, 10 * time.Second}},
		"error, jittered":                 {err: broken, random: 0.5, want: rest{0, 12500 * time.Millisecond}},
		"error, woken once":               {err: broken, hurried: 1, want: rest{100 * time.Millisecond, 10 * time.Second}},
		"error, woken for ever":           {err: broken, hurried: 1e9, want: rest{10 * time.Second, 10 * time.Second}},
		"error with retry":                {res: at(time.Second), err: broken, want: rest{0, time.Second}},
		"error with a late retry":         {res: at(40 * time.Second), err: broken, want: rest{0, 40 * time.Second}},
		"error with retry, woken often":   {res: at(time.Second), err: broken, hurried: 6, want: rest{3200 * time.Millisecond, 3200 * time.Millisecond}},
		"error with retry that was due":   {res: at(-1), err: broken, want: rest{0, 0}},
		"success with retry, woken often": {res: at(time.Second), hurried: 6, want: rest{0, time.Second}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, cfg.afterSync(now, tt.res, tt.err, tt.hurried, tt.random))
		})
	}
}

func TestRestAfterKill(t *testing.T) {
	cfg := Config{}.withDefaults()
	for failures, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 7: 6400 * time.Millisecond, 8: 10 * time.Second, 1e9: 10 * time.Second,
	} {
		assert.Equal(t, rest{want, want}, cfg.afterKill(failures, 0))
		assert.Equal(t, rest{want * 3 / 2, want * 3 / 2}, cfg.afterKill(failures, 1))
	}
}

func TestConfigIsKept(t *testing.T) {
	cfg := Config{Resync: 3, ErrorBackoff: 2, HousekeepingPeriod: 1}.withDefaults()
	assert.Equal(t, []time.Duration{3, 2, 1}, []time.Duration{cfg.Resync, cfg.ErrorBackoff, cfg.HousekeepingPeriod})
	assert.Equal(t, rest{0, 2}, cfg.afterSync(time.Now(), Result{}, errors.New("broken"), 0, 0))
	assert.Equal(t, rest{2, 2}, cfg.afterKill(5, 0), "the cap holds for the first step too")
}

func TestGateLetsOneOfANameInAtATime(t *testing.T) {
	g := make(gate)
	g.join("web", "b")
	g.join("web", "c")
	g.joinFirst("web", "a") // it runs already
	g.join("db", "x")
	g.join("web", "b") // it has its place
	assert.True(t, g.first("web", "a"))
	assert.False(t, g.first("web", "b"))
	assert.True(t, g.first("db", "x"))
	assert.False(t, g.first("nobody", "x"))

	steps := []struct {
		leaves, then types.UID
		ok           bool
	}{
		{"b", "a", true}, // out of the middle
		{"b", "a", true}, // not there any more
		{"a", "c", true},
		{"c", "", false},
		{"c", "", false}, // from an empty queue
	}
	for _, s := range steps {
		then, ok := g.leave("web", s.leaves)
		assert.Equal(t, s.then, then)
		assert.Equal(t, s.ok, ok)
	}
	assert.Equal(t, gate{"db": {"x"}}, g, "an empty queue is dropped")
}

func TestOldestFirst(t *testing.T) {
	pod := func(uid types.UID, second int64) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
		if second > 0 {
			p.CreationTimestamp = metav1.Unix(second, 0)
		}
		return p
	}
	var uids []types.UID
	for _, p := range oldestFirst([]*corev1.Pod{pod("c", 30), pod("a1", 10), pod("none", 0), pod("a2", 10), pod("b", 20)}) {
		uids = append(uids, p.UID)
	}
	assert.Equal(t, []types.UID{"none", "a1", "a2", "b", "c"}, uids)
}
