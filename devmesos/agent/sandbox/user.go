package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// User is whose rights a container has.
type User struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32
}

// UnknownUserError names a user that does not exist on this machine, in the words of Mesos.
type UnknownUserError string

func (e UnknownUserError) Error() string { return fmt.Sprintf("No such user '%s'", string(e)) }

// LookupUser finds the user of a task. It returns nil where nothing has to be switched: the
// process is not root, or the user is who it runs as already.
func LookupUser(name string) (*User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	found, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, UnknownUserError(name)
	}
	if err != nil {
		return nil, err
	}
	u := User{Name: name}
	if u.UID, err = parseID(found.Uid); err != nil {
		return nil, err
	}
	if u.GID, err = parseID(found.Gid); err != nil {
		return nil, err
	}
	if u.UID == 0 {
		return nil, nil
	}
	groups, err := found.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, g := range groups {
		id, err := parseID(g)
		if err != nil {
			return nil, err
		}
		u.Groups = append(u.Groups, id)
	}
	return &u, nil
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("id %q of a user is not a number: %w", text, err)
	}
	return uint32(n), nil
}
