"""The pure core: decides everything about workers. Makes no system calls."""
