#!/bin/sh
# nginx as the first process of a container: nginx.sh prepare DIRECTORY, and nginx.sh load DIRECTORY while it serves.
# The directory is /work in the container.
set -eu
umask 022
cd "$2"
case $1 in
prepare)
    mkdir www
    echo small >www/small.txt
    seq 1 50000 >www/large.txt
    cat >nginx.conf <<END
user nobody nogroup;
worker_processes 2;
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 64; }
http {
    access_log /work/access.log;
    client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/c;
    sendfile on;
    gzip on;
    gzip_types text/plain;
    server { listen unix:/work/s; listen 8080; root /work/www; }
}
END
    ;;
load)
    get() { curl -q -sS -m 30 --unix-socket s "$@" 2>>log; }
    # shellcheck disable=SC2016 # curl's
    get -Z --parallel-max 8 'http://localhost/small.txt?[1-200]' | grep -c small
    get http://localhost/large.txt | cmp - www/large.txt
    get --compressed http://localhost/large.txt | cmp - www/large.txt
    get -o /dev/null -w '%{http_code}\n' http://localhost/none
    ;;
esac
