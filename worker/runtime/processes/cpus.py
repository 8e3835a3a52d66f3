"""Counts the processors that this process may use, for ``--processes auto``.

Two limits apply: the affinity of the process (``taskset``, ``cpuset``) and the CPU quota of its
control group, which is how a container's CPU limit is enforced. ``os.cpu_count`` knows neither.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")


def usable_cpus(proc: Path = PROC) -> int:
    """Return the number of processors that this process can keep busy, at least 1.

    A fraction of the quota is dropped: one process more than the quota carries would be throttled,
    and a throttled loop holds codes back.

    Args:
        proc: Folder with ``cgroup`` and ``mountinfo`` of the process (proc(5)).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, int(min(cpus, quota(proc))))


def quota(proc: Path = PROC) -> float:
    """Return the smallest CPU quota of the control groups around a process, in processors.

    The result is infinite if there is no quota or if the files cannot be read; then only the
    affinity limits.
    """
    try:
        groups = (proc / "cgroup").read_text("utf-8")
        mounts = (proc / "mountinfo").read_text("utf-8")
    except (OSError, ValueError):
        return math.inf
    return min((_quota_of(folder) for folder in _folders(groups, mounts)), default=math.inf)


def _folders(groups: str, mounts: str) -> Iterator[Path]:
    """Yield the folders of the CPU controller, from the own group up to the mount point."""
    paths: dict[str, str] = {}
    for line in groups.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            paths["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = path
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        root, place = before.split(" ")[3:5]
        # A container may see the path of its group from outside; the mount begins at the group.
        own, top = PurePosixPath(paths[kind]), PurePosixPath(root)
        inside = own.relative_to(top) if own.is_relative_to(top) else PurePosixPath()
        folder = Path(place)
        yield folder
        for part in inside.parts:
            folder /= part
            yield folder


def _quota_of(folder: Path) -> float:
    """Return the quota of one control group of either version; infinite without one."""
    try:
        if (both := folder / "cpu.max").exists():
            quota_us, period_us = both.read_text("utf-8").split()
        else:
            quota_us = (folder / "cpu.cfs_quota_us").read_text("utf-8")
            period_us = (folder / "cpu.cfs_period_us").read_text("utf-8")
        found = int(quota_us) / int(period_us)
    except (OSError, ValueError, ZeroDivisionError):  # In most groups the quota is ``max``.
        return math.inf
    return found if found > 0 else math.inf  # Version 1 writes -1 if there is no quota.
