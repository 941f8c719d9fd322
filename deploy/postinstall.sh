#!/bin/sh
# Makes the users of the units. The units are not started: they need their configuration first.
set -e
if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers lode.conf
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # An upgrade: what runs goes on with the new program.
  systemctl try-restart lode-scheduler.service lode-proxy.service
fi
