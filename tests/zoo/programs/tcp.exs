{port, ""} = Integer.parse(hd(System.argv()))
{:ok, l} = :gen_tcp.listen(port, [:binary, packet: :line, active: false, reuseaddr: true])
serve = fn s ->
  case :gen_tcp.recv(s, 0) do
    {:ok, line} ->
      Stream.repeatedly(fn -> :gen_tcp.recv(s, 0) end) |> Enum.find(fn r -> r == {:ok, "\r\n"} or match?({:error, _}, r) end)
      b = "#{System.pid()} #{line |> String.split(" ") |> Enum.at(1)}"
      :gen_tcp.send(s, "HTTP/1.0 200 OK\r\nContent-Length: #{byte_size(b)}\r\n\r\n#{b}")
    _ -> :ok
  end
  :gen_tcp.close(s)
end
loop = fn loop -> {:ok, s} = :gen_tcp.accept(l); pid = spawn(fn -> receive do :go -> serve.(s) end end); :gen_tcp.controlling_process(s, pid); send(pid, :go); loop.(loop) end
loop.(loop)
