#!/bin/sh
# BusyBox httpd, which knows CGI only: what is executable below cgi-bin answers. Two ways to an application of ours:
#
# 1. The application itself, as plain CGI: a new process for each request, and nothing that stays.
# 2. cgi-fcgi (Debian's libfcgi-bin), which passes each request on to an application that stays: see cgi-fcgi.sh.
#
# The tests start BusyBox with this file. Its placeholders are
#   @PORT@     the HTTP port
#   @ROOT@     the document root, with an executable @ROOT@/cgi-bin/app
#
# In the root of a clone, after `cargo build --release`, as root or as an ordinary user, in the first way:
#   $ mkdir -p /tmp/site/www/cgi-bin
#   $ cp target/release/hello /tmp/site/www/cgi-bin/app
#   $ sed 's|@PORT@|8080|; s|@ROOT@|/tmp/site/www|' examples/servers/busybox-httpd.sh >/tmp/site/httpd.sh
#   $ sh /tmp/site/httpd.sh & echo $! >/tmp/site/httpd.pid
#   $ curl http://127.0.0.1:8080/cgi-bin/app/hello              # Hello, World!
# At the end:
#   $ kill $(cat /tmp/site/httpd.pid)
#
# The application is at http://127.0.0.1:@PORT@/cgi-bin/app and below. What it writes to its error log goes to the standard
# error of this script. A header line of more than about 8150 bytes is cut; an upload in chunks arrives as an empty one; no
# more than about ten clients may come at the same moment. When it is ended, what is under way is answered, and its port is
# taken until then: it cannot be restarted without refusing clients.

exec busybox httpd -f -p 127.0.0.1:@PORT@ -h @ROOT@
