"""How many threads compute."""

import os
from pathlib import Path

_SMALL_MODEL = 50_000_000
_SYSTEM = Path("/")


def choose(model_bytes: int, root: Path = _SYSTEM) -> int:
    """Return the threads for a model of *model_bytes*, from the CPUs this process may use.

    ggml's threads meet at a barrier after each operation. Of a small model the operations take
    microseconds: a second thread gains little, and where another process takes its core for a
    moment everything stands still for that time.
    """
    if model_bytes < _SMALL_MODEL:
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    # Rounded down: a thread more than the quota allows is stopped for part of each period, and
    # the others wait for it.
    return max(1, min(cpus, int(quota))) if quota is not None else cpus


def cpu_quota(root: Path = _SYSTEM) -> float | None:
    """Return the CPUs that the control group grants, None where it sets no limit."""
    groups = root / "sys/fs/cgroup"
    quotas = [_v2_quota(folder / "cpu.max") for folder in _v2_folders(root, groups)]
    quotas += [_v1_quota(groups / "cpu"), _v1_quota(groups / "cpu,cpuacct")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _v2_folders(root: Path, groups: Path) -> list[Path]:
    """Return this process's group and those around it: each may set a limit."""
    lines = (_read(root / "proc/self/cgroup") or "").splitlines()
    name = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = groups / name.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(groups))]


def _v2_quota(path: Path) -> float | None:
    quota, _, period = (_read(path) or "max").partition(" ")
    return None if quota == "max" else _ratio(quota, period or "100000")


def _v1_quota(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us")
    period = _read(folder / "cpu.cfs_period_us")
    return None if quota is None or period is None else _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cpus if cpus > 0 else None  # -1 is v1's "no limit"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
