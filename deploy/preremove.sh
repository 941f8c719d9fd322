#!/bin/sh
# Stops the units when the package goes, not when it is replaced (deb: upgrade, rpm: 1).
set -e
case "$1" in
upgrade | 1) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl --no-reload disable --now lode-scheduler.service lode-proxy.service || true
fi
