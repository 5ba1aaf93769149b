"""Tensors as the bytes of a safetensors file, piece by piece, so that a large model is not copied once more."""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names that the safetensors format gives to dtypes."""

Piece = bytes | memoryview


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[Piece]:
    """Yield a safetensors file's header, then each tensor's bytes; the tensors lie in host memory.

    Source: the format as the safetensors README describes it (8 bytes of length, JSON header, one buffer without gaps).

    Raises:
        TypeError: a dtype has no name in the format.
    """
    # Wide dtypes first: every tensor then starts at a multiple of its own width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in DTYPES:
            raise TypeError(f"{name} is {tensor.dtype}; a checkpoint holds {', '.join(map(str, DTYPES))}")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        if tensors[name].numel():
            yield tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data
