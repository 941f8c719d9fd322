package scheduler

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/elf" // its reader would bring decompressors and DWARF into the binary
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"lode/scheduler/artifact"
	"lode/scheduler/driver"
	"lode/scheduler/store"
)

// Finding is one result of Check.
type Finding struct {
	What   string // what was looked at
	Detail string // what was found
	Err    error  // what is wrong with it; nil: nothing
}

const (
	// checkTime bounds a question of Check.
	checkTime = 20 * time.Second
	// answerTime is how long this machine may take to answer itself.
	answerTime = 5 * time.Second
	// leastSpace is what a state folder should have left, in bytes.
	leastSpace = 256 << 20
	// soonOver is how long before its end a certificate is complained of.
	soonOver = 14 * 24 * time.Hour
)

// Check looks whether a scheduler with this configuration would work here: masters and
// ZooKeeper, the executor, the address that agents get it from, the state folder, and
// certificates. It may run beside the scheduler itself and changes nothing. Upstreams
// are not its business.
func Check(ctx context.Context, config Config) []Finding {
	config = config.withDefaults()
	var list []Finding
	add := func(f ...Finding) { list = append(list, f...) }
	add(checkMasters(ctx, config)...)
	add(checkExecutor(config.Executor))
	if config.ZooKeeper != "" {
		add(checkZooKeeper(ctx, config))
	}
	if config.ZooKeeper == "" || config.StateDir != "" {
		add(checkState(config.StateDir))
	}
	add(checkAddress(ctx, config)...)
	if config.TLS != nil {
		add(checkCertificate(config.TLS))
	}
	return list
}

func checkMasters(ctx context.Context, c Config) []Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	v, err := driver.Look(ctx, driver.Config{
		Masters: c.Masters, RootCAs: c.MasterCAs, Principal: c.Principal, Secret: c.Secret, AskTimeout: 5 * time.Second,
		Subscribe: nil, Handle: nil,
	})
	var list []Finding
	for _, m := range v.Masters {
		detail := "it leads"
		if m.Leader != m.URL {
			detail = "it says that " + m.Leader + " leads"
		}
		if m.Leader == "" {
			detail = "it does not say who leads"
		}
		list = append(list, Finding{What: "master " + m.URL, Detail: detail, Err: m.Err})
	}
	f := Finding{What: "masters", Err: err}
	if v.Leader != "" {
		f.What = "leading master " + v.Leader
	}
	if err == nil {
		f.Detail = "Mesos " + v.Version
		if v.Version == "" {
			f.Detail = "it does not tell its version"
		}
		if v.Agents >= 0 {
			f.Detail += fmt.Sprintf(", %d agents", v.Agents)
		}
		f.Err = unwelcome(v, c)
	}
	return append(list, f)
}

// unwelcome says why a leader that answers will not let the framework in, or do
// anything.
func unwelcome(v driver.View, c Config) error {
	for _, role := range c.Roles {
		if len(v.Roles) > 0 && role != "*" && !slices.Contains(v.Roles, role) {
			return fmt.Errorf("it knows the roles %s (its --roles), and not %s (--role)", strings.Join(v.Roles, ", "), role)
		}
	}
	switch {
	case v.NoRoot && c.User == "root":
		return errors.New("it takes no tasks of root (its --no-root_submissions): name another user (--user)")
	case v.Agents == 0:
		return errors.New("it has no agent")
	}
	return nil
}

func checkExecutor(path string) Finding {
	f := Finding{What: "executor"}
	b, err := artifact.Load(path)
	if err != nil {
		f.Err = err
		return f
	}
	f.Detail, f.Err = describeProgram(b)
	if path != "" {
		f.What += " " + path
	}
	return f
}

// describeProgram looks whether agents can run a binary.
func describeProgram(b *artifact.Binary) (string, error) {
	program := b.Reader()
	var head elf.Header64 // of a file of 32 bits the fields up to Machine are the same
	if err := binary.Read(program, binary.LittleEndian, &head); err != nil || !bytes.HasPrefix(head.Ident[:], []byte(elf.ELFMAG)) {
		return "", errors.New("it is no program for Linux: build it (make)")
	}
	osABI, kind, machine := elf.OSABI(head.Ident[elf.EI_OSABI]), elf.Type(head.Type), elf.Machine(head.Machine)
	if elf.Data(head.Ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		kind, machine = elf.Type(bits.ReverseBytes16(head.Type)), elf.Machine(bits.ReverseBytes16(head.Machine))
	}
	arch := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[machine]
	switch {
	case osABI != elf.ELFOSABI_NONE && osABI != elf.ELFOSABI_LINUX:
		return "", fmt.Errorf("it is a program for %s, and agents run Linux", osABI)
	case kind != elf.ET_EXEC && kind != elf.ET_DYN:
		return "", fmt.Errorf("it is no program but a file of type %s", kind)
	case arch == "" || elf.Class(head.Ident[elf.EI_CLASS]) != elf.ELFCLASS64:
		return "", fmt.Errorf("it is for %s of %s: want amd64 or arm64", machine, elf.Class(head.Ident[elf.EI_CLASS]))
	}
	for i := range int64(head.Phnum) {
		var p elf.Prog64
		if err := binary.Read(io.NewSectionReader(program, int64(head.Phoff)+i*int64(head.Phentsize), 56), binary.LittleEndian, &p); err != nil {
			return "", errors.New("it is the beginning of a program only: build it again (make)")
		}
		if elf.ProgType(p.Type) == elf.PT_INTERP {
			loader, _ := io.ReadAll(io.NewSectionReader(program, int64(p.Off), int64(min(p.Filesz, 100))))
			return "", fmt.Errorf("it needs %s and shared libraries, which agents need not have: build it with CGO_ENABLED=0 (make)",
				strings.TrimRight(string(loader), "\x00"))
		}
	}
	return fmt.Sprintf("static, linux/%s, %.1f MB, SHA-256 %.12s…", arch, float64(b.Size())/1e6, b.Digest()), nil
}

func checkState(dir string) Finding {
	f := Finding{What: "state folder " + dir}
	held, holder, err := store.Holder(dir)
	if err == nil {
		err = writable(dir)
	}
	var left uint64
	if err == nil {
		left, err = freeSpace(dir)
	}
	switch {
	case err != nil:
		f.Err = err
	case left < leastSpace:
		f.Err = fmt.Errorf("%d MB are left: found blocks want %d MB", left>>20, leastSpace>>20)
	case held:
		f.Detail = fmt.Sprintf("writable, %d GB left, in use by the scheduler at %s", left>>30, holder)
	default:
		f.Detail = fmt.Sprintf("writable, %d GB left", left>>30)
	}
	return f
}

// writable tries to write into a folder, or if there is none yet, into where it would
// be made.
func writable(dir string) error {
	dir = existing(dir)
	f, err := os.CreateTemp(dir, ".check-")
	if err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

// existing is a path, or the nearest of those above it that there is.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// checkAddress looks whether the address that agents are to get the executor from
// leads here, by serving something at it for a moment. A scheduler that runs already
// has the port and answers itself.
func checkAddress(ctx context.Context, c Config) []Finding {
	listen := Finding{What: "listen at " + c.Listen, Detail: "free"}
	secret := uuid.NewString()
	s := &Scheduler{config: c, log: c.Logger}
	listener, err := c.ListenFunc("tcp", c.Listen)
	path, want := "/check", secret
	if err == nil {
		s.listener = listener
		server := &http.Server{ReadHeaderTimeout: checkTime, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, secret)
		})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(listener) // until Close
		}()
		defer func() {
			_ = server.Close()
			<-served
		}()
	} else {
		address, resolveErr := net.ResolveTCPAddr("tcp", c.Listen)
		if resolveErr != nil {
			listen.Err = err
			return []Finding{listen}
		}
		s.listener = elsewhere{address}
		path, want = "/livez", "alive\n"
		if !answers(ctx, net.JoinHostPort(orLoopback(address.IP), fmt.Sprint(address.Port)), path, want) {
			listen.Err = fmt.Errorf("%w, by something that is no scheduler", err)
			return []Finding{listen}
		}
		listen.Detail = "a scheduler answers there"
	}
	advertise, err := s.advertise()
	f := Finding{What: "address for agents", Err: err}
	if err == nil {
		f.What += " " + advertise
		f.Detail, f.Err = checkAdvertised(ctx, c, advertise, path, want)
	}
	return []Finding{listen, f}
}

// elsewhere is a listener that another process has.
type elsewhere struct{ address net.Addr }

func (e elsewhere) Addr() net.Addr            { return e.address }
func (e elsewhere) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (e elsewhere) Close() error              { return nil }

func orLoopback(ip net.IP) string {
	if ip == nil || ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return ip.String()
}

func checkAdvertised(ctx context.Context, c Config, advertise, path, want string) (string, error) {
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		return "", err
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return "", fmt.Errorf("%w: agents will hardly know the name either (--artifact-advertise)", err)
	}
	out := outbound(c.Masters)
	for _, ip := range ips {
		switch {
		case ip.IP.IsUnspecified():
			return "", fmt.Errorf("%s is no address: name one that agents reach (--artifact-advertise)", ip.IP)
		case ip.IP.IsLoopback() && out != nil && !out.IsLoopback():
			return "", fmt.Errorf("%s is this machine for whoever asks, and the masters are elsewhere (this machine is %s towards them): "+
				"use --listen :%s, and --artifact-advertise if that is not found by itself", ip.IP, out, DefaultPort)
		}
	}
	if !answers(ctx, advertise, path, want) {
		return "", errors.New("a request there does not come to this machine: is it the right address, is there a firewall? (--listen, --artifact-advertise)")
	}
	return "a request there comes to this machine; agents must reach it as well", nil
}

// answers says whether an address answers as it should.
func answers(ctx context.Context, address, path, want string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return err == nil && string(body) == want
}

func checkCertificate(config *tls.Config) Finding {
	f := Finding{What: "certificate"}
	certificate, err := config.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		f.Err = err
		return f
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		f.Err = err
		return f
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		f.Err = fmt.Errorf("it was good until %s", until)
	case now.Before(leaf.NotBefore):
		f.Err = fmt.Errorf("it is good from %s on only", leaf.NotBefore.UTC().Format(time.DateOnly))
	case len(names) == 0:
		f.Err = errors.New("it names no host: clients will refuse it")
	case now.Add(soonOver).After(leaf.NotAfter):
		f.Err = fmt.Errorf("it is good until %s only", until)
	default:
		f.Detail = fmt.Sprintf("for %s, until %s", strings.Join(names, ", "), until)
	}
	return f
}
