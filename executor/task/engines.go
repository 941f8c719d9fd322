package task

import (
	"lode/miner"
	"lode/pool"
)

func newEngine(o miner.Options) (miner.Searcher, error) {
	e, err := miner.New(o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func newProxy(c pool.Config) (pool.Runner, error) {
	p, err := pool.New(c)
	if err != nil {
		return nil, err
	}
	return p, nil
}
