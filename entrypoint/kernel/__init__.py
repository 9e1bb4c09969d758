"""The only folder with system calls."""
