import socket

import waitress
import wsgi

waitress.serve(wsgi.app, sockets=[socket.socket(fileno=3)])
