#!/usr/bin/env bash
# Installs the deb of dist/ on this machine, upgrades it, and purges it: try-deb.sh FILE. It needs root,
# and a machine on which nothing of Lode is installed; CI runs it.
set -euo pipefail
deb=$1
fail() { echo "try-deb: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
dpkg -s lode >/dev/null 2>&1 && fail "lode is installed here already"

dpkg --install "$deb" >/dev/null
lode --version
lode-executor --version
for unit in lode-scheduler lode-proxy; do
  id "$unit" >/dev/null || fail "there is no user $unit"
  if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "/usr/lib/systemd/system/$unit.service" 2>&1 | grep "$unit" && fail "$unit.service is faulty"
    systemd-analyze security --offline=true --threshold=20 "$unit.service" >/dev/null || fail "$unit.service exposes more than 2.0"
  fi
done
# The sample configuration is understood: what is missing in it is said, nothing in it is unknown.
said=$(lode scheduler --config /etc/lode/lode.yaml 2>&1 --state-dir "$(mktemp -d)" || true)
[[ $said == *--payout-address* ]] || fail "the sample leads to: $said"

echo "# mine" >>/etc/lode/lode.yaml
dpkg --install "$deb" >/dev/null # an upgrade keeps what the operator wrote
grep -q '# mine' /etc/lode/lode.yaml || fail "an upgrade overwrites the configuration"

mkdir -p /var/lib/lode-proxy && touch /var/lib/lode-proxy/blocks.journal
dpkg --remove lode >/dev/null
[ -e /var/lib/lode-proxy/blocks.journal ] || fail "a removal deletes the state"
dpkg --purge lode >/dev/null
[ ! -e /var/lib/lode-proxy ] && [ ! -e /etc/lode ] && [ ! -e /usr/bin/lode ] || fail "something is left after a purge"
echo "installed, upgraded, removed and purged $(basename "$deb")"
