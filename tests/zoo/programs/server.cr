require "http/server"
s = HTTP::Server.new { |c| c.response.print "#{Process.pid} #{c.request.path}" }
s.bind_tcp "0.0.0.0", ARGV[0].to_i
s.listen
