"""The commands of `checkpoint`, grouped by topic; `worker.cli.main` imports a module on demand."""

__all__: list[str] = []
