require "webrick"
s = WEBrick::HTTPServer.new(Port: ARGV[0].to_i, AccessLog: [], Logger: WEBrick::Log.new(File::NULL))
s.mount_proc("/") { |q, r| r.body = "#{Process.pid} #{q.path}" }
%w[INT TERM].each { |n| trap(n) { s.shutdown } }
s.start
