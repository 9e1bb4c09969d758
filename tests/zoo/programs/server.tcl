proc accept {s a p} { fconfigure $s -blocking 0 -translation crlf; fileevent $s readable [list serve $s] }
proc serve {s} {
  if {[eof $s]} { close $s; return }
  if {[gets $s l] < 0} return
  if {![info exists ::q($s)]} { set ::q($s) [lindex $l 1]; return }
  if {$l ne ""} return
  set b "[pid] $::q($s)"; unset ::q($s)
  puts -nonewline $s "HTTP/1.0 200 OK\nContent-Length: [string length $b]\n\n$b"; flush $s; close $s
}
socket -server accept [lindex $argv 0]
vwait forever
