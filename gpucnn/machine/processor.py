"""The processor, as the operating system describes it. Imports nothing that imports NumPy."""

from __future__ import annotations

import os
import platform
from pathlib import Path

# The instruction sets that OpenBLAS's SkylakeX kernels use. Without one of them a process that
# runs these kernels is killed by an illegal instruction.
_SKYLAKEX = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma", "avx2"}


def cpuinfo(key: str) -> str:
    """Return the value of ``key`` for the first processor in Linux's /proc/cpuinfo, else ""."""
    lines = _text("/proc/cpuinfo").splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.partition("\t")[0] == key)
    return next(found, "")


def name() -> str:
    """Return the name of the processor model."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def has_avx512() -> bool:
    """Return whether the processor can run OpenBLAS's AVX-512 kernels."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and set(cpuinfo("flags").split()) >= _SKYLAKEX


def cores() -> int:
    """Return the number of physical cores that this process may use, at least 1.

    CPU affinity and the CPU limit of a container are taken into account where the system reports
    them. Where it does not report which logical processors share a core, each counts as one.
    """
    if hasattr(os, "sched_getaffinity"):
        siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        count = len({_text(siblings.format(cpu)) or cpu for cpu in os.sched_getaffinity(0)})
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, _quota() or count))


def _quota() -> int | None:
    """Return the CPU limit of a Linux container in whole processors, None without a limit."""
    root = "/sys/fs/cgroup"
    limit = _text(f"{root}/cpu.max") or " ".join(
        _text(f"{root}/cpu/cpu.cfs_{key}_us") for key in ("quota", "period")
    )
    quota, _, period = limit.partition(" ")
    if not (quota.isdecimal() and period.isdecimal()):
        return None
    return max(1, int(quota) // int(period))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
