#!/bin/sh
# postgres as the first process of a container: postgres.sh prepare DIRECTORY, and postgres.sh load DIRECTORY while it serves.
# The directory is /work in the container, where postgres runs as nobody.
set -eu
cd "$2"
programs=$(dirname "$(find /usr/lib/postgresql -path '*/bin/postgres' | sort -V | tail -n 1)")
case $1 in
prepare)
    as_nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
    ln -s "$programs/postgres" postgres
    # shellcheck disable=SC2086 # words
    $as_nobody "$programs/initdb" -U postgres -A trust --locale=C -E UTF8 --no-sync -D data >initdb.log
    cat >>data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '/work'
timezone = 'Etc/UTC'
log_timezone = 'Etc/UTC'
jit = off
END
    ;;
load)
    export PGHOST="$PWD" PGUSER=postgres PGDATABASE=postgres
    tries=100
    until "$programs/pg_isready" -q; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || exit 9
        sleep 0.1
    done
    "$programs/pgbench" -i -q >log 2>&1
    "$programs/pgbench" -n -c 4 -j 2 -t 50 >log 2>&1
    "$programs/psql" -qtA -c 'CREATE INDEX ON pgbench_accounts (abalance)' -c 'ANALYZE' -c 'CHECKPOINT'
    "$programs/psql" -qtA -c 'SELECT count(*) FROM pgbench_history'
    ;;
esac
