open Lwt
let () =
  let port = int_of_string Sys.argv.(1) in
  let callback _ req _ = Cohttp_lwt_unix.Server.respond_string ~status:`OK ~body:(Printf.sprintf "%d %s" (Unix.getpid ()) (Cohttp.Request.resource req)) () in
  Lwt_main.run (Cohttp_lwt_unix.Server.create ~mode:(`TCP (`Port port)) (Cohttp_lwt_unix.Server.make ~callback ()) >>= fun () -> return_unit)
