"""The port: listeners owned by PID 1 and the ways a worker gets them."""
