#!/bin/sh
# BusyBox httpd, which knows CGI only: what is executable below cgi-bin answers. Two ways to an application of ours:
#
# 1. The application itself, as plain CGI: a new process for each request, and nothing that stays.
#        cp /path/to/application @ROOT@/cgi-bin/app
# 2. cgi-fcgi (Debian's libfcgi-bin), which passes each request on to an application that stays: see cgi-fcgi.sh.
#        cp cgi-fcgi.sh @ROOT@/cgi-bin/app
#
# The tests start BusyBox with this very file. To do so by hand, put real values in place of
#   @PORT@     the HTTP port
#   @ROOT@     the document root, with an executable @ROOT@/cgi-bin/app
# The application is at http://127.0.0.1:@PORT@/cgi-bin/app and below. What it writes to its error log goes to the standard
# error of this script. A header line of more than about 8150 bytes is cut; an upload in chunks arrives as an empty one; no
# more than about ten clients may come at the same moment. When it is ended, what is under way is answered, and its port is
# taken until then: it cannot be restarted without turning somebody away.

exec busybox httpd -f -p 127.0.0.1:@PORT@ -h @ROOT@
