#!/usr/bin/env escript
main([Port]) ->
    {ok, L} = gen_tcp:listen(list_to_integer(Port), [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    loop(L).
loop(L) ->
    case gen_tcp:accept(L) of
        {ok, S} -> spawn(fun() -> receive go -> serve(S) end end) ! go, ok;
        _ -> ok
    end, loop(L).
serve(S) ->
    case gen_tcp:recv(S, 0) of
        {ok, {http_request, _, {abs_path, P}, _}} ->
            skip(S), B = [os:getpid(), " ", P],
            gen_tcp:send(S, ["HTTP/1.0 200 OK\r\nContent-Length: ", integer_to_list(iolist_size(B)), "\r\n\r\n", B]);
        _ -> ok
    end, gen_tcp:close(S).
skip(S) -> case gen_tcp:recv(S, 0) of {ok, http_eoh} -> ok; {ok, _} -> skip(S); _ -> ok end.
