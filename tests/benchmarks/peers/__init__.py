"""The same job on other queues, which the product is measured beside; no promises kept."""
