package podspec

import (
	"math"

	"k8s.io/apimachinery/pkg/api/resource"
)

// bounded reports whether the quantity fits 64 bits. One like 1e2000000000 is
// easily written, and to compare or round it takes hours.
func bounded(quantity resource.Quantity) bool {
	return math.Abs(quantity.AsApproximateFloat64()) < math.MaxInt64
}

// value is the quantity rounded up, cut to what 64 bits hold.
func value(quantity resource.Quantity) int64 {
	if bounded(quantity) {
		return quantity.Value()
	}
	return int64(quantity.Sign()) * math.MaxInt64
}

// mostMilliCPU can be multiplied with any factor of this package.
const mostMilliCPU = math.MaxInt64 / 1000 / cpuPeriod

// milliValue is the quantity in thousandths, cut to mostMilliCPU.
func milliValue(quantity resource.Quantity) int64 {
	if quantity.AsApproximateFloat64() > mostMilliCPU/1000 {
		return mostMilliCPU
	}
	if !bounded(quantity) {
		return -mostMilliCPU
	}
	return quantity.MilliValue()
}
