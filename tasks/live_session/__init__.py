"""The channel between a worker and a live session: the worker's end and the session's end."""
