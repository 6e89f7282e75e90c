#!/bin/sh
# redis-server with an append-only file and snapshots, under redis-benchmark: background saves, rewrites, scripts,
# transactions, publish/subscribe, a replica, and a restart from either file.
#
# redis.sh [OPTION...]: with additional options for each server.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

more=$*
port=$(free_port 16379)
replica_port=$(free_port $((port + 1)))

cli() { redis-cli -p "$port" "$@"; }
replica() { redis-cli -p "$replica_port" "$@"; }
# info FIELD: prints a value of INFO.
info() { cli info | tr -d '\r' | sed -n "s/^$1://p"; }

stop_servers() {
    for pidfile in "$work"/*.pid; do
        [ ! -s "$pidfile" ] || kill -TERM "$(cat "$pidfile")"
    done
}

# serve NAME PORT OPTION...: starts a server as a daemon, and waits until it answers.
serve() {
    name=$1
    serve_port=$2
    shift 2
    mkdir -p "$name"
    # shellcheck disable=SC2086 # several
    redis-server $more --daemonize yes --bind 127.0.0.1 --port "$serve_port" --dir "$work/$name" --pidfile "$work/$name.pid" \
        --logfile "$work/$name.log" --appendfsync everysec --save '3600 1' "$@"
    until_true answers "$serve_port"
}
answers() { [ "$(redis-cli -p "$1" ping)" = PONG ]; }
# end NAME PORT: saves and shuts down a server.
end() {
    redis-cli -p "$2" shutdown save
    until_true [ ! -e "$work/$1.pid" ]
}

serve main "$port" --appendonly yes --io-threads 2 --unixsocket "$work/main.sock" --repl-diskless-sync-delay 0
same 'answers' 'PONG' "$(cli ping)"
same 'through a unix socket' 'PONG' "$(redis-cli -s main.sock ping)"
cli mset a 1 b 2
cli rpush list x y z
cli hset hash field value
cli zadd set 1 one 2 two
cli xadd stream 1-1 key value
same 'a transaction' '2 3' "$(printf 'MULTI\nINCR a\nINCR b\nEXEC\n' | cli | tail -n 2 | paste -sd ' ')"
same 'a script' '6' "$(cli eval 'return redis.call("incrby", KEYS[1], ARGV[1])' 1 a 4)"
cli set brief 1 px 20 >/dev/null
gone() { [ "$(cli exists brief)" = 0 ]; }
check 'a key expires' until_true gone
same 'the configuration' 'allkeys-lru' "$(cli config set maxmemory-policy allkeys-lru >/dev/null && cli config get maxmemory-policy | tail -n 1)"
redis-cli -p "$port" subscribe news >heard &
heard() { grep -q "$1" heard; }
until_true heard subscribe
cli publish news hello
check 'a message is heard' until_true heard hello
kill $!
wait

redis-benchmark -p "$port" -q -n 200 -c 10 -t set,get,incr,lpush,rpop,sadd,hset,zadd,mset -d 64 >benchmark
same 'the benchmark' '9' "$(tr '\r' '\n' <benchmark | grep -c 'p50=.*msec$')"
redis-benchmark -p "$port" -q -n 4000 -c 10 -P 16 --threads 2 -r 2000 set key:__rand_int__ value >/dev/null
cli flushdb async >/dev/null
cli mset a 6 b 3 >/dev/null

# Saving and rewriting in the background, by a forked child.
saved() { [ "$(info rdb_bgsave_in_progress) $(info aof_rewrite_in_progress) $(info aof_rewrite_scheduled)" = '0 0 0' ]; }
cli debug populate 5000 >/dev/null 2>&1 || seq 1 2000 | sed 's/.*/SET key:& value/' | cli --pipe >/dev/null
cli bgsave
until_true saved
same 'saved' 'ok' "$(info rdb_last_bgsave_status)"
cli bgrewriteaof
until_true saved
same 'rewritten' 'ok' "$(info aof_last_bgrewrite_status)"
size=$(cli dbsize)

# A replica copies all data, and later changes.
serve copy "$replica_port" --replicaof "127.0.0.1 $port"
linked() { [ "$(replica dbsize)" = "$size" ]; }
until_true linked
cli set late 1
followed() { [ "$(replica get late)" = 1 ]; }
check 'the replica follows' until_true followed
same 'the replica only reads' '1' "$(replica set a 1 2>&1 | grep -c READONLY)"
end copy "$replica_port"

# Restarts: from the append-only file, then from the snapshot.
sleep 1.1 # the append-only file is synced once a second, in a thread
end main "$port"
check 'the append-only file' sh -c 'redis-check-aof main/appendonlydir/*.manifest | grep -q "All AOF files and manifest are valid"'
check 'the snapshot' sh -c 'redis-check-rdb main/dump.rdb | grep -q "RDB looks OK"'
serve main "$port" --appendonly yes
same 'from the append-only file' '6 1' "$(cli mget a late | paste -sd ' ')"
end main "$port"
serve main "$port" --appendonly no
same 'from the snapshot' '6 1' "$(cli mget a late | paste -sd ' ')"
end main "$port"
same 'no warnings but of the machine' '0' "$(grep -h ' # ' ./*.log | grep -v -c -E 'WARNING|oO0|Server initialized|Diskless|Redis version|Configuration loaded|User requested|exit|Redis is now ready|sched|overcommit|Connection with replica|Connection with master|memory' || :)"
finish
