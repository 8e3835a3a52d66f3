"""The execution of accepted submissions in a worker: attempts, heartbeat, sweep."""
