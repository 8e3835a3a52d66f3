"""The adapter of TWITTER."""
