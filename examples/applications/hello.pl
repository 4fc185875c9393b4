#!/usr/bin/perl
# Perl's FCGI (Debian's libfcgi-perl), which serves the listening socket on descriptor 0.
#
# In the root of a clone, after `cargo build --release`:
#   $ target/release/fcgi-spawn -s /tmp/perl.sock -M 666 -P /tmp/perl.pid -F 2 -- perl examples/applications/hello.pl
#   $ /usr/sbin/nginx -p "$PWD" -c examples/servers/quickstart.conf -e /tmp/quickstart.log
#   $ curl 'http://127.0.0.1:8081/perl?name=Perl'               # Hello, Perl
# At the end:
#   $ kill $(cat /tmp/perl.pid) $(cat /tmp/quickstart.pid)
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use FCGI;

my $request = FCGI::Request();
while ($request->Accept() >= 0) {
    my %query = map { split /=/, $_, 2 } grep { /=/ } split /&/, $ENV{QUERY_STRING} // '';
    print STDERR "$query{log}\n" if defined $query{log};    # the web server's error log
    print "Content-Type: text/plain\r\n\r\n";
    if ($ENV{REQUEST_METHOD} eq 'POST') {
        my ($body, $part) = ('', '');
        $body .= $part while read(STDIN, $part, 65536);
        print length($body), ' ', sha256_hex($body), "\n";
    } else {
        print 'Hello, ', $query{name} // 'World', "\n";
    }
}
