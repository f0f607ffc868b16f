#!/bin/sh
# Rotates the logs of the weather station. Called by cron at 04:10.
#
#   rotate-logs.sh [-n]      -n only says what would be done
#
# Exit codes: 0 done, 3 the disk is more than 95 % full, 4 another run is in progress.
set -eu

LOG_DIR=/var/log/wxstation
KEEP_DAYS=45
ARCHIVE=s3://wx-archive-eu/logs
LOCK=/run/rotate-logs.lock

dry_run=no
[ "${1:-}" = "-n" ] && dry_run=yes

exec 9>"$LOCK"
flock -n 9 || { echo "another run is in progress" >&2; exit 4; }

used=$(df --output=pcent "$LOG_DIR" | tail -1 | tr -dc 0-9)
if [ "$used" -gt 95 ]; then
    logger -p daemon.crit "wxstation: disk ${used} % full"
    exit 3
fi

find "$LOG_DIR" -name '*.log' -mtime +0 | while read -r file; do
    [ "$dry_run" = yes ] && { echo "would compress $file"; continue; }
    zstd -q --rm -19 "$file"
done

# The archive keeps everything; here only the last days stay.
[ "$dry_run" = yes ] || aws s3 sync "$LOG_DIR" "$ARCHIVE" --exclude '*' --include '*.zst'
[ "$dry_run" = yes ] || find "$LOG_DIR" -name '*.zst' -mtime +"$KEEP_DAYS" -delete
