require "sinatra/base"
class Zoo < Sinatra::Base
  set :bind, "0.0.0.0"; set :port, ARGV[0].to_i; set :server, :puma; set :logging, false; set :quiet, true; set :environment, :production
  get("/*") { "#{Process.pid} #{request.path}" }
end
Zoo.run!
