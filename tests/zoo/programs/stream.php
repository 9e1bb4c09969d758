<?php
$s = stream_socket_server(is_numeric($argv[1]) ? "tcp://0.0.0.0:$argv[1]" : "unix://$argv[1]", $e, $m) or exit("$m\n");
while (true) { $c = @stream_socket_accept($s, -1); if (!$c) continue;
  $l = fgets($c); while (($h = fgets($c)) !== false && trim($h) !== '') {}
  $b = getmypid() . ' ' . (explode(' ', (string)$l)[1] ?? '/'); fwrite($c, "HTTP/1.0 200 OK\r\nContent-Length: " . strlen($b) . "\r\n\r\n$b"); fclose($c); }
