sub { my $e = shift; my $b = "$$ $e->{PATH_INFO}"; [200, ['Content-Length' => length $b], [$b]] }
