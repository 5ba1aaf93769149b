"""The Triton kernels compile for a GPU on a machine without one: what the interpreter accepts, the compiler may not."""

import re
from typing import Any

import pytest

from eventsam.representations.gpu import triton_kernels
from eventsam.representations.gpu.optional_triton import HAS_TRITON, INTERPRETED
from eventsam.representations.gpu.triton_launch import BLOCK, OPTIONS

pytestmark = pytest.mark.skipif(INTERPRETED or not HAS_TRITON, reason="needs Triton's compiler")

TYPES = {
    "xy": "*i32", "p": "*u8", "dt": "*i32", "offsets": "*i64", "axis": "*i64", "keys": "*i32", "counts": "*i32",
    "sums": "*i64", "image": "*u8", "shares": "*fp32", "coarse": "*fp32", "fine": "*fp32", "one": "i64",
}  # fmt: skip
KERNELS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "scatter_last": ({}, {"PER_POLARITY": True}),
    "paint_tencode": ({}, {"BACKGROUND": 255}),
    "scatter_counts": ({}, {"NUM_BINS": 10, "SIGNED": False}),
    "clip_counts": ({}, {"WRAPPING": True}),
    "stack_sums": ({"sums": "*i32", "image": "*i8"}, {"NUM_BINS": 10, "WRAPPING": True}),
    "scatter_voxels": ({}, {"NUM_BINS": 5, "PACKED": True}),
    "divide_voxels": ({"image": "*fp32"}, {"NUM_BINS": 5, "PACKED": True}),
    "paint_surface": ({"image": "*fp32"}, {}),
}


def compiled_text(name: str, types: dict[str, str], choices: dict[str, Any]) -> str:
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", 80, 32)
    function, constants = getattr(triton_kernels, name), {"BLOCK": BLOCK} | choices
    options = {key: value for key, value in OPTIONS.items() if key != "BLOCK"}
    known = TYPES | types | dict.fromkeys(constants, "constexpr")
    signature = {argument: known.get(argument, "i32") for argument in function.arg_names}
    places = {(function.arg_names.index(argument),): value for argument, value in constants.items()}
    return compiler.compile(compiler.ASTSource(function, signature, places), target=target, options=options).asm["ptx"]


@pytest.mark.parametrize("name", KERNELS)
def test_compiles(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
    text = compiled_text(name, *KERNELS[name])
    # A reduction returns nothing, an atomic would send the old value back. A fused multiply-add would round otherwise.
    assert bool(re.search(r"\bred\.", text)) == name.startswith("scatter")
    assert not re.search(r"\batom\.|\bfma\.|\.ftz", text)
