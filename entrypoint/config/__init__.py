"""The file: read strictly, checked whole, turned into a `Plan`."""
