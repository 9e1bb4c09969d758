"""Files that are watched: changes become one event for each app."""
