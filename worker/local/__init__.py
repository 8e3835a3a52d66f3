"""Programs for one machine without set-up: embedded Redis, demo, ``checkpoint up`` and its page."""
