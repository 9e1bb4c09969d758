"""PM2's own file formats: read by PM2's rules, turned into pyinit's keys."""
