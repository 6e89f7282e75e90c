#!/bin/sh
# nginx as a daemon with two workers: static files, gzip, ranges, a proxy, an unprivileged port and a unix socket, under load
# from curl; it reopens logs, reloads its configuration under load, and quits gracefully.
#
# nginx.sh [DIRECTIVE]: with an additional directive in the configuration.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

more=${1-}
port=$(free_port 18080)
url=http://127.0.0.1:$port

configure() {
    # As root, the master drops the privileges of its workers, which must have access to the files.
    if [ "$(id -u)" -eq 0 ]; then user='user www-data;'; else user=; fi
    cat >nginx.conf <<EOF
$user
$more
worker_processes 2;
pid $work/nginx.pid;
error_log $work/error.log notice;
events { worker_connections 64; }
http {
    access_log $work/access.log;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    types { text/html html; text/plain txt; }
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    gzip on;
    gzip_types text/plain;
    gzip_min_length 100;
    gzip_proxied any;
    server {
        listen 127.0.0.1:$port reuseport;
        root $work/www;
        location / { add_header X-Generation $1; }
        location /list/ { autoindex on; }
        location /threads/ { alias $work/www/; aio threads; directio 4k; sendfile off; }
        location /proxy/ { proxy_pass http://unix:$work/back.sock:/; }
        location /teapot { return 418 "short and stout\n"; }
    }
    server {
        listen unix:$work/back.sock;
        root $work/www;
    }
}
EOF
}

stop_servers() {
    [ ! -s "$work/nginx.pid" ] || kill -TERM "$(cat "$work/nginx.pid")"
}

# get CURL-OPTION...: quiet, with a time limit, fails only on transport errors.
get() { curl -q -sS --noproxy '*' -m 30 "$@"; }
gets_large() { get "$@" | cmp - www/large.txt; }
generation() { get -o /dev/null -D - "$url/small.txt" | tr -d '\r' | sed -n 's/^X-Generation: //p'; }

mkdir -p www/list www/closed
echo small >www/small.txt
seq 1 50000 >www/large.txt
echo '<p>index</p>' >www/index.html
touch -d '2001-01-01 00:00:00' www/* && touch www/list/a www/list/b
chmod 755 "$work"

configure one
nginx -e "$work/error.log" -q -t -c "$work/nginx.conf"
nginx -e "$work/error.log" -c "$work/nginx.conf"
until_true get "$url/"
master=$(cat nginx.pid)

same 'index' '<p>index</p>' "$(get "$url/")"
same 'status codes' '200 404 418 403' "$(for path in small.txt none teapot closed/; do get -o /dev/null -w '%{http_code} ' "$url/$path"; done | sed 's/ $//')"
check 'a large file, with sendfile' gets_large "$url/large.txt"
check 'a large file, with gzip' gets_large --compressed "$url/large.txt"
check 'a large file, through threads' gets_large "$url/threads/large.txt"
check 'a large file, through a proxy' gets_large "$url/proxy/large.txt"
get --unix-socket back.sock http://localhost/small.txt
same 'a range' '2' "$(get -r 0-1 "$url/large.txt" | wc -c | tr -d ' ')"
same 'not modified' '304' "$(get -o /dev/null -w '%{http_code}' -z 'Mon, 01 Jan 2001 00:00:00 GMT' "$url/small.txt")"
same 'head' 'HTTP/1.1 200 OK' "$(get -I "$url/small.txt" | head -n 1 | tr -d '\r')"
same 'a listing' '2' "$(get "$url/list/" | grep -c -E '>[ab]<')"
same 'posting to a file is refused' '405' "$(head -c 200000 /dev/zero | get -o /dev/null -w '%{http_code}' -H 'Expect:' --data-binary @- "$url/small.txt")"

# load CONNECTIONS REQUESTS: prints the number of correct answers.
load() {
    n=0
    while [ "$n" -lt "$1" ]; do
        get "$url/small.txt?$n-[1-$2]" >"load.$n" &
        n=$((n + 1))
    done
    wait
    cat load.* | grep -c '^small$'
    rm load.*
}
same 'under load' '200' "$(load 4 50)"

# Logs are reopened and the configuration is replaced during requests: none is lost.
mv access.log access.old
kill -USR1 "$master"
until_true [ -e access.log ]
configure two
load 4 100 >reload &
sleep 0.05
kill -HUP "$master"
wait
same 'reloaded under load' '400' "$(cat reload)"
answers_two() { [ "$(generation)" = two ]; }
check 'the new configuration' until_true answers_two
same 'the same master' "$master" "$(cat nginx.pid)"

kill -QUIT "$master"
check 'a graceful end' until_true [ ! -e nginx.pid ]
same 'no alarms' '0' "$(grep -c -E '\[(alert|crit|emerg)\]' error.log || :)"
finish
