package agent

import (
	"maps"
	"net/http"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	agentapi "github.com/mesos/mesos-go/api/v1/lib/agent"

	"lode/devmesos/internal/wire"
)

// serveOperator is POST /api/v1: the calls that read. Those that would change something are 501, for
// there are no nested or standalone containers, images or resource providers here.
func (p *process) serveOperator(w http.ResponseWriter, r *http.Request) {
	var call agentapi.Call
	read, refusal := wire.ReadCall(r, &call)
	if refusal == nil && !read.HasType {
		refusal = wire.Refuse(http.StatusBadRequest, "Failed to validate agent::Call: Expecting 'type' to be present")
	}
	var codec wire.Codec
	if refusal == nil {
		codec, refusal = wire.Accept(r)
	}
	var answer *agentapi.Response
	if refusal == nil {
		answer, refusal = p.operatorCall(&call)
	}
	if refusal != nil {
		if refusal.Status == http.StatusNotFound {
			notFoundEmpty(w)
			return
		}
		refusal.Write(w)
		return
	}
	if answer == nil {
		wire.WriteText(w, http.StatusOK, "")
		return
	}
	if codec == wire.JSON {
		writeJSON(w, r, wire.AppendJSON(nil, explicit(answer)))
		return
	}
	b, err := codec.Marshal(answer)
	if err != nil {
		wire.WriteText(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", codec.MediaType())
	_, _ = w.Write(b)
}

func (p *process) operatorCall(call *agentapi.Call) (*agentapi.Response, *wire.Refusal) {
	answer := &agentapi.Response{Type: agentapi.Response_Type(agentapi.Response_Type_value[call.Type.String()])}
	switch call.Type {
	case agentapi.Call_LIST_FILES:
		return answer, p.listFiles(call.ListFiles, answer)
	case agentapi.Call_READ_FILE:
		return answer, p.readFile(call.ReadFile, answer)
	case agentapi.Call_SET_LOGGING_LEVEL:
		return nil, nil
	}
	known := true
	if !p.inbox.do(func() { known = p.answerOperator(call, answer) }) {
		panic(http.ErrAbortHandler)
	}
	if !known {
		return nil, wire.Refuse(http.StatusNotImplemented, "501 Not Implemented.")
	}
	return answer, nil
}

// answerOperator fills in the answer to a call that reads the agent's state.
func (p *process) answerOperator(call *agentapi.Call, answer *agentapi.Response) bool {
	switch call.Type {
	case agentapi.Call_GET_HEALTH:
		answer.GetHealth = &agentapi.Response_GetHealth{Healthy: true}
	case agentapi.Call_GET_FLAGS:
		answer.GetFlags = new(agentapi.Response_GetFlags)
		flags := p.flags()
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			answer.GetFlags.Flags = append(answer.GetFlags.Flags, mesos.Flag{Name: name, Value: ptr(flags[name])})
		}
	case agentapi.Call_GET_VERSION:
		v := versionOf()
		answer.GetVersion = &agentapi.Response_GetVersion{VersionInfo: mesos.VersionInfo{
			Version: v.Version, BuildDate: &v.BuildDate, BuildTime: &v.BuildTime, BuildUser: &v.BuildUser,
		}}
	case agentapi.Call_GET_METRICS:
		answer.GetMetrics = new(agentapi.Response_GetMetrics)
		metrics := p.metrics()
		for _, name := range slices.Sorted(maps.Keys(metrics)) {
			answer.GetMetrics.Metrics = append(answer.GetMetrics.Metrics, mesos.Metric{Name: name, Value: ptr(metrics[name])})
		}
	case agentapi.Call_GET_LOGGING_LEVEL:
		answer.GetLoggingLevel = new(agentapi.Response_GetLoggingLevel)
	case agentapi.Call_GET_STATE:
		answer.GetState = &agentapi.Response_GetState{
			GetTasks: p.getTasks(), GetExecutors: p.getExecutors(), GetFrameworks: p.getFrameworks(),
		}
	case agentapi.Call_GET_TASKS:
		answer.GetTasks = p.getTasks()
	case agentapi.Call_GET_EXECUTORS:
		answer.GetExecutors = p.getExecutors()
	case agentapi.Call_GET_FRAMEWORKS:
		answer.GetFrameworks = p.getFrameworks()
	case agentapi.Call_GET_CONTAINERS:
		answer.GetContainers = p.getContainers()
	case agentapi.Call_GET_AGENT:
		answer.GetAgent = &agentapi.Response_GetAgent{AgentInfo: &p.info}
	case agentapi.Call_GET_OPERATIONS:
		answer.GetOperations = new(agentapi.Response_GetOperations)
	case agentapi.Call_GET_RESOURCE_PROVIDERS:
		answer.GetResourceProviders = new(agentapi.Response_GetResourceProviders)
	default:
		return false
	}
	return true
}

func (p *process) listFiles(call *agentapi.Call_ListFiles, answer *agentapi.Response) *wire.Refusal {
	if call == nil {
		return wire.Refuse(http.StatusBadRequest, "Failed to validate agent::Call: Expecting 'list_files' to be present")
	}
	files, err := p.browse(call.Path)
	if err != nil {
		return wire.Refuse(http.StatusNotFound, "")
	}
	answer.ListFiles = new(agentapi.Response_ListFiles)
	for _, f := range files {
		answer.ListFiles.FileInfos = append(answer.ListFiles.FileInfos, mesos.FileInfo{
			Path:  f.Path,
			Nlink: ptr(int32(f.Nlink)), //nolint:gosec // as small as in the protocol
			Size_: ptr(uint64(f.Size)), //nolint:gosec // sizes are positive
			Mtime: &mesos.TimeInfo{Nanoseconds: int64(f.Mtime) * 1e9},
			Mode:  &f.mode,
			UID:   &f.UID,
			GID:   &f.GID,
		})
	}
	return nil
}

func (p *process) readFile(call *agentapi.Call_ReadFile, answer *agentapi.Response) *wire.Refusal {
	if call == nil {
		return wire.Refuse(http.StatusBadRequest, "Failed to validate agent::Call: Expecting 'read_file' to be present")
	}
	limit := int64(maxRead)
	if call.Length != nil && *call.Length < maxRead {
		limit = int64(*call.Length) //nolint:gosec // less than maxRead
	}
	offset := int64(min(call.Offset, 1<<62)) //nolint:gosec // bounded
	data, size, refusal := p.read(call.Path, offset, limit)
	if refusal != nil {
		return refusal
	}
	if data == nil {
		data = []byte{}
	}
	answer.ReadFile = &agentapi.Response_ReadFile{Size_: uint64(size), Data: data} //nolint:gosec // sizes are positive
	return nil
}
