#!/bin/sh
# A CGI program, for fcgiwrap or our cgi-bridge. It has to be executable, and the web server has to say where it is:
# SCRIPT_FILENAME.
#
# In the root of a clone, after `cargo build --release`, as an ordinary user: fcgiwrap runs programs as its own user.
#   $ target/release/fcgi-spawn -s /tmp/cgi.sock -P /tmp/cgi.pid -- /usr/sbin/fcgiwrap -f
#   $ /usr/sbin/nginx -p "$PWD" -c examples/servers/quickstart.conf -e /tmp/quickstart.log
#   $ curl 'http://127.0.0.1:8081/cgi-bin/hello.cgi?name=CGI'   # Hello, CGI
# At the end:
#   $ kill $(cat /tmp/cgi.pid) $(cat /tmp/quickstart.pid)
value() { printf '%s\n' "$QUERY_STRING" | tr '&' '\n' | sed -n "s/^$1=//p"; }

log=$(value log)
if [ -n "$log" ]; then echo "$log" >&2; fi      # the web server's error log, because of -f
printf 'Content-Type: text/plain\r\n\r\n'
if [ "$REQUEST_METHOD" = POST ]; then
    sha256sum | sed "s/^\([0-9a-f]*\).*/$CONTENT_LENGTH \1/"
else
    name=$(value name)
    echo "Hello, ${name:-World}"
fi
