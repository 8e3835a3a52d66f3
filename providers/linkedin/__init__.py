"""The adapter of LINKEDIN."""
