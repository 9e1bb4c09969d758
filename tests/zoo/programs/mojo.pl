use Mojolicious::Lite -signatures;
any '/*x' => { x => '' } => sub ($c) { $c->render(text => "$$ " . $c->req->url->path) };
app->log->level('error'); app->start;
