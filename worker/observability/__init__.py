"""Logs, metrics, health and status of a process."""
