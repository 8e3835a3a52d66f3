"""How many processors ``--processes auto`` counts, on machines and in containers of every kind."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from checkpoint_worker.worker.runtime.processes.cpus import quota, usable_cpus

V2 = "31 23 0:28 / {mount} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY = "35 31 0:32 / {mount} rw,relatime - cgroup cgroup rw,memory\n"


def machine(home: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """Make the files of a machine; return its folder in place of /proc/self."""
    for name, text in files.items():
        path = home / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    proc = home / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(mounts.replace("{mount}", str(home / "cgroup")))
    return proc


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cpus"),
    [
        pytest.param("0::/\n", V2, {"cpu.max": "250000 100000\n"}, 2.5, id="container, version 2"),
        pytest.param("0::/\n", V2, {"cpu.max": "max 100000\n"}, math.inf, id="no limit"),
        pytest.param("0::/\n", V2, {}, math.inf, id="the root group of a machine"),
        pytest.param(
            "0::/a.slice/b.service\n",
            V2,
            {
                "a.slice/cpu.max": "150000 100000\n",
                "a.slice/b.service/cpu.max": "400000 100000\n",
            },
            1.5,
            id="the limit of an outer group",
        ),
        pytest.param(
            "0::/a.slice/b.service\n",
            V2,
            {"a.slice/cpu.max": "max 100000\n", "a.slice/b.service/cpu.max": "50000 100000\n"},
            0.5,
            id="half a processor",
        ),
        pytest.param(
            "4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            V1.replace("{root}", "/docker/abc"),
            {"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"},
            3.0,
            id="container, version 1, which sees its path from outside",
        ),
        pytest.param(
            "4:cpu:/a\n",
            V1.replace("{root}", "/"),
            {
                "cpu.cfs_quota_us": "-1\n",
                "cpu.cfs_period_us": "100000\n",
                "a/cpu.cfs_quota_us": "200000\n",
                "a/cpu.cfs_period_us": "100000\n",
            },
            2.0,
            id="version 1, -1 is no limit",
        ),
        pytest.param(
            "4:cpu:/\n0::/\n",
            V1.replace("{root}", "/") + MEMORY,
            {"cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "0\n"},
            math.inf,
            id="nonsense",
        ),
        pytest.param("7:memory:/\n", MEMORY, {"cpu.max": "1 1\n"}, math.inf, id="no controller"),
        pytest.param(
            "0::/../other\n", V2, {"cpu.max": "200000 100000\n"}, 2.0, id="a group outside"
        ),
    ],
)
def test_the_quota_is_the_smallest_around_the_process(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], cpus: float
) -> None:
    """Both versions of control groups, nested, and seen from inside a container."""
    assert quota(machine(tmp_path, groups, mounts, files)) == cpus


@pytest.mark.parametrize(
    ("allowed", "limit", "counted"),
    [(8, "max", 8), (8, "250000", 2), (2, "800000", 2), (4, "20000", 1), (1, "max", 1)],
)
def test_affinity_and_quota_bound_the_count_and_one_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, limit: str, counted: int
) -> None:
    """A process more than the quota carries would be throttled; none at all would serve nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    proc = machine(tmp_path, "0::/\n", V2, {"cpu.max": f"{limit} 100000\n"})
    assert usable_cpus(proc) == counted


def test_a_system_without_these_files_has_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS: no /proc, no affinity."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path / "missing") == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path / "missing") == 1


def test_this_machine_can_be_counted() -> None:
    """Whatever it is."""
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
