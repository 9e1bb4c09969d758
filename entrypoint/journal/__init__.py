"""The flight recorder: the last events of the core, kept, printed and replayed."""
