"""Compares two run directories: everything that a run comes to, times apart."""

import csv
from collections import Counter
from typing import Any

from discrete_latents.runs.directory import RunDirectory


def differences(one: RunDirectory, other: RunDirectory) -> list[str]:
    """What differs between two run directories, times apart."""
    import torch

    found = []
    for name in ("last", "best"):
        first, second = (torch.load(run.checkpoint(name), weights_only=True) for run in (one, other))
        for key in ("epoch", "global_step", "state_dict", "optimizer_states", "noise"):
            if not same(first[key], second[key]):
                found.append(f"{name}.ckpt: {key}")
    first, second = (rows(run) for run in (one, other))
    missing, surplus = (a - b for a, b in ((first, second), (second, first)))
    found += [f"metrics.csv: {missing.total()} rows missing, {surplus.total()} more"] if missing or surplus else []
    first, second = (run.read_results() for run in (one, other))
    return found + [f"results.json: {key}" for key in ("metrics", "epochs", "steps") if first[key] != second[key]]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal bit for bit: tensors, dictionaries, sequences and plain values."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def rows(run: RunDirectory) -> Counter[tuple[tuple[str, str], ...]]:
    """The rows of metrics.csv with their counts, without speeds."""
    with run.metrics.open(newline="") as file:
        table = list(csv.DictReader(file))
    return Counter(
        tuple((name, cell) for name, cell in row.items() if cell and name != "images_per_second") for row in table
    )
