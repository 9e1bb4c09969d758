"""The config file: read strictly, checked as a whole, turned into a `Plan`."""
