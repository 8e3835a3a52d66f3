"""The parts that run inside Celery: pool, broker transport, bootsteps and signal handlers."""
