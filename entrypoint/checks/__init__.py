"""Performs the active checks of workers that the file's `health` configures."""
