package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lode/executor/boundlog"
	"lode/version"
)

// cli lists the subcommands. A flag's value is taken from the command line, else
// from LODE_<NAME>, else from the configuration file, else from its default.
type cli struct {
	Log    logFlags   `embed:"" prefix:"log-"`
	Config configFile `help:"YAML or TOML file with values for flags, for all commands or in sections named as commands." placeholder:"FILE"`

	Dev        devCmd        `cmd:"" help:"Mine on a development cluster on this machine."`
	Scheduler  schedulerCmd  `cmd:"" help:"Run the Mesos scheduler."`
	Proxy      proxyCmd      `cmd:"" help:"Run a pool-proxy without Mesos."`
	Mine       mineCmd       `cmd:"" help:"Mine at a Stratum pool, without Mesos."`
	Bench      benchCmd      `cmd:"" help:"Measure how fast this machine hashes."`
	Neighbour  neighbourCmd  `cmd:"" help:"Measure what a miner's neighbours on this machine feel."`
	Load       loadCmd       `cmd:"" help:"Put load on a Stratum pool and measure it."`
	Status     statusCmd     `cmd:"" help:"Show what a running scheduler knows."`
	Top        topCmd        `cmd:"" help:"Watch a running scheduler at the terminal."`
	Tasks      tasksCmd      `cmd:"" help:"List the tasks of a running scheduler."`
	Agents     agentsCmd     `cmd:"" help:"List the agents that a running scheduler knows."`
	Events     eventsCmd     `cmd:"" help:"Print what happens, as it happens."`
	Why        whyCmd        `cmd:"" help:"Say why nothing is mining, on an agent or anywhere."`
	Logs       logsCmd       `cmd:"" help:"Print the log of a task."`
	Scale      scaleCmd      `cmd:"" help:"Bound the miners of the cluster or of an agent."`
	Pause      pauseCmd      `cmd:"" help:"Stop hashing within a second; no task ends."`
	Resume     resumeCmd     `cmd:"" help:"Hash again within a second."`
	Drain      drainCmd      `cmd:"" help:"End the tasks of an agent and launch nothing there."`
	Undrain    undrainCmd    `cmd:"" help:"Launch tasks on an agent again."`
	Restart    restartCmd    `cmd:"" help:"End a task; another one is launched in its place."`
	Kill       killCmd       `cmd:"" help:"End a task and leave its agent alone for ten minutes."`
	Upgrade    upgradeCmd    `cmd:"" help:"Replace tasks by ones with a newer executor, or go back."`
	Teardown   teardownCmd   `cmd:"" help:"End a framework and its tasks, also if its scheduler is gone."`
	RotateKeys rotateKeysCmd `cmd:"" help:"Make a new key of the miners' passwords."`
	DevMesos   devMesosCmd   `cmd:"" help:"Run an embedded Mesos alone, for any framework."`
	DevNode    devNodeCmd    `cmd:"" help:"Run a fake Bitcoin node with full blocks, to put load on a pool-proxy."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Help       helpCmd       `cmd:"" help:"Show the help of a command: lode help proxy."`

	Completion completionCmd `cmd:"" help:"Write a script that completes commands and flags in a shell."`
	Reference  referenceCmd  `cmd:"" hidden:"" help:"Write the reference of all flags."`

	ShowVersion bool `name:"version" short:"V" env:"-" help:"Print the version."`
}

// configFile is the path of a configuration file.
type configFile string

// versionLine is what --version prints.
func versionLine() string { return "lode " + version.String() }

type logFlags struct {
	Level  *logLevel `help:"Least level that is logged: debug, info, warn or error; default: info, for dev warn." placeholder:"LEVEL"`
	Format string    `help:"Form of the log: text or json." enum:"text,json" default:"text"`
}

// logLevel is the least level that is logged.
type logLevel struct{ slog.Level }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *logLevel) UnmarshalText(text []byte) error {
	if l.Level.UnmarshalText(text) != nil {
		return fmt.Errorf("%s is none of debug, info, warn, error", shortened(string(text)))
	}
	return nil
}

// environment is what every command's Run gets.
type environment struct {
	ctx    context.Context
	stdout io.Writer
	stderr io.Writer
	log    *slog.Logger
	// quiet is for commands that show what happens by themselves: it logs warnings
	// and errors, unless --log-level says otherwise.
	quiet   *slog.Logger
	logTo   func(w io.Writer) *slog.Logger // makes what log is, for another writer
	folders *folders                       // temporary ones are made here
}

// serve has a command that runs for long not be held up by who reads its log: a terminal after
// Ctrl-S, say, or a disk that hangs. It writes nothing else to standard error until end.
func (env *environment) serve() (end func()) {
	direct := env.log
	queue := boundlog.NewQueue(env.stderr, func(n int) { direct.Warn("log lines were lost: nobody took them", "lines", n) })
	env.log = env.logTo(queue)
	return func() { queue.Flush(time.Second) }
}

// exitStatus ends the program with a code and no further message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in the command line or the configuration: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// negative finds, in what kong says, a number that is taken for a flag.
var negative = regexp.MustCompile(`^(?:unknown flag (-\d[^ ,]*)|(.*: )expected .* but got "(-\d[^"]*)" \(short flag\))`)

func execute(ctx context.Context, folders *folders, args []string, stdout, stderr io.Writer) (err error) {
	var c cli
	help := stdout
	if o, ok := stdout.(*output); ok {
		help = o.file // kong asks it for the terminal's width
	}
	parser, err := kong.New(&c,
		kong.Name("lode"),
		kong.Description("Mine SHA-256d on an Apache Mesos cluster with its idle cores.\n\nStart here: lode dev"),
		kong.PostBuild(nameVariables),
		kong.Writers(help, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(describeValue),
		kinds(),
	)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, file, err := parse(parser, args, loadConfig)
	defer func() {
		if usage := new(usageError); errors.As(err, &usage) {
			if at := origin(kctx, file, err); at != "" {
				err = &usageError{fmt.Errorf("%s: %w", at, err)}
			}
		}
	}()
	if s := new(shown); errors.As(err, &s) {
		return s.outcome()
	}
	if err != nil {
		if path := new(fs.PathError); errors.As(err, &path) { // only one file is read so far
			return usagef("--config: %w", err)
		}
		if errors.As(err, new(*fileError)) || errors.As(err, new(*usageError)) {
			return &usageError{err}
		}
		if flag, _, missing := strings.Cut(err.Error(), ": expected "); missing && strings.HasSuffix(err.Error(), "(<EOL>)") {
			return usagef("%s: a value is missing (see %s --help)", flag, commandOf(kctx))
		}
		if m := negative.FindStringSubmatch(err.Error()); m != nil { // what begins with - is a flag for kong
			return usagef("%s%s is no flag and no value: numbers and durations are 0 or more (see %s --help)", m[2], m[1]+m[3], commandOf(kctx))
		}
		if strings.HasPrefix(err.Error(), "missing ") { // which a mistyped variable was to give
			warnOfUnknown(kctx.Model, kctx.Selected(), c.Log.logger(stderr, slog.LevelWarn))
		}
		return usagef("%w (see %s --help)", err, commandOf(kctx))
	}
	if err := checkFlags(kctx); err != nil {
		return err
	}
	logTo := func(w io.Writer) *slog.Logger { return c.Log.logger(w, slog.LevelInfo) }
	env := &environment{ctx: ctx, stdout: stdout, stderr: stderr, log: logTo(stderr), logTo: logTo, quiet: c.Log.logger(stderr, slog.LevelWarn), folders: folders}
	warnOfUnknown(kctx.Model, kctx.Selected(), env.log)
	return commandIn(kctx.Selected(), parser)(env) // parse has seen to it that there is one
}

func (f logFlags) logger(w io.Writer, level slog.Level) *slog.Logger {
	if f.Level != nil {
		level = f.Level.Level
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: withoutEmpty}
	if f.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// withoutEmpty leaves out what says nothing, such as reason="".
func withoutEmpty(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindString && a.Value.String() == "" && a.Key != slog.MessageKey {
		return slog.Attr{}
	}
	return a
}

type versionCmd struct{}

func (versionCmd) Run(env *environment) error {
	_, err := fmt.Fprintln(env.stdout, versionLine())
	return err
}

// helpCmd is `lode help`.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command, if not lode itself."`
}

// Run is called by execute.
func (cmd *helpCmd) Run(env *environment) error {
	return execute(env.ctx, env.folders, append(cmd.Command, "--help"), env.stdout, env.stderr)
}

// commandOf is the command whose help may help.
func commandOf(ctx *kong.Context) string {
	if ctx == nil || ctx.Selected() == nil {
		return "lode"
	}
	return ctx.Selected().FullPath()
}

// describeValue adds to a flag's help what the placeholder hides: the default, and
// the environment variable.
func describeValue(value *kong.Value) string {
	help := value.Help
	if value.HasDefault && value.Flag != nil && value.Flag.PlaceHolder != "" && value.Default != "0" && value.Default != "" {
		help = strings.TrimSuffix(help, ".") + "; default: " + value.Default + "."
	}
	if len(value.Tag.Envs) > 0 {
		help = strings.TrimSuffix(help, ".") + " ($" + strings.Join(value.Tag.Envs, ", $") + ")."
	}
	return help
}
