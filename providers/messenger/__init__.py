"""The adapter of MESSENGER."""
