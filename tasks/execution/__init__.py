"""What a worker does with an accepted submission: attempts, heartbeat, sweep."""
