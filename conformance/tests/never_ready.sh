#!/bin/sh
# A server that never says that it is ready. Its process is told in $PID_FILE.
echo $$ >"$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"
exec sleep 600
