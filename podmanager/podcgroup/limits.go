package podcgroup

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// unlimited is the amount of a knob that does not limit.
const unlimited = math.MaxInt64

// knob is a file of a cgroup and what it is to hold.
type knob struct {
	controller string
	file       string
	amount     int64
	// bound: the amount is a limit, which must not be lowered while containers have
	// more.
	bound bool
	// suffix is written behind the amount.
	suffix string
}

// knobs are what limits a pod.
func (l *layout) knobs(want *runtimeapi.LinuxContainerResources) []knob {
	quota, limit := orUnlimited(want.CpuQuota), orUnlimited(want.MemoryLimitInBytes)
	if limit != unlimited {
		limit -= limit % int64(os.Getpagesize()) // as the kernel does
	}
	knobs := []knob{l.weight(want.CpuShares)}
	if l.unified {
		return append(knobs,
			knob{controller: cpu, file: "cpu.max", amount: quota, bound: true, suffix: fmt.Sprintf(" %d", want.CpuPeriod)},
			knob{controller: memory, file: "memory.max", amount: limit, bound: true})
	}
	return append(knobs,
		knob{controller: cpu, file: "cpu.cfs_period_us", amount: want.CpuPeriod},
		knob{controller: cpu, file: "cpu.cfs_quota_us", amount: quota, bound: true},
		knob{controller: memory, file: "memory.limit_in_bytes", amount: limit, bound: true})
}

// weight is what a cgroup counts beside its siblings when CPUs are contended.
func (l *layout) weight(shares int64) knob {
	if l.unified {
		return knob{controller: cpu, file: "cpu.weight", amount: weight(shares)}
	}
	return knob{controller: cpu, file: "cpu.shares", amount: shares}
}

// hugePages limits each page size that the cgroup dir knows, to nothing unless
// the pod has some (KEP-1539).
func (l *layout) hugePages(dir string, want *runtimeapi.LinuxContainerResources) []knob {
	suffix := ".limit_in_bytes"
	if l.unified {
		suffix = ".max"
	}
	files, _ := filepath.Glob(filepath.Join(dir, hugetlb+".*"+suffix)) // the pattern is right
	var knobs []knob
	for _, file := range files {
		file = filepath.Base(file)
		size := strings.TrimSuffix(strings.TrimPrefix(file, hugetlb+"."), suffix)
		if strings.Contains(size, ".") {
			continue // what is reserved
		}
		k := knob{controller: hugetlb, file: file, bound: true}
		if i := slices.IndexFunc(want.HugepageLimits, func(l *runtimeapi.HugepageLimit) bool { return l.PageSize == size }); i >= 0 {
			k.amount = int64(min(want.HugepageLimits[i].Limit, unlimited))
		}
		knobs = append(knobs, k)
	}
	return knobs
}

func orUnlimited(limit int64) int64 {
	if limit <= 0 {
		return unlimited
	}
	return limit
}

const (
	minShares = 2
	maxShares = 262144
	maxWeight = 10000
)

// weight turns CPU shares of cgroup v1 into the CPU weight of v2, as runtimes do
// it since runc 1.3.2: the least, the default of 1024 and the most are the same
// in both.
func weight(shares int64) int64 {
	switch {
	case shares <= minShares:
		return 1
	case shares >= maxShares:
		return maxWeight
	}
	l := math.Log2(float64(shares))
	return int64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// text is the content of the file.
func (k knob) text() string {
	switch {
	case k.amount != unlimited:
		return strconv.FormatInt(k.amount, 10) + k.suffix
	case strings.HasSuffix(k.file, ".max"):
		return "max" + k.suffix
	default:
		return "-1"
	}
}

// parseAmount reads the amount that a file holds. The kernel tells a limit of
// none as max, -1, or more than any machine has.
func parseAmount(content string) (int64, error) {
	fields := strings.Fields(content)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no amount in %q", content)
	}
	if fields[0] == "max" {
		return unlimited, nil
	}
	amount, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("no amount in %q", content)
	}
	if amount < 0 || amount >= math.MaxInt64/2 {
		return unlimited, nil
	}
	return amount, nil
}
