local copas, socket = require "copas", require "socket"
local pid = io.open("/proc/self/stat"):read("*n")
local s = assert(socket.tcp()); s:setoption("reuseaddr", true); assert(s:bind("0.0.0.0", tonumber(arg[1]))); assert(s:listen(64))
copas.addserver(s, function(c)
  c = copas.wrap(c)
  local l = c:receive() or ""; while true do local h = c:receive(); if not h or h == "" then break end end
  local b = pid .. " " .. (l:match("^%S+ (%S+)") or "/")
  c:send("HTTP/1.0 200 OK\r\nContent-Length: " .. #b .. "\r\n\r\n" .. b); c:close()
end)
copas.loop()
