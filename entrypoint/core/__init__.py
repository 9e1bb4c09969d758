"""The pure core: decides everything about workers and touches nothing."""
