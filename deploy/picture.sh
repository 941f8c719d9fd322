#!/usr/bin/env bash
# Makes docs/dashboard.png, the picture of README: the page of a development cluster that has mined for
# three minutes. Needs what `make build` needs, and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
make build
work=$(mktemp -d)
bin/lode dev --agents 4 --cpus 1.5 --listen 127.0.0.1:8659 >"$work/log" 2>&1 &
cluster=$!
trap 'kill $cluster 2>/dev/null; wait $cluster 2>/dev/null; rm -rf "$work"' EXIT
sleep 180
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$work/profile" --window-size=1440,860 \
  --virtual-time-budget=30000 --screenshot=docs/dashboard.png http://127.0.0.1:8659/ 2>/dev/null
size=$(stat -c %s docs/dashboard.png)
echo "docs/dashboard.png: $size bytes"
[ "$size" -lt 200000 ] || { echo "it is larger than 200 kB" >&2; exit 1; }
