package podcgroup

// NewOn returns a Manager whose directories a fake kernel makes.
func NewOn(k kernel, rt Runtime, cfg Config) *Manager {
	m := New(rt, cfg)
	m.kernel = k
	return m
}

// Weight is weight, for tests.
func Weight(shares int64) int64 { return weight(shares) }

// ParseAmount is parseAmount, for tests.
func ParseAmount(content string) (int64, error) { return parseAmount(content) }
