"""Events in from the world, effects out to it: everything around the core but the loop."""
