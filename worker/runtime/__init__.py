"""How the job runs inside Celery: pool, broker transport, bootsteps, signals."""
