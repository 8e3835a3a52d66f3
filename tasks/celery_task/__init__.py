"""The Celery task ``checkpoint.solve``, and how its messages are read."""
