"""A client process of one version: does what a line of JSON on stdin says, many at once.

    python -m tests.upgrade.client awaited|blocking

In: ``[number, "submit", ["acc_1", "200000001"]]``. Out, first: ``[]``; then ``[number, result,
error]`` in the order of the results. The file is copied into the tree of the other version, whose
own `tests.soak.client` it imports.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.soak.client import front_of
from tests.soak.kinds import Front


async def answer(front: Front, number: int, what: str, args: list[Any]) -> None:
    """Do one thing and print its result."""
    result, error = None, None
    try:
        result = await getattr(front, what)(*args)
    except Exception as raised:  # noqa: BLE001  the parent judges
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps([number, result, error]), flush=True)  # noqa: T201


async def main() -> None:
    """Answer until stdin closes."""
    async with front_of(sys.argv[1]) as front, asyncio.TaskGroup() as calls:
        print("[]", flush=True)  # noqa: T201
        while line := await asyncio.to_thread(sys.stdin.readline):
            calls.create_task(answer(front, *json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())
