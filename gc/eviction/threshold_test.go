package eviction_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/gc/eviction"
)

func TestThresholdsAreReadAsTheKubeletReadsThem(t *testing.T) {
	got, err := eviction.ParseThresholds("memory.available<100Mi, nodefs.inodesFree<5%,pid.available<1k")
	require.NoError(t, err)
	assert.Equal(t, []eviction.Threshold{
		{Signal: eviction.MemoryAvailable, Value: eviction.Value{Amount: 100 << 20}},
		{Signal: eviction.NodeFsInodesFree, Value: eviction.Value{Percent: 5}},
		{Signal: eviction.PIDAvailable, Value: eviction.Value{Amount: 1000}},
	}, got)
	got, err = eviction.ParseThresholds("imagefs.available<0%,nodefs.available<100%,memory.available<1Mi")
	require.NoError(t, err)
	assert.Equal(t, []eviction.Threshold{{Signal: eviction.MemoryAvailable, Value: eviction.Value{Amount: 1 << 20}}}, got, "a share of 0% or 100% is none")
	got, err = eviction.ParseThresholds(" ")
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestBadThresholdsNameWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"memory.available>1Mi":                         `eviction threshold "memory.available>1Mi": want signal<value`,
		"memory.free<1Mi":                              `eviction threshold "memory.free<1Mi": unknown signal "memory.free"`,
		"memory.available<lots":                        `"lots" is not a quantity such as 100Mi`,
		"memory.available<0":                           `"0" is not more than 0`,
		"memory.available<-1Mi":                        `"-1Mi" is not more than 0`,
		"memory.available<1e999999999":                 `"1e999999999" is not a quantity`,
		"nodefs.available<101%":                        `"101%" is not a share`,
		"nodefs.available<-1%":                         `"-1%" is not a share`,
		"nodefs<0%":                                    `unknown signal "nodefs"`,
		"nodefs.available<NaN%":                        `"NaN%" is not a share`,
		"memory.available<1Mi,":                        `eviction threshold ""`,
		"memory.available<1Mi,memory.available<2Mi":    `there is one for memory.available already`,
		"nodefs.available<10%,imagefs.available<five%": `eviction threshold "imagefs.available<five%"`,
	} {
		_, err := eviction.ParseThresholds(text)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestThresholdsAreValidated(t *testing.T) {
	valid := eviction.Threshold{Signal: eviction.MemoryAvailable, Value: eviction.Value{Amount: 1}}
	require.NoError(t, eviction.Validate([]eviction.Threshold{valid}))
	require.NoError(t, eviction.Validate(eviction.DefaultHard()))
	for want, change := range map[string]func(*eviction.Threshold){
		"unknown signal":        func(t *eviction.Threshold) { t.Signal = "x" },
		"value":                 func(t *eviction.Threshold) { t.Value = eviction.Value{} },
		"value {Amount:0":       func(t *eviction.Threshold) { t.Value = eviction.Value{Percent: 101} },
		"minimum reclaim":       func(t *eviction.Threshold) { t.MinReclaim.Amount = -1 },
		"grace -1s is negative": func(t *eviction.Threshold) { t.Grace = -time.Second },
	} {
		bad := valid
		change(&bad)
		assert.ErrorContains(t, eviction.Validate([]eviction.Threshold{bad}), want)
		assert.Error(t, eviction.New(nil, nil, eviction.Config{Thresholds: []eviction.Threshold{bad}}).Run(t.Context()))
	}
}

func FuzzParseThresholds(f *testing.F) {
	f.Add("memory.available<100Mi,nodefs.available<10%")
	f.Add("imagefs.available<1e999,")
	f.Fuzz(func(t *testing.T, text string) {
		thresholds, err := eviction.ParseThresholds(text)
		if err == nil {
			require.NoError(t, eviction.Validate(thresholds), text)
		}
	})
}
