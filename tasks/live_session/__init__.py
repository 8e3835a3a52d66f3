"""Both ends of the channel between a worker and a live session."""
