"""Several worker processes under one command: `checkpoint worker --processes`.

`supervisor` starts them and passes signals on, `rules` decides when one is replaced or given up,
`report` gives all of them one health address, `child` is the part inside each of them, and `cpus`
counts the processors of ``auto``.
"""

__all__: list[str] = []
