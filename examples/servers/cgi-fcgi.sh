#!/bin/sh
# A CGI program that passes its request on to a FastCGI application, for web servers that know CGI only.
#
# The tests use this very file. To do so by hand, put in place of
#   @ADDRESS@  the application's address: a path, or HOST:PORT
# and put it, executable, where the web server keeps its CGI programs. cgi-fcgi is in Debian's libfcgi-bin. Every
# environment variable becomes a param of the request, the web server's own among them.

exec cgi-fcgi -bind -connect @ADDRESS@
