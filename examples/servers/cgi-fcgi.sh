#!/bin/sh
# A CGI program that passes its request on to a FastCGI application, for web servers that know CGI only.
#
# The tests use this file. Its placeholder is
#   @ADDRESS@  the application's address: a path, or HOST:PORT
# and its place, as an executable, is where the web server keeps its CGI programs. cgi-fcgi is in Debian's libfcgi-bin.
# Every environment variable becomes a param of the request, the web server's own among them.
#
# In the root of a clone, after `cargo build --release`, as root or as an ordinary user, behind BusyBox httpd:
#   $ mkdir -p /tmp/site/www/cgi-bin
#   $ sed 's|@ADDRESS@|/tmp/app.sock|' examples/servers/cgi-fcgi.sh >/tmp/site/www/cgi-bin/app
#   $ chmod +x /tmp/site/www/cgi-bin/app
#   $ target/release/fcgi-spawn -s /tmp/app.sock -M 666 -P /tmp/app.pid -F 2 -- target/release/hello
#   $ busybox httpd -f -p 127.0.0.1:8080 -h /tmp/site/www & echo $! >/tmp/site/httpd.pid
#   $ curl http://127.0.0.1:8080/cgi-bin/app/hello              # Hello, World!
# At the end:
#   $ kill $(cat /tmp/app.pid) $(cat /tmp/site/httpd.pid)

exec cgi-fcgi -bind -connect @ADDRESS@
