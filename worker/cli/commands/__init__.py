"""The commands of `checkpoint`, one module for each kind; `worker.cli` loads what is called."""

__all__: list[str] = []
