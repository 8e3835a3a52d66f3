"""The command line ``checkpoint``."""
