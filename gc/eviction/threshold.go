package eviction

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Value is an amount, or a share of what there is when Percent is not zero.
type Value struct {
	// Amount in bytes, inodes or processes.
	Amount int64
	// Percent of the capacity, up to 100.
	Percent float64
}

// of is the value as an amount, where there is so much.
func (v Value) of(capacity int64) int64 {
	if v.Percent == 0 {
		return v.Amount
	}
	return int64(float64(capacity) * v.Percent / 100)
}

// Threshold is how much has to be left.
type Threshold struct {
	Signal Signal
	// Value below which too little is left.
	Value Value
	// Grace is how long there may be too little before a pod is evicted, which then
	// gets time to end (a soft threshold). Zero is a hard one: a pod is ended at once.
	Grace time.Duration
	// MinReclaim is how much more than Value has to be left again before the
	// threshold is over. Zero means no more.
	MinReclaim Value
}

// DefaultHard returns the hard thresholds of the kubelet on Linux.
func DefaultHard() []Threshold {
	return []Threshold{
		{Signal: MemoryAvailable, Value: Value{Amount: 100 << 20}},
		{Signal: NodeFsAvailable, Value: Value{Percent: 10}},
		{Signal: NodeFsInodesFree, Value: Value{Percent: 5}},
		{Signal: ImageFsAvailable, Value: Value{Percent: 15}},
		{Signal: ImageFsInodesFree, Value: Value{Percent: 5}},
	}
}

// ParseThresholds reads hard thresholds as in the kubelet's flag --eviction-hard:
// "memory.available<100Mi,nodefs.available<10%". The empty string has none, and a signal
// with 0% or 100% has no threshold. An error names the part that is wrong.
func ParseThresholds(text string) ([]Threshold, error) {
	var thresholds []Threshold
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		threshold, err := parseThreshold(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("eviction threshold %q: %w", part, err)
		}
		if slices.ContainsFunc(thresholds, func(t Threshold) bool { return t.Signal == threshold.Signal }) {
			return nil, fmt.Errorf("eviction threshold %q: there is one for %s already", part, threshold.Signal)
		}
		if threshold.Value != (Value{}) {
			thresholds = append(thresholds, threshold)
		}
	}
	return thresholds, nil
}

// parseThreshold returns a threshold without a value for a share that is none.
func parseThreshold(text string) (Threshold, error) {
	name, value, found := strings.Cut(text, "<")
	if !found {
		return Threshold{}, fmt.Errorf("want signal<value, as in %s<100Mi", MemoryAvailable)
	}
	signal := Signal(strings.TrimSpace(name))
	if !slices.Contains(signals, signal) {
		return Threshold{}, fmt.Errorf("unknown signal %q, want one of %v", signal, signals)
	}
	value = strings.TrimSpace(value)
	if value == "0%" || value == "100%" {
		return Threshold{Signal: signal}, nil
	}
	parsed, err := ParseValue(value)
	return Threshold{Signal: signal, Value: parsed}, err
}

// maxQuantity is the longest quantity that is parsed: the parser takes hours for some
// longer ones.
const maxQuantity = 24

// ParseValue reads a quantity such as 100Mi, or a share such as 10%.
func ParseValue(text string) (Value, error) {
	if share, found := strings.CutSuffix(text, "%"); found {
		percent, err := strconv.ParseFloat(share, 64)
		if err != nil || math.IsNaN(percent) || percent <= 0 || percent > 100 {
			return Value{}, fmt.Errorf("%q is not a share of more than 0%% and up to 100%%", text)
		}
		return Value{Percent: percent}, nil
	}
	if len(text) > maxQuantity || strings.ContainsAny(text, "eE") && !strings.HasSuffix(text, "E") && !strings.HasSuffix(text, "Ei") {
		return Value{}, fmt.Errorf("%q is not a quantity such as 100Mi", text)
	}
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return Value{}, fmt.Errorf("%q is not a quantity such as 100Mi: %w", text, err)
	}
	if quantity.Sign() <= 0 {
		return Value{}, fmt.Errorf("%q is not more than 0", text)
	}
	return Value{Amount: quantity.Value()}, nil
}

// Validate returns an error that names the first threshold that is not valid.
func Validate(thresholds []Threshold) error {
	for _, t := range thresholds {
		switch {
		case !slices.Contains(signals, t.Signal):
			return fmt.Errorf("eviction threshold: unknown signal %q", t.Signal)
		case t.Value.Amount < 0 || t.Value.Percent < 0 || t.Value.Percent > 100 || t.Value == Value{}:
			return fmt.Errorf("eviction threshold of %s: value %+v is not valid", t.Signal, t.Value)
		case t.MinReclaim.Amount < 0 || t.MinReclaim.Percent < 0 || t.MinReclaim.Percent > 100:
			return fmt.Errorf("eviction threshold of %s: minimum reclaim %+v is not valid", t.Signal, t.MinReclaim)
		case t.Grace < 0:
			return fmt.Errorf("eviction threshold of %s: grace %v is negative", t.Signal, t.Grace)
		}
	}
	return nil
}
