package master

// versionInfo is what /version shows. There is no build of Mesos to tell of, so the
// fields that are not the version say whose this is.
type versionInfo struct {
	BuildDate string  `json:"build_date"`
	BuildTime float64 `json:"build_time"`
	BuildUser string  `json:"build_user"`
	GitBranch string  `json:"git_branch"`
	GitSHA    string  `json:"git_sha"`
	Version   string  `json:"version"`
}

func versionView() versionInfo {
	return versionInfo{BuildDate: "1970-01-01 00:00:00 UTC", BuildUser: "devmesos", Version: Version}
}
