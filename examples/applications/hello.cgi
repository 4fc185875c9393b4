#!/bin/sh
# A CGI program, for fcgiwrap: fcgi-spawn -s /run/cgi.sock -- fcgiwrap -f
# The web server has to say where this file is: SCRIPT_FILENAME. It has to be executable.
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
