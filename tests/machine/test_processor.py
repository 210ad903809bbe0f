"""The number of cores that a process may use, from Linux's files."""

from __future__ import annotations

import pytest

from gpucnn.machine import processor

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
QUOTA, PERIOD = (f"/sys/fs/cgroup/cpu/cpu.cfs_{key}_us" for key in ("quota", "period"))
FOUR_CORES = {SIBLINGS.format(cpu): f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}


@pytest.mark.parametrize(
    ("allowed", "files", "cores"),
    [
        (range(8), FOUR_CORES, 4),
        ((0, 4, 1), FOUR_CORES, 2),
        (range(8), {}, 8),
        (range(8), {**FOUR_CORES, "/sys/fs/cgroup/cpu.max": "max 100000"}, 4),
        (range(8), {**FOUR_CORES, "/sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
        (range(8), {**FOUR_CORES, "/sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (range(8), {**FOUR_CORES, "/sys/fs/cgroup/cpu.max": "270000 100000"}, 2),
        (range(8), {**FOUR_CORES, "/sys/fs/cgroup/cpu.max": "900000 100000"}, 4),
        (range(8), {**FOUR_CORES, QUOTA: "300000", PERIOD: "100000"}, 3),
        (range(8), {**FOUR_CORES, QUOTA: "-1", PERIOD: "100000"}, 4),
    ],
)
def test_cores(
    monkeypatch: pytest.MonkeyPatch, allowed: range, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(allowed), raising=False)
    monkeypatch.setattr(processor, "_text", lambda path: files.get(path, ""))
    assert processor.cores() == cores


def test_cores_where_the_system_reports_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.setattr(processor, "_text", lambda path: "")
    assert processor.cores() == 6
    assert processor.name()
