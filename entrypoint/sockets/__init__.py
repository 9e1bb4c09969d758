"""The port: listeners held by PID 1 and the ways a worker gets them."""
