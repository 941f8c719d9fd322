package zookeeper

import (
	"errors"
	"path"
	"slices"

	"github.com/go-zookeeper/zk"
)

// claim makes nodes ours alone that somebody has made before: we, when there was no
// password, or a stranger who waits for what we put there.
type claim struct {
	conn   *zk.Conn
	acl    []zk.ACL
	inside int // nodes below the path that were not ours alone
}

// all claims the path of an election and what is below it. First nobody else may add
// anything to the path; then the nodes that it always has come one by one, each after all
// that is below it, so that one which is ours tells that the rest is.
func (c *claim) all(at string) error {
	if _, err := c.node(at); err != nil {
		return err
	}
	for _, name := range []string{candidatesNode, epochNode, logNode, blobsNode} {
		child := path.Join(at, name)
		ours, err := c.ours(child)
		if err == nil && !ours {
			err = c.tree(child)
		}
		if err != nil && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	return nil
}

// tree claims a node after what is below it.
func (c *claim) tree(at string) error {
	names, _, err := c.conn.Children(at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.tree(path.Join(at, name)); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	changed, err := c.node(at)
	if changed {
		c.inside++
	}
	return err
}

func (c *claim) node(at string) (changed bool, err error) {
	if ours, err := c.ours(at); err != nil || ours {
		return false, err
	}
	_, err = c.conn.SetACL(at, c.acl, -1)
	return err == nil, err
}

func (c *claim) ours(at string) (bool, error) {
	have, _, err := c.conn.GetACL(at)
	return slices.Equal(have, c.acl), err
}
