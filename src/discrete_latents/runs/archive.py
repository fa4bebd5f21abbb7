"""The file of a checkpoint: torch's archive of tensors and plain values, checked before and after torch reads it.

torch allocates what a file announces: a compressed record, or a `bytearray` of a given length, makes gigabytes of a few
kilobytes. It compares no checksums: a flipped bit is another weight.
"""

import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from discrete_latents.errors import UserError
from discrete_latents.runs.files import MEGABYTE, parsed_file, reason

PLAIN = {
    *("collections OrderedDict", "collections Counter", "builtins set", "builtins complex", "_codecs encode"),
    *("torch Size", "torch device", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
}
"""What tensors and plain values are made of, beside dtypes and storages: nothing that takes a size."""

LARGEST_INDEX = 4 * MEGABYTE
"""Of the record that says how the tensors belong together: 6 kB for a small model."""


class NotPlain(Exception):
    """A file that holds anything but tensors and plain values in a zip archive."""


def read_archive(path: Path) -> Any:
    """What a checkpoint holds, on the CPU. Nothing in it is executed, and it takes no more memory than the file.

    Raises FileNotFoundError, and UserError for a file that is damaged or holds anything but tensors and plain values.
    """
    try:
        return parsed_file(path, float("inf"), checked_archive)
    except UserError as error:
        if isinstance(error.__cause__, NotPlain):
            said = "it holds other things than tensors and plain values in a zip archive"
            raise UserError(f"{path} is refused: {said}") from error
        raise UserError(f"{path} is not a checkpoint that can be read: {reason(path, error)}") from error


def checked_archive(path: Path) -> Any:
    check_records(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # the error says the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "Weights only load failed" in str(error):  # torch's message explains how to execute it
            raise NotPlain from error
        raise
    check_tensors(content, path.stat().st_size)
    return content


def check_records(path: Path) -> None:
    """Raises ValueError, NotPlain or zipfile's errors unless the file is an archive as torch writes it."""
    with path.open("rb") as file:
        if file.read(1) == b"\x80":  # a pickle, as torch wrote them before
            raise NotPlain
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if archive.comment or len({record.filename.lower() for record in records}) < len(records):
            raise ValueError("it is no archive of torch's")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("it is compressed, which torch's are not")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("its records are larger than the file")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is another")
        index = [record for record in records if record.filename.endswith("/data.pkl")]
        if len(index) != 1 or index[0].file_size > LARGEST_INDEX:
            raise ValueError(f"it must have one data.pkl, of at most {LARGEST_INDEX} bytes")
        names = {name for code, name, _ in pickletools.genops(archive.read(index[0])) if "GLOBAL" in code.name}
    if not all(is_plain(str(name)) for name in names):
        raise NotPlain


def is_plain(name: str) -> bool:
    """Whether tensors and plain values refer to a name, "torch FloatStorage"."""
    module, _, attribute = name.partition(" ")
    storage = attribute.endswith("Storage") or isinstance(getattr(torch, attribute, None), torch.dtype)
    return name in PLAIN or (module == "torch" and storage)


def check_tensors(content: Any, size: int) -> None:
    """Raises ValueError for tensors that stand for more bytes than are stored: one number, repeated a billion times."""
    waiting, seen, storages = [content], set(), {}
    while waiting:
        node = waiting.pop()
        if isinstance(node, torch.Tensor):
            stored = node.untyped_storage()
            storages[stored.data_ptr()] = stored.nbytes()
            if node.numel() * node.element_size() > stored.nbytes():
                raise ValueError(f"a tensor of shape {tuple(node.shape)} is stored in {stored.nbytes()} bytes")
        elif isinstance(node, dict | list | tuple | set) and id(node) not in seen:
            seen.add(id(node))
            waiting += [*node, *node.values()] if isinstance(node, dict) else node
    if sum(storages.values()) > size:
        raise ValueError("its tensors are larger than the file")
