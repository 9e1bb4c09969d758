httpuv::runServer("0.0.0.0", as.integer(commandArgs(TRUE)[1]), list(call = function(req) list(status = 200L, headers = list(), body = paste(Sys.getpid(), req$PATH_INFO))))
