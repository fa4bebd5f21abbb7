"""What to change where a step needs more memory than there is."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from discrete_latents.errors import UserError, first_line

IN_EVALUATION = ("data.eval_batch_size", "model.eval_chunk")


@contextmanager
def memory_limit(*settings: str) -> Iterator[None]:
    """Raises UserError, naming the settings that a step's memory depends on, where a step runs out of memory."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        said = f"there is not enough memory for a step; lower {' or '.join(settings)}"
        raise UserError(f"{said} ({first_line(error)})") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory cannot be allocated: Python's, NumPy's, the system's, torch's on any device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in ("allocate memory", "out of memory"))
    )
