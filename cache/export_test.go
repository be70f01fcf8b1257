package cache

// WithBackend returns a repo with a backend of a test's own.
func WithBackend(b Backend) *Repo { return newRepo(b, Options{Jobs: 2}) }
