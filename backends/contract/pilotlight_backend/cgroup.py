"""CPUs and memory that the machine, and the container on it, grant this process."""

import os
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = Path("/")


def cpu_quota(root: Path = _SYSTEM) -> float | None:
    """Return the CPUs that the control group grants; None if it sets no limit."""
    quotas = [_v2_quota(folder / "cpu.max") for folder in _v2_folders(root)]
    groups = root / "sys/fs/cgroup"
    quotas += [_v1_quota(groups / "cpu"), _v1_quota(groups / "cpu,cpuacct")]
    return min((quota for quota in quotas if quota is not None), default=None)


def granted_cpus() -> int:
    """Return how many threads can compute at once: the CPUs of this process, within the quota.

    Rounded down: the kernel stops a thread beyond the quota for part of each period, and the other
    threads wait for it.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(cpus, int(quota))) if quota is not None else cpus


def available_memory(root: Path = _SYSTEM) -> int | None:
    """Return the bytes that can still be allocated; None if the system does not report them.

    The page cache counts as available: the kernel frees it when memory is needed.
    """
    amounts = [_available(_fields(root / "proc/meminfo"))]
    for folder in _v2_folders(root):
        cache = _fields(folder / "memory.stat")
        amounts.append(
            _left(
                _number(folder / "memory.max"),
                _number(folder / "memory.current"),
                cache.get("inactive_file", 0) + cache.get("active_file", 0),
            )
        )
    v1 = root / "sys/fs/cgroup/memory"
    amounts.append(
        _left(
            _number(v1 / "memory.limit_in_bytes"),
            _number(v1 / "memory.usage_in_bytes"),
            _fields(v1 / "memory.stat").get("total_inactive_file", 0),
        )
    )
    return min((amount for amount in amounts if amount is not None), default=None)


def memory_size(count: int) -> str:
    """Return *count* bytes as messages print them: `22.94 GB`; less than a megabyte exactly."""
    if count < 1_000_000:  # noqa: PLR2004 - the least megabyte
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"  # noqa: PLR2004 - the least gigabyte


def _available(meminfo: dict[str, int]) -> int | None:
    kilobytes = meminfo.get("MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _left(limit: int | None, used: int | None, cache: int) -> int | None:
    return None if limit is None or used is None else max(0, limit - used + cache)


def _v2_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and its ancestors: each may set a limit."""
    groups = root / "sys/fs/cgroup"
    lines = (_read(root / "proc/self/cgroup") or "").splitlines()
    name = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = groups / name.strip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(groups))


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


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdecimal() else None  # v2 also says "max"


def _fields(path: Path) -> dict[str, int]:
    """Parse a file with a name and a number on each line."""
    pairs = (line.split()[:2] for line in (_read(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
