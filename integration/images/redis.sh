#!/bin/sh
# redis-server as the first process of a container: redis.sh prepare DIRECTORY, and redis.sh load DIRECTORY while it serves.
# The directory is /work in the container.
set -eu
cd "$2"
case $1 in
prepare)
    mkdir data
    ;;
load)
    # Before and after a save, which a child process makes.
    redis-benchmark -s s -q -n 500 -c 8 -t set,get,lpush,lpop,zadd >benchmark
    redis-cli -s s bgsave
    until redis-cli -s s info persistence | grep -q 'rdb_bgsave_in_progress:0'; do sleep 0.1; done
    redis-cli -s s info persistence | grep -o 'rdb_last_bgsave_status:ok'
    redis-benchmark -s s -q -n 500 -c 8 -t set,get >benchmark
    redis-cli -s s set a 41
    redis-cli -s s incr a
    ;;
esac
