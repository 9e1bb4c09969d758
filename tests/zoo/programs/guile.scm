(use-modules (web server) (web request) (web uri))
(run-server (lambda (q b) (values '((content-type . (text/plain))) (string-append (number->string (getpid)) " " (uri-path (request-uri q)))))
  'http (list #:addr INADDR_ANY #:port (string->number (cadr (command-line)))))
