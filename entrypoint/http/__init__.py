"""HTTP answers for orchestrators: alive, ready, started."""
