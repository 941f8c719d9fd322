package main

import (
	"fmt"
	"os"
	"strings"

	"lode/scheduler"
)

// nodeFlags name a Bitcoin node; the commands that need one embed them.
type nodeFlags struct {
	Node             string `help:"RPC address of the Bitcoin node, http://host:port or https://host:port." placeholder:"URL"`
	NodeUser         string `help:"RPC user of the node." placeholder:"NAME"`
	NodePasswordFile string `help:"File with the RPC password of the node; or set LODE_NODE_PASSWORD." placeholder:"FILE"`
	NodeCookieFile   string `help:"Cookie file of a Bitcoin Core on this machine, instead of user and password. It is read once, and Core writes another at each start: rpcauth is for good." placeholder:"FILE"`
	NodeCA           string `name:"node-ca" help:"PEM certificate to trust for the node." placeholder:"FILE"`
}

// upstream returns the node with its credentials; its URL is "" if none was named.
func (f nodeFlags) upstream() (scheduler.Upstream, error) {
	u := scheduler.Upstream{URL: f.Node, User: f.NodeUser}
	var err error
	if f.NodeCookieFile != "" {
		u.User, u.Password, err = f.cookie()
	} else {
		u.Password, err = nodePassword(f.NodePasswordFile)
	}
	if err != nil {
		return u, err
	}
	if u.CA, _, err = readCertificates("--node-ca", f.NodeCA); err != nil {
		return u, err
	}
	if u.URL == "" {
		return u, nil
	}
	u.URL = "node:" + strings.TrimPrefix(u.URL, "node:")
	_, err = source{url: u.URL, user: u.User, password: u.Password, flag: "--node"}.check("")
	return u, err
}

// cookie reads user and password from the cookie file.
func (f nodeFlags) cookie() (user, password string, err error) {
	if f.NodeUser != "" || f.NodePasswordFile != "" {
		return "", "", usagef("--node-cookie-file stands for --node-user and --node-password-file: give one or the other")
	}
	cookie, err := readSecret(f.NodeCookieFile)
	if err != nil {
		return "", "", usagef("--node-cookie-file: %w", err)
	}
	user, password, ok := strings.Cut(cookie, ":")
	if !ok {
		return "", "", usagef("--node-cookie-file: %s holds no user:password", f.NodeCookieFile)
	}
	return user, password, nil
}

// nodePassword reads the password from a file, else from LODE_NODE_PASSWORD. It is
// no flag: everybody on the machine can read the command line.
func nodePassword(file string) (string, error) {
	password := takeSecret("LODE_NODE_PASSWORD")
	if file == "" {
		return password, nil
	}
	password, err := readSecret(file)
	if err != nil {
		return "", usagef("--node-password-file: %w", err)
	}
	return password, nil
}

// takeSecret reads a secret from the environment and removes it there: programs that
// this one starts need not have it, nor who reads /proc/PID/environ.
func takeSecret(name string) string {
	secret := os.Getenv(name)
	if secret != "" {
		_ = os.Unsetenv(name)
		wipe(name)
	}
	return secret
}

// readSecret reads the first line of a file.
func readSecret(file string) (string, error) {
	b, err := readFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimRight(line, "\r")
	switch {
	case line == "":
		return "", fmt.Errorf("%s is empty", file)
	case len(line) > mostText || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%s: want a line of text, of at most %d bytes", file, mostText)
	}
	return line, nil
}
