"""The bounds that an evaluation keeps: whatever a kill leaves of the file, a number is read or computed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from discrete_latents.errors import UserError
from discrete_latents.runs.kept_bounds import KeptBounds

NLL = torch.tensor([101.25, 99.5, 98.0, 97.0, 103.0])


def run_through(kept: KeptBounds) -> tuple[list[int], Tensor]:
    """Which batches are computed, and all numbers."""
    computed = []

    def compute(number: int, part: Tensor) -> Tensor:
        computed.append(number)
        return part

    parts = [
        kept(number, len(part), lambda number=number, part=part: compute(number, part))
        for number, part in enumerate(NLL.split(kept.batch_size))
    ]
    return computed, torch.cat([part.float() for part in parts])


@pytest.mark.parametrize(
    ("left", "again"),
    [
        (NLL.numpy(), []),
        (NLL.numpy()[:4], [2]),
        (NLL.numpy()[:3], [1, 2]),  # half of a batch
        (np.zeros(5), [0, 1, 2]),  # what a file system fills gaps with
        (np.array([101.25, 99.5, 0.0, 0.0, 103.0]), [1]),  # another process was further
        (np.array([101.25, np.nan, 98.0, np.inf, 103.0]), [0, 1]),
        (np.empty(0), [0, 1, 2]),
    ],
)
def test_what_is_left_of_a_file_is_used_as_far_as_it_is_whole(tmp_path, left, again):
    path = tmp_path / "evaluations" / ".nll-a"
    path.parent.mkdir()
    path.write_bytes(left.astype(np.float64).tobytes())
    computed, values = run_through(KeptBounds(path, 2))
    assert computed == again
    assert torch.equal(values, NLL)
    assert run_through(KeptBounds(path, 2))[0] == []
    assert len(KeptBounds(path, 2)) == len(NLL)


def test_a_number_cut_in_two_is_computed_again(tmp_path):
    path = tmp_path / ".nll-a"
    path.write_bytes(NLL.numpy().astype(np.float64).tobytes()[:-3])
    assert run_through(KeptBounds(path, 2))[0] == [2]


def test_the_file_is_made_with_the_first_number_and_goes_at_the_end(tmp_path):
    kept = KeptBounds(tmp_path / "evaluations" / ".nll-a", 2)
    assert len(kept) == 0
    assert not kept.path.parent.exists()
    assert run_through(kept)[0] == [0, 1, 2]
    kept.forget()
    kept.forget()
    assert not kept.path.exists()


def test_a_link_is_refused(tmp_path):
    (tmp_path / ".nll-a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="must be a file of the run, got a link"):
        KeptBounds(tmp_path / ".nll-a", 2)
