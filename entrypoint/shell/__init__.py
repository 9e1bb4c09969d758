"""Everything around the core except the loop: turns the world into events, performs effects."""
