"""The settings of a process that trains."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import torch
from discrete_latents.process import keep_freed_memory

keep_freed_memory()
counts = []
for _ in range(4):
    torch.ones(2**24).add(1)  # two tensors of 64 MiB
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(counts[-1] - counts[-2])
"""


def new_pages(**variables: str) -> int:
    """The pages that a process asks the system for where it frees tensors and makes the same again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", PAGES]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_process_keeps_the_memory_of_freed_tensors_unless_the_user_says_how_it_is_allocated():
    assert new_pages() < 100
    assert new_pages(MALLOC_ARENA_MAX="2") > 10_000
