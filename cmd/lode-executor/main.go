// Lode-executor is the program that Mesos agents fetch: a Mesos v1 executor that
// hashes, or serves work to those who hash, inside its own process. Mesos starts
// it; it is configured by its environment and by TaskInfo.data alone.
package main

func main() {}
