"""A backend for servers that are not ours, each of which makes its processes in its own way."""
