"""The adapter of INSTAGRAM."""
