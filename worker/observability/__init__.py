"""What the process shows of itself: logs, metrics, health, status."""
