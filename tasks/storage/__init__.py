"""The ledger in Redis: the only code that reads and writes it."""
