"""Triton where it is installed, and stand-ins that let the kernels' module be imported where it is not."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

tl: Any = None
"""The module `triton.language`; None without Triton."""

# What kernels' arguments are annotated with: Triton reads it, and allows its own names and the builtins only.
if TYPE_CHECKING:
    constexpr: TypeAlias = Any
    tensor: TypeAlias = Any
else:
    constexpr = tensor = Any

try:
    _triton: Any = import_module("triton")
    tl = import_module("triton.language")
    if not TYPE_CHECKING:
        constexpr, tensor = tl.constexpr, tl.tensor
except ImportError:
    # torch's CPU wheels come without it, and there is none for macOS.
    _triton = None

HAS_TRITON = _triton is not None
INTERPRETED = HAS_TRITON and os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")
"""Whether the kernels run in Triton's interpreter, on any device: decided when this module is imported."""


def kernel(*do_not_specialize: str) -> Callable[[Callable[..., None]], Any]:
    """Return Triton's decorator; the arguments named are those whose values must not lead to another compilation.

    Without Triton the function is left as it is and never called.
    """

    def decorate(function: Callable[..., None]) -> Any:
        return _triton.jit(do_not_specialize=do_not_specialize)(function) if HAS_TRITON else function

    return decorate


def device_function(function: Callable[..., Any]) -> Any:
    """Mark a function that kernels call."""
    return _triton.jit(function) if HAS_TRITON else function
