#!/usr/bin/env bash
# Tries what `make dist` made for this machine: deb and rpm are installed, started, upgraded, removed and
# purged, each in a fresh Debian by debootstrap; the image is unpacked and run. Needs root, and for the rpm
# Debian's package rpm; CI runs it. Where debootstrap does not work the deb is tried on this machine, where nothing
# of Lode may be installed, and of the rpm only what is in it.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "try-packages: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
arch=$(dpkg --print-architecture)
deb=$(echo dist/lode_*_"$arch".deb) rpm=$(echo dist/lode-*."$(uname -m)".rpm)
[ -f "$deb" ] && [ -f "$rpm" ] || fail "there is no deb or rpm for $arch in dist/: make dist"

work=$(mktemp -d) started=()
end() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" || true; done
  for mounted in "$work"/*/proc; do umount "$mounted" 2>/dev/null || true; done
  rm -rf --one-file-system "$work"
}
trap end EXIT

# within COMMAND… runs it in the fresh root, or on this machine where $root is empty.
within() { chroot "${root:-/}" "$@"; }

# fresh NAME makes a fresh root; it fails where there can be none.
fresh() {
  root=
  command -v debootstrap >/dev/null || return 1
  if [ ! -e "$work/base" ]; then
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)
    debootstrap --variant=minbase --include=systemd "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
      { tail -3 "$work/debootstrap.log" >&2; rm -rf "$work/base"; return 1; }
    mount -t proc proc "$work/base/proc" && umount "$work/base/proc" || { rm -rf "$work/base"; return 1; }
  fi
  root=$work/$1
  cp -a "$work/base" "$root"
  mount -t proc proc "$root/proc" # programs look there for themselves
}

# mode FILE WANT compares owner and mode.
mode() {
  local got
  got=$(within stat -c '%U:%G %a' "$1") || fail "$1 is missing"
  [ "$got" = "$2" ] || fail "$1 is $got, want $2"
}

# installed checks what a package has put there.
installed() {
  within lode --version
  within lode-executor --version >/dev/null
  mode /usr/bin/lode "root:root 755"
  mode /usr/bin/lode-executor "root:root 755"
  mode /etc/lode/lode.yaml "root:root 644"
  mode /etc/lode/secrets "root:root 700"
  mode /usr/share/man/man1/lode-scheduler.1.gz "root:root 644"
  mode /usr/share/bash-completion/completions/lode "root:root 644"
  for unit in lode-scheduler lode-proxy; do
    within id "$unit" >/dev/null || fail "there is no user $unit"
    if within sh -c 'command -v systemd-analyze' >/dev/null; then
      # A fresh Debian has no man.
      faults=$(within systemd-analyze verify "/usr/lib/systemd/system/$unit.service" 2>&1 | grep "$unit" | grep -v "Command 'man " || true)
      [ -z "$faults" ] || fail "$unit.service is faulty: $faults"
      within systemd-analyze security --offline=true --threshold=20 "$unit.service" >/dev/null || fail "$unit.service exposes more than 2.0"
      within systemd-analyze security --offline=true "$unit.service" | grep 'Overall exposure' | sed 's/^[^O]*//'
    else
      echo "there is no systemd-analyze: units are not checked"
    fi
  done
  # The sample configuration is understood: what is missing in it is said, nothing in it is unknown.
  said=$(within lode scheduler --config /etc/lode/lode.yaml --state-dir /tmp/lode-state 2>&1 || true)
  [[ $said == *--payout-address* ]] || fail "the sample leads to: $said"
}

# answers PORT PATH says whether HTTP there answers 200.
answers() {
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  read -r _ status _ <&3 && exec 3>&- && [ "$status" = 200 ]
}
await() { # await PORT PATH LOG
  for _ in $(seq 100); do
    answers "$1" "$2" 2>/dev/null && return
    sleep 0.2
  done
  tail "$3" >&2
  fail "nothing good is at port $1$2"
}

# starts runs what the units run, as their users, with the configuration that an operator would write.
starts() {
  local port=$((20000 + RANDOM % 10000))
  cat >"$root/etc/lode/lode.yaml" <<EOF
# mine
scheduler:
  master: [http://127.0.0.1:1]
  node: http://127.0.0.1:$port
  node-user: lode
  payout-address: bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080
  listen: 127.0.0.1:$((port + 1))
proxy:
  listen: 127.0.0.1:$((port + 2))
  http-listen: 127.0.0.1:$((port + 3))
  upstream: [node:http://lode:x@127.0.0.1:$port]
  payout-address: bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080
EOF
  # No functions: the processes are to be the programs themselves.
  chroot "${root:-/}" lode dev-node --listen "127.0.0.1:$port" --transactions 10 --bytes 10000 >"$work/node.log" 2>&1 &
  started+=($!)
  for unit in lode-scheduler lode-proxy; do
    within install -d -m 700 -o "$unit" -g "$unit" "/var/lib/$unit" # as StateDirectory= does
    # shellcheck disable=SC2046 # the words of ExecStart
    chroot --userspec="$unit:$unit" "${root:-/}" $(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/$unit.service") >"$work/$unit.log" 2>&1 &
    started+=($!)
  done
  await $((port + 1)) /livez "$work/lode-scheduler.log" # there is no master for more
  await $((port + 3)) /healthz "$work/lode-proxy.log"
  for pid in "${started[@]}"; do
    kill "$pid"
    wait "$pid" || [ $? = 130 ] || fail "a program ended with $?: $(tail "$work"/*.log)"
  done
  started=()
  [ -e "$root/var/lib/lode-proxy/blocks.journal" ] || fail "the proxy keeps nothing in /var/lib/lode-proxy: $(ls "$root/var/lib/lode-proxy")"
}

try_deb() {
  within mkdir -p /tmp/try
  cp "$deb" "$root/tmp/try/lode.deb"
  within dpkg --install /tmp/try/lode.deb >/dev/null
  installed
  starts
  dpkg-deb --raw-extract "$deb" "$work/next"
  sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
  dpkg-deb --build "$work/next" "$root/tmp/try/next.deb" >/dev/null
  within dpkg --install /tmp/try/next.deb >/dev/null
  [[ $(within dpkg-query -W lode) == *+next ]] || fail "the upgrade is not installed"
  grep -q '# mine' "$root/etc/lode/lode.yaml" || fail "an upgrade overwrites the configuration"
  within dpkg --remove lode >/dev/null
  [ -e "$root/var/lib/lode-proxy/blocks.journal" ] || fail "a removal deletes the state"
  within dpkg --purge lode >/dev/null
  for left in /var/lib/lode-proxy /var/lib/lode-scheduler /etc/lode /usr/bin/lode; do
    [ ! -e "$root$left" ] || fail "$left is left after a purge"
  done
  rm -r "$root/tmp/try"
}

# scriptlets of the rpm are what sh reads.
scriptlets() {
  rpm -qp --scripts "$rpm" 2>/dev/null | awk '
    / scriptlet \(using / { file = sprintf("'"$work"'/scriptlet-%d", ++n); next }
    file { print >file }'
  [ "$(ls "$work"/scriptlet-* | wc -l)" = 3 ] || fail "the rpm has other scriptlets than three"
  for s in "$work"/scriptlet-*; do sh -n "$s" || fail "a scriptlet of the rpm is no script"; done
}

try_rpm() {
  local db=(rpm --root "$root" --force-debian --nodeps)
  "${db[@]}" --install "$rpm"
  installed
  starts
  "${db[@]}" --upgrade --replacepkgs "$rpm"
  grep -q '# mine' "$root/etc/lode/lode.yaml" || fail "an upgrade overwrites the configuration"
  changed=$("${db[@]}" --verify lode | grep -v ' c /etc/lode/lode.yaml' || true)
  [ -z "$changed" ] || fail "what is installed is not what the rpm has: $changed"
  "${db[@]}" --erase lode
  [ -e "$root/var/lib/lode-proxy/blocks.journal" ] || fail "a removal deletes the state"
  grep -q '# mine' "$root/etc/lode/lode.yaml.rpmsave" || fail "a removal deletes the configuration"
  [ ! -e "$root/usr/bin/lode" ] || fail "/usr/bin/lode is left"
}

(cd dist && sha256sum --check --quiet SHA256SUMS) || fail "the checksums are of other files"

if fresh deb; then
  echo "trying $deb in a fresh Debian"
else
  dpkg -s lode >/dev/null 2>&1 && fail "lode is installed here already"
  echo "trying $deb on this machine: debootstrap does not work here"
fi
try_deb

scriptlets
if fresh rpm; then
  echo "trying $rpm in a fresh Debian"
  try_rpm
else
  echo "trying what is in $rpm only: debootstrap does not work here"
  mkdir "$work/rpm"
  rpm2cpio "$rpm" | (cd "$work/rpm" && cpio --extract --make-directories --quiet)
  diff <(cd "$work/rpm" && find . -type f -printf '%m %p\n' | sort) <(cd "$work/next" && find . -path ./DEBIAN -prune -o -type f -printf '%m %p\n' | sort) ||
    fail "the rpm has other files than the deb"
fi

for image in dist/lode-*-image.tar; do
  echo "trying $image"
  "${GO:-go}" run ./deploy/image -check "$image" -root "$work/$(basename "$image")"
done
root=$work/$(basename dist/lode-*-linux-"$arch"-image.tar)
within /usr/bin/lode --version
echo "installed, started, upgraded, removed and purged"
