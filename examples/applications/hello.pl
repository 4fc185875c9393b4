#!/usr/bin/perl
# Perl's FCGI (Debian's libfcgi-perl): fcgi-spawn -s /run/hello.sock -F 2 -- perl hello.pl
# It serves the listening socket on descriptor 0.
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
