package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"lode/scheduler/driver"
	"lode/zookeeper"
)

// masterFlags say which masters there are, and who we are to them.
type masterFlags struct {
	Master     []string `help:"Mesos masters, http://host:port, any of which may lead; or zk://[user:password@]host:port,host:port/path, which knows them." required:"" placeholder:"URL"`
	MasterCA   string   `name:"master-ca" help:"PEM certificates to trust for https masters; default: the system's." placeholder:"FILE"`
	Principal  string   `help:"Principal to authenticate with." placeholder:"NAME"`
	SecretFile string   `help:"File with the principal's secret." placeholder:"FILE"`
}

func (f *masterFlags) check() error {
	for _, m := range f.Master {
		if len(f.Master) == 1 && strings.HasPrefix(m, "file://") || strings.HasPrefix(f.Master[0], zookeeper.Scheme) {
			continue // what is in it shows when it is read
		}
		if _, err := driver.MasterURL(m); err != nil {
			return usagef("--master: %w", err)
		}
		_, rest, _ := strings.Cut(m, "://")
		if _, path, _ := strings.Cut(rest, "/"); path != "" {
			return usagef("--master=%s: a master answers below no path: leave out /%s", m, path)
		}
	}
	if strings.HasPrefix(f.Master[0], zookeeper.Scheme) {
		if _, err := zookeeper.Parse(strings.Join(f.Master, ",")); err != nil {
			return usagef("--master: %w", err)
		}
	}
	switch {
	case f.Principal != "" && f.SecretFile == "":
		return usagef("--principal needs the principal's secret (--secret-file)")
	case f.Principal == "" && f.SecretFile != "":
		return usagef("--secret-file needs the name that the secret is of (--principal)")
	}
	return nil
}

// read reads the files.
func (f *masterFlags) read() (secret string, cas *x509.CertPool, err error) {
	if f.SecretFile != "" {
		if secret, err = readSecret(f.SecretFile); err != nil {
			return "", nil, usagef("--secret-file: %w", err)
		}
	}
	_, cas, err = readCertificates("--master-ca", f.MasterCA)
	return secret, cas, err
}

// teardownCmd is `lode teardown`.
type teardownCmd struct {
	masterFlags `embed:""`
	Framework   string `arg:"" help:"Id of the framework, as the scheduler's log and the master's page have it."`
}

// Help is shown by lode teardown --help.
func (teardownCmd) Help() string {
	return `Ends a framework at the master, and with it all of its tasks on all agents. It cannot be undone: a scheduler of that
framework ends too, with exit code 3. Use it for a framework whose scheduler or state folder is gone, or that --new-framework left behind:
else Mesos keeps its tasks, and their resources, until the failover timeout.

  lode teardown --master http://10.0.0.1:5050 5f3c…-0001`
}

// Run is called by execute.
func (cmd *teardownCmd) Run(env *environment) error {
	if err := cmd.check(); err != nil {
		return err
	}
	config := driver.Config{Masters: cmd.Master, Principal: cmd.Principal}
	var err error
	if config.Secret, config.RootCAs, err = cmd.read(); err != nil {
		return err
	}
	switch err := driver.Teardown(env.ctx, config, cmd.Framework); {
	case errors.Is(err, driver.ErrNoFramework):
		return fmt.Errorf("%w: it was ended already, or the id is wrong", err)
	case err != nil:
		return err
	}
	fmt.Fprintf(env.stdout, "framework %s and its tasks are ended\n", cmd.Framework)
	return nil
}
