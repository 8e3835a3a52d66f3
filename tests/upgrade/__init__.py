"""Two versions at once over one Redis, as during an upgrade and a rollback: ``make upgrade``."""
