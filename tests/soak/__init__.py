"""Many submissions that end badly, and what each leaves behind: ``make soak``."""
