import asynchttpserver, asyncdispatch, os, strutils, posix
proc main() {.async.} =
  var s = newAsyncHttpServer(reuseAddr = true)
  proc cb(r: Request) {.async, gcsafe.} = await r.respond(Http200, $getpid() & " " & r.url.path)
  s.listen(Port(parseInt(paramStr(1))))
  while true:
    if s.shouldAcceptRequest(): await s.acceptRequest(cb)
    else: await sleepAsync(50)
waitFor main()
