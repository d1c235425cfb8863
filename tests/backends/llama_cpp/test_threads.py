"""The choice of threads, from files as the kernel writes them."""

import os

import pytest

from pilotlight_llama_cpp import threads

LARGE = 10**9


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
    assert threads.cpu_quota(system(files)) == quota


def test_small_model_gets_one_thread(system):
    """Where operations take microseconds, a second thread only waits."""
    assert threads.choose(5_000_000, system({})) == 1


def test_large_model_gets_the_cpus_it_may_use(system):
    """Without a quota, those the process is bound to."""
    assert threads.choose(LARGE, system({})) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("quota", ["50000 100000", "150000 100000"])
def test_quota_is_rounded_down_to_one_at_least(system, quota):
    """A thread more than the quota allows would be stopped in the middle of each step."""
    assert threads.choose(LARGE, system({"sys/fs/cgroup/cpu.max": quota})) == 1
