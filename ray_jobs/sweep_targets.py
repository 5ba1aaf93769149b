"""What the trials of a sweep share of a frozen teacher: its weights, loaded once per process, and what it says.

A frozen submodule is a function of its input: called without gradients on the same tensors it answers the same. Its
answers are kept on disk under a hash of weights and inputs. Augmentation changes nothing in that: at one position of
one seed's order all trials with the same data see the same pixels, augmented or not, and a trial with other data asks
under another hash. All of this is for CPUs: a GPU has answered before its input is hashed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from eventsam.models.embedder import Embedded
from eventsam.spec import Spec, build, to_json
from eventsam.tasks.task import Task

READ_BYTES_PER_S = 300e6
"""Answers that come faster than a disk could read them are not worth keeping."""
CLAIM_S = 5.0
"""How long others wait for the process that computes the same answer right now."""


class KeptParts:
    """Builds tasks around frozen parts that were built before: equal weights are held once, whatever the seed."""

    def __init__(self) -> None:
        self._modules: dict[str, nn.Module] = {}
        self._built: dict[str, tuple[nn.Module, Tensor]] = {}

    def build(self, task: Spec) -> Task:
        """Build a task; the random numbers that its trained parts draw are those of an ordinary `build`."""
        arguments: dict[str, Any] = {}
        # In order, as `build` does: every part draws from the random state that the one before left.
        for name, value in task.arguments.items():
            frozen = name in getattr(task.target, "frozen", ()) and isinstance(value, Spec)
            arguments[name] = self._part(value, f"task.{name}") if frozen else build(value, f"task.{name}")
        built: Task = task.target(**arguments)
        return built

    def _part(self, part: Spec, path: str) -> nn.Module:
        stated = json.dumps(to_json(part), sort_keys=True)
        before = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
        key = f"{stated} {before}"
        if key not in self._built:
            module = build(part, path)
            # Another seed leaves another random state behind, but mostly the same weights, read from a checkpoint.
            held = self._modules.setdefault(f"{stated} {_hash_of_weights(module)}", module)
            self._built[key] = (held, torch.get_rng_state())
        module, state = self._built[key]
        torch.set_rng_state(state)
        return module


@dataclass
class Answers:
    """A folder of answers, one safetensors file each, up to `capacity` bytes; processes may share it."""

    folder: Path
    capacity: int = 2 * 2**30
    num_computed: int = 0
    num_read: int = 0
    _used: int = field(default=-1, repr=False)

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the answer kept under `key`, else compute and keep it; only one process at a time computes it."""
        path = self.folder / key[:2] / f"{key}.safetensors"
        found = self._read(path)
        if found is None and not self._claim(path):
            found = self._wait(path)
        if found is not None:
            self.num_read += 1
            return found
        started = time.perf_counter()
        answer = compute()
        self.num_computed += 1
        self._keep(path, answer, time.perf_counter() - started)
        path.with_suffix(".claim").unlink(missing_ok=True)
        return answer

    def _read(self, path: Path) -> Any:
        try:
            return _from_tensors(safetensors.torch.load_file(path))
        except FileNotFoundError:
            return None

    def _claim(self, path: Path) -> bool:
        claim = path.with_suffix(".claim")
        claim.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
            return True
        except FileExistsError:
            return False

    def _wait(self, path: Path) -> Any:
        deadline = time.monotonic() + CLAIM_S
        while time.monotonic() < deadline and path.with_suffix(".claim").exists():
            time.sleep(0.001)
        return self._read(path)

    def _keep(self, path: Path, answer: Any, seconds: float) -> None:
        tensors = _to_tensors(answer)
        num_bytes = sum(tensor.nbytes for tensor in tensors.values())
        if self._used < 0:
            self._used = sum(file.stat().st_size for file in self.folder.glob("*/*.safetensors"))
        if num_bytes > seconds * READ_BYTES_PER_S or self._used + num_bytes > self.capacity:
            return
        self._used += num_bytes
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        safetensors.torch.save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial)
        partial.replace(path)


class Remembered:
    """Stands in for a frozen module's `forward`."""

    def __init__(self, module: nn.Module, answers: Answers) -> None:
        self.forward, self.answers = module.forward, answers
        self.weights = _hash_of_weights(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer from what is kept where that is possible: no gradient is asked for and all inputs can be hashed."""
        # A GPU answers before its input is hashed.
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        on_cpu = bool(tensors) and all(value.device.type == "cpu" for value in tensors)
        key = self._key(args, kwargs) if on_cpu and not torch.is_grad_enabled() else None
        if key is None:
            return self.forward(*args, **kwargs)
        return self.answers.get(key, lambda: self.forward(*args, **kwargs))

    def _key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        digest = hashlib.blake2b(self.weights.encode(), digest_size=20)
        digest.update(f"{torch.is_autocast_enabled('cpu')} {torch.get_autocast_dtype('cpu')}".encode())
        for name, value in (*enumerate(args), *sorted(kwargs.items())):
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            elif value is None or _whole_numbers(value):
                digest.update(f"{name} {value}".encode())
            else:
                return None
        return digest.hexdigest()


def remember(task: Task, answers: Answers) -> None:
    """Let the frozen submodules of a task answer from what is kept."""
    for name in task.frozen:
        module = task.get_submodule(name)
        if not isinstance(module.forward, Remembered):
            module.forward = Remembered(module, answers)


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, int) for item in value)


def _hash_of_weights(module: nn.Module) -> str:
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _to_tensors(answer: Any) -> dict[str, Tensor]:
    if isinstance(answer, Embedded):
        return {"projected": answer.projected, **{f"taps.{block}": tokens for block, tokens in answer.taps.items()}}
    if isinstance(answer, Tensor):
        return {"answer": answer}
    raise TypeError(f"a frozen part answered with a {type(answer).__name__}; only tensors and Embedded can be kept")


def _from_tensors(tensors: Mapping[str, Tensor]) -> Any:
    if "answer" in tensors:
        return tensors["answer"]
    taps = {int(name.removeprefix("taps.")): value for name, value in tensors.items() if name.startswith("taps.")}
    return Embedded(tensors["projected"], dict(sorted(taps.items())))
