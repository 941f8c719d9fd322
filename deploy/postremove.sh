#!/bin/sh
# State, blocks among it, goes with a purge only.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/lode-scheduler /var/lib/lode-proxy /etc/lode
fi
