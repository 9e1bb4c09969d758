use HTTP::Daemon; use HTTP::Response;
my $d = HTTP::Daemon->new(LocalPort => $ARGV[0], LocalAddr => '0.0.0.0', ReuseAddr => 1, Listen => 50) or die $!;
$SIG{PIPE} = 'IGNORE';
while (my $c = $d->accept) { while (my $r = $c->get_request) { $c->force_last_request; $c->send_response(HTTP::Response->new(200, 'OK', [], "$$ " . $r->uri->path)); } $c->close; }
