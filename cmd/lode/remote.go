package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"lode/internal/terminal"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/summary"
)

// remoteFlags are those of commands that talk to a scheduler and print what it says.
type remoteFlags struct {
	clientFlags `embed:""`
	JSON        bool `name:"json" help:"Print JSON."`
}

// clientFlags say which scheduler a command talks to, and as whom.
type clientFlags struct {
	Scheduler string `help:"URL of the scheduler; a standby sends us on to the leader." default:"http://127.0.0.1:8650" placeholder:"URL"`
	TokenFile string `help:"File with our token; or set LODE_TOKEN." placeholder:"FILE"`
	CA        string `name:"ca" help:"PEM certificates to trust for https; default: the system's." placeholder:"FILE"`
	TLSCert   string `name:"tls-cert" help:"Our certificate, where the scheduler asks for one." placeholder:"FILE"`
	TLSKey    string `name:"tls-key" help:"Key of our certificate." placeholder:"FILE"`
}

func (f *clientFlags) client() (*api.Client, error) {
	token := takeSecret("LODE_TOKEN")
	if f.TokenFile != "" {
		var err error
		if token, err = readSecret(f.TokenFile); err != nil {
			return nil, usagef("--token-file: %w", err)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if _, config.RootCAs, err = readCertificates("--ca", f.CA); err != nil {
		return nil, err
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return nil, usagef("--tls-cert and --tls-key go together")
	}
	if f.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
		if err != nil {
			return nil, usagef("--tls-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c, err := api.NewClient(f.Scheduler, token, config)
	if err != nil {
		return nil, usagef("--scheduler: %w", err)
	}
	return c, nil
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// orderTask sends a command about a task.
func (f *remoteFlags) orderTask(env *environment, task, do string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	if task, err = wholeID(env, c, task); err != nil {
		return err
	}
	return f.orderBy(env, c, api.TasksPath+"/"+url.PathEscape(task)+"/"+do, api.Command{})
}

// order sends a command and prints what was done.
func (f *remoteFlags) order(env *environment, path string, command api.Command) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	return f.orderBy(env, c, path, command)
}

func (f *remoteFlags) orderBy(env *environment, c *api.Client, path string, command api.Command) error {
	outcome, err := c.Post(env.ctx, path, command)
	var refusal *api.Error
	switch {
	case errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest:
		return &usageError{err}
	case err != nil:
		return err
	case f.JSON:
		return printJSON(env.stdout, outcome)
	}
	_, err = fmt.Fprintln(env.stdout, terminal.Clean(outcome.Done))
	return err
}

// all reads every page of a list.
func all[T any](env *environment, c *api.Client, path string, q url.Values) ([]T, error) {
	list := []T{}
	for {
		var p api.Page[T]
		if err := c.Get(env.ctx, path+"?"+q.Encode(), &p); err != nil {
			return nil, err
		}
		list = append(list, p.Items...)
		if p.Next == "" {
			return list, nil
		}
		q.Set("after", p.Next)
	}
}

// wholeID is the id of the task that is named as lode status shows it: with … (or ...) for
// the part that it leaves out.
func wholeID(env *environment, c *api.Client, name string) (string, error) {
	begin, end, short := strings.Cut(strings.Replace(name, "...", "…", 1), "…")
	if !short {
		return name, nil
	}
	tasks, err := all[api.Task](env, c, api.TasksPath, filters())
	if err != nil {
		return "", err
	}
	var found []string
	for _, t := range tasks {
		if len(t.ID) >= len(begin)+len(end) && strings.HasPrefix(t.ID, begin) && strings.HasSuffix(t.ID, end) {
			found = append(found, t.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no task %q", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q may be %s or %s: name one of them", name, found[0], found[1])
}

// filters are query parameters of the flags that are set.
func filters(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func table(w io.Writer, head string, rows func(line func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	rows(func(cells ...any) {
		texts := make([]string, len(cells))
		for i, c := range cells {
			if texts[i] = terminal.Clean(fmt.Sprint(c)); texts[i] == "" {
				texts[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(texts, "\t"))
	})
	return t.Flush()
}

// tasksCmd is `lode tasks`.
type tasksCmd struct {
	remoteFlags `embed:""`
	Kind        string `help:"Only proxies or miners." enum:",proxy,miner" default:"" placeholder:"KIND"`
	State       string `help:"Only tasks in this state, such as running." placeholder:"STATE"`
	Agent       string `help:"Only tasks on this agent, by id or hostname." placeholder:"AGENT"`
}

// states are those of tasks that have not ended.
var states = []string{"staging", "starting", "running", "killing", "unreachable", "lost", "unknown"}

// Run is called by execute.
func (cmd *tasksCmd) Run(env *environment) error {
	if state := strings.TrimPrefix(strings.ToLower(cmd.State), "task_"); state != "" && !slices.Contains(states, state) {
		return usagef("--state=%s: no task is ever in that state%s", cmd.State, didYouMean(state, states))
	}
	c, err := cmd.client()
	if err != nil {
		return err
	}
	tasks, err := all[api.Task](env, c, api.TasksPath, filters("kind", cmd.Kind, "state", cmd.State, "agent", cmd.Agent))
	if err != nil {
		return err
	}
	if cmd.JSON {
		return printJSON(env.stdout, tasks)
	}
	return table(env.stdout, "TASK\tSTATE\tAGENT\tCPUS\tHASHRATE\tKERNEL\tSINCE\tKILLING", func(line func(...any)) {
		for _, t := range tasks {
			line(t.ID, strings.TrimPrefix(t.State, "TASK_"), t.Hostname, t.CPUs, api.Hashrate(t.Hashrate), t.Kernel, t.LaunchedAt.Local().Format(time.DateTime), t.Killing)
		}
	})
}

// agentsCmd is `lode agents`.
type agentsCmd struct {
	remoteFlags `embed:""`
}

// Run is called by execute.
func (cmd *agentsCmd) Run(env *environment) error {
	c, err := cmd.client()
	if err != nil {
		return err
	}
	agents, err := all[api.Agent](env, c, api.AgentsPath, filters())
	if err != nil {
		return err
	}
	if cmd.JSON {
		return printJSON(env.stdout, agents)
	}
	return table(env.stdout, "AGENT\tHOST\tFAILURES\tLEFT ALONE UNTIL\tMAINTENANCE", func(line func(...any)) {
		for _, a := range agents {
			line(a.ID, a.Hostname, fmt.Sprintf("%.1f", a.Failures), orNever(a.BackoffUntil), orNever(a.Unavailable))
		}
	})
}

func orNever(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// eventsCmd is `lode events`.
type eventsCmd struct {
	remoteFlags `embed:""`
	After       string `help:"Begin behind the event with this id; 0: with the oldest that is kept. Default: with the next." placeholder:"ID"`
	Type        string `help:"Only events of these types, with commas between." placeholder:"TYPE"`
}

// Help is shown by lode events --help.
func (eventsCmd) Help() string {
	return `Prints events as they happen, until Ctrl-C; with --json an object a line. When the connection breaks it goes on behind the
last event; one of type gap says that some were missed.`
}

// Run is called by execute.
func (cmd *eventsCmd) Run(env *environment) error {
	for t := range strings.SplitSeq(cmd.Type, ",") {
		if types := scheduler.EventTypes(); cmd.Type != "" && !slices.Contains(types, t) {
			return usagef("--type=%s: no event is of type %q%s: there are %s", cmd.Type, t, didYouMean(t, types), strings.Join(types, ", "))
		}
	}
	c, err := cmd.client()
	if err != nil {
		return err
	}
	lines := json.NewEncoder(env.stdout)
	after, connected := cmd.After, false
	for {
		err := c.Events(env.ctx, after, cmd.Type, func(e api.Event) error {
			after, connected = e.ID, true
			if cmd.JSON {
				return lines.Encode(e)
			}
			_, err := fmt.Fprintf(env.stdout, "%s  %-10s  %s\n", e.Time.Local().Format(time.TimeOnly), e.Type, terminal.Clean(eventText(e)))
			return err
		})
		var refusal *api.Error
		if env.ctx.Err() != nil {
			return nil
		}
		if errors.As(err, &refusal) || !connected {
			return err
		}
		env.log.Warn("trying again", "error", err)
		select {
		case <-env.ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func eventText(e api.Event) string {
	switch {
	case e.Task != nil:
		return strings.TrimSpace(fmt.Sprintf("%s %s on %s %s", e.Task.ID, e.Task.State, e.Task.Hostname, e.Message))
	case e.Ended != nil:
		return strings.TrimSpace(fmt.Sprintf("%s %s on %s %s", e.Ended.ID, e.Ended.State, e.Ended.Hostname, e.Ended.Message))
	case e.Block != nil:
		return fmt.Sprintf("%d %s %s, found by %s", e.Block.Height, e.Block.Hash, e.Block.State, e.Block.Finder)
	case e.Decision != nil:
		return fmt.Sprintf("%s: %s → %s", e.Decision.Hostname, e.Decision.Resources, strings.Join(e.Decision.Tasks, ", "))
	}
	return strings.TrimSpace(strings.Join([]string{e.Message, e.Master, e.Agent}, " "))
}

// whyCmd is `lode why`.
type whyCmd struct {
	remoteFlags `embed:""`
	Agent       string `arg:"" optional:"" help:"Agent, by id or hostname; default: all."`
}

// Run is called by execute.
func (cmd *whyCmd) Run(env *environment) error {
	c, err := cmd.client()
	if err != nil {
		return err
	}
	var why api.Why
	if err := c.Get(env.ctx, api.WhyPath+"?"+filters("agent", cmd.Agent).Encode(), &why); err != nil {
		return err
	}
	if cmd.JSON {
		return printJSON(env.stdout, why)
	}
	fmt.Fprintln(env.stdout, terminal.Clean(why.Answer))
	for _, p := range why.Promises {
		fmt.Fprintln(env.stdout, terminal.Clean(fmt.Sprintf("%s, %s among them: %s", counted(p.Miners, "miner"), p.Example, p.Promise)))
	}
	if len(why.Groups) == 0 {
		return nil
	}
	fmt.Fprintln(env.stdout)
	return summary.Reasons(why.Groups).Write(env.stdout, terminal.LookOf(env.stdout, os.Getenv))
}
