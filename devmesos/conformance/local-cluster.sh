#!/usr/bin/env bash
# A Mesos cluster of one master and two agents on 127.0.0.1, to try things on and to
# break: it is also the program for the -faults flag of the conformance suite.
#
#   export MESOS_BIN=/opt/mesos/sbin WORK=/tmp/mesos    # where mesos-master and mesos-agent are; where their state goes
#   local-cluster.sh start-all
#   make conformance MASTER=http://127.0.0.1:5050 ARGS="-own -faults=$PWD/devmesos/conformance/local-cluster.sh"
#   local-cluster.sh stop-all
#
# MASTER_FLAGS and AGENT_FLAGS are added to the flags of the programs. Run it as root, or as
# the user that the executors are to run as (then with AGENT_FLAGS=--no-switch_user).
set -euo pipefail

bin=${MESOS_BIN:?is not set: the folder of mesos-master and mesos-agent}
work=${WORK:?is not set: a folder for logs and work directories}
host=127.0.0.1
port=${PORT:-5050}
agents="1 2"

# launch NAME COMMAND… starts a server that outlives this script.
launch() {
  setsid "${@:2}" </dev/null >>"$work/$1.log" 2>&1 &
  echo $! >"$work/$1.pid"
}

alive() { kill -0 "$(cat "$work/$1.pid")" 2>/dev/null; }

# await SECONDS COMMAND… repeats the command until it succeeds.
await() {
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    if ((SECONDS > end)); then
      echo "not within $1 s: ${*:2}" >&2
      return 1
    fi
    sleep 0.1
  done
}

get() { curl -sf "http://$host:$port/$1"; }
up() { get health >/dev/null; }
gone() { ! alive "$1"; }
complete() { [[ $(get slaves | grep -o '"active":true' | wc -l) -ge $1 ]]; }

start_master() { # REGISTRY
  # Short pings: the suite waits for agents to be given up.
  # shellcheck disable=SC2086
  launch master "$bin/mesos-master" --ip=$host --hostname=$host --port="$port" --work_dir="$work/$1" --registry="$1" \
    --agent_ping_timeout=1secs --max_agent_ping_timeouts=4 ${MASTER_FLAGS:-}
  await 20 up
}

start_agent() { # NUMBER
  local n=$1
  # shellcheck disable=SC2086
  launch "agent$n" "$bin/mesos-agent" --master=$host:"$port" --ip=$host --hostname=$host --port=$((port + n)) \
    --work_dir="$work/agent$n" --runtime_dir="$work/agent$n-run" --fetcher_cache_dir="$work/agent$n-cache" \
    --launcher=posix --isolation=posix/cpu,posix/mem --containerizers=mesos --systemd_enable_support=false \
    --resources="cpus:4;mem:4096;disk:10240;ports:[$((31000 + 500 * n))-$((31399 + 500 * n))]" ${AGENT_FLAGS:-}
}

# number_of ID prints the number of an agent. The id stands in its work directory, and is
# noted, since an agent may have another one later.
number_of() {
  local n
  for n in $agents; do
    if [[ $(basename "$(readlink "$work/agent$n/meta/slaves/latest" || true)") == "$1" ]]; then
      echo "$n" | tee "$work/id-$1"
      return
    fi
  done
  cat "$work/id-$1" 2>/dev/null || { echo "no agent has the id $1" >&2; return 1; }
}

signal() { # NAME SIGNAL
  kill "-$2" "$(cat "$work/$1.pid")"
}

case ${1:-} in
start-all)
  mkdir -p "$work"
  start_master replicated_log
  for n in $agents; do start_agent "$n"; done
  await 30 complete 2
  ;;
stop-all) for name in agent1 agent2 master; do signal $name KILL || true; done ;;
kill-agent) n=$(number_of "$2") && signal "agent$n" KILL ;;
start-agent) n=$(number_of "$2") && await 20 gone "agent$n" && start_agent "$n" ;;
unregister-agent) n=$(number_of "$2") && signal "agent$n" USR1 ;;
hold-agent) n=$(number_of "$2") && signal "agent$n" STOP ;;
release-agent) n=$(number_of "$2") && signal "agent$n" CONT ;;
kill-master) signal master KILL ;;
start-master) start_master replicated_log ;;
start-master-amnesia) start_master in_memory ;;
*)
  echo "usage: local-cluster.sh start-all | stop-all | a fault of the conformance suite" >&2
  exit 75 # for the suite: it does not know how
  ;;
esac
