"""One way to compile numeric loops: numba without the interpreter lock, kept on disk where a disk allows it."""

import logging
from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])

_logger = logging.getLogger(__name__)


def compiled(function: Function) -> Function:
    """Compile a loop over numpy arrays on its first call, releasing the interpreter lock while it runs.

    The machine code is cached beside the source, or in the user's cache folder where the source is read-only. Where
    neither can be written (a locked-down container), numba refuses at import; then the code is compiled once per
    process instead.
    """
    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        _logger.info("no writable place for compiled code (%s); set NUMBA_CACHE_DIR to keep it between runs", error)
        return cast(Function, numba.njit(nogil=True)(function))
