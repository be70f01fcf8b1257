package store

// An artifactRow and a realisationRow are what the index has of the objects.
type artifactRow struct {
	id   ArtifactID
	size int64
}

type realisationRow struct {
	drv      DrvID
	artifact ArtifactID
	time     int64
}
