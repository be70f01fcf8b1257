package python

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// A choice is a package that pip picked, and the file that it picked of it.
type choice struct {
	Name, Version string // the name is normalized
	File          string
	SHA256        string // empty if the index does not say
}

func (c choice) id() string { return c.Name + "==" + c.Version }

// A report is what pip says it would install.
type report struct {
	Python  string // such as 3.13
	Choices []choice
}

// parseReport reads pip's installation report, version 1.
func parseReport(b []byte) (*report, error) {
	var raw struct {
		Version string `json:"version"`
		Install []struct {
			IsDirect     bool `json:"is_direct"`
			DownloadInfo struct {
				URL         string `json:"url"`
				ArchiveInfo struct {
					Hashes map[string]string `json:"hashes"`
				} `json:"archive_info"`
			} `json:"download_info"`
			Metadata struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"metadata"`
		} `json:"install"`
		Environment struct {
			PythonVersion string `json:"python_version"`
		} `json:"environment"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("read pip's report: %w", err)
	}
	if raw.Version != "1" {
		return nil, fmt.Errorf("read pip's report: it has version %q, want 1", raw.Version)
	}
	r := &report{Python: raw.Environment.PythonVersion}
	for _, i := range raw.Install {
		c := choice{Name: normalize(i.Metadata.Name), Version: i.Metadata.Version, SHA256: strings.ToLower(i.DownloadInfo.ArchiveInfo.Hashes["sha256"])}
		u, err := url.Parse(i.DownloadInfo.URL)
		if err != nil {
			return nil, fmt.Errorf("read pip's report: package %s: %w", c.id(), err)
		}
		c.File = path.Base(u.Path)
		switch {
		case i.IsDirect:
			return nil, fmt.Errorf("read pip's report: package %s comes from a URL, and not from the index", c.id())
		case !projectPattern.MatchString(i.Metadata.Name), !versionPattern.MatchString(c.Version), !filePattern.MatchString(c.File):
			return nil, fmt.Errorf("read pip's report: %q %q %q is not a package", c.Name, c.Version, c.File)
		}
		r.Choices = append(r.Choices, c)
	}
	return r, nil
}
