"""Limits, from files as the kernel writes them, and what is made of them."""

import os

import pytest

from pilotlight_backend import cgroup


@pytest.fixture
def system(tmp_path):
    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "nonsense"}, None),
        ({"sys/fs/cgroup/cpu.max": ""}, None),
        ({"sys/fs/cgroup/cpu.max": "100000 0"}, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/cpu.max": "400000 100000",
            },
            2.0,
        ),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cpu_quota(system, files, quota):
    """Both control group versions are read, the narrowest group counts, nonsense does not."""
    assert cgroup.cpu_quota(system(files)) == quota


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4 kB\n"}, 4096),
        (
            {
                "proc/meminfo": "MemAvailable: 9000 kB\n",
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "900\n",
                "sys/fs/cgroup/memory.stat": "anon 300\ninactive_file 400\nactive_file 200\n",
            },
            700,
        ),
        ({"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "9\n"}, None),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2000",
            },
            0,
        ),
        ({"proc/meminfo": "nonsense\n\nMemAvailable: many kB\n"}, None),
    ],
)
def test_available_memory(system, files, available):
    """The narrowest limit counts, and page cache is no memory lost."""
    assert cgroup.available_memory(system(files)) == available


@pytest.mark.parametrize(("quota", "granted"), [(0.5, 1), (1.5, 1), (1000.0, None), (None, None)])
def test_granted_cpus(monkeypatch, quota, granted):
    """The quota rounded down, one at least, and no more than the process is bound to."""
    monkeypatch.setattr(cgroup, "cpu_quota", lambda: quota)
    assert cgroup.granted_cpus() == (granted or len(os.sched_getaffinity(0)))
