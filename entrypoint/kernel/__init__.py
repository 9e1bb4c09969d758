"""The only room with syscalls."""
