#!/usr/bin/env bash
# Makes docs/dashboard.png, the picture of README: the page of a development cluster that has mined for
# six minutes. Needs what `make build` needs, and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
make build
work=$(mktemp -d)
bin/lode dev --agents 7 --cpus 1 --listen 127.0.0.1:8659 >"$work/log" 2>&1 &
cluster=$!
trap 'kill $cluster 2>/dev/null; wait $cluster 2>/dev/null || true; rm -rf "$work"' EXIT
sleep 260
go run ./deploy/picture -wait 100s -out docs/dashboard.png http://127.0.0.1:8659/
size=$(stat -c %s docs/dashboard.png)
echo "docs/dashboard.png: $size bytes"
[ "$size" -lt 200000 ] || { echo "it is larger than 200 kB" >&2; exit 1; }
