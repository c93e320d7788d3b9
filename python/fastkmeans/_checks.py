# SPDX-License-Identifier: Apache-2.0
"""Checks of the constructor: each error has the parameter's name, its value and what is allowed."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from ._report import warn

INIT_METHODS = ("random", "k-means++", "k-means||", "afk-mc2")
EMPTY_CLUSTERS = ("farthest", "split", "random")
METRICS = ("euclidean", "cosine", "inner_product")


def integer(name: str, value: Any, low: int = 1, high: int = 2**63 - 1) -> int:
    """`value` as an int in [low, high]; whole floats and numpy's numbers are taken too, bools are not."""
    whole = isinstance(value, (float, np.floating)) and value.is_integer()
    try:
        number = int(value) if whole else operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, given {value!r} ({type(value).__name__}).")
    if not low <= number <= high:
        allowed = f"at least {low}" if number < low else f"at most {high}"
        raise ValueError(f"{name} must be {allowed}, given {_shown(value)}.")
    return number


def integer_or_none(name: str, value: Any, high: int = 2**63 - 1) -> int | None:
    """None, or `value` as an int in [1, high]."""
    return None if value is None else integer(name, value, high=high)


def real(name: str, value: Any) -> float:
    """`value` as a float that is not NaN."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a real number, given {value!r} ({type(value).__name__}).")
    if value != value:
        raise ValueError(f"{name} must be a number, given nan.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must fit a float64, given {_shown(value)}.") from None


def share(name: str, value: Any) -> float:
    """`value` as a float in [0, 1]."""
    number = real(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be between 0 and 1, given {number}.")
    return number


def seconds(name: str, value: Any) -> float | None:
    """None, or `value` as a float above 0."""
    number = None if value is None else real(name, value)
    if number is not None and not number > 0:
        raise ValueError(f"{name} must be above 0, or None, given {number}.")
    return number


def boolean(name: str, value: Any) -> bool:
    """`value` as a bool; only bools are."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, given {value!r} ({type(value).__name__}).")
    return bool(value)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, which must be one of these strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, given {value!r} ({type(value).__name__}).")
    if value not in allowed:
        names = ", ".join(repr(known) for known in allowed[:-1])
        raise ValueError(f"{name} must be {names} or {allowed[-1]!r}, given {value!r}.")
    return value


def metric_name(metric: Any, spherical: bool) -> str:
    """What the options metric and spherical say together."""
    if metric is None:
        return "cosine" if spherical else "euclidean"
    name = one_of("metric", metric, METRICS)
    if spherical and name != "cosine":
        raise ValueError(f"spherical=True is metric='cosine', given metric={name!r}.")
    return name


def init_method(init: Any, others: str) -> str | None:
    """The method that `init` names, None where it is no string; others: what else it may be, for the message."""
    if not isinstance(init, str):
        return None
    if init not in INIT_METHODS:
        raise ValueError(f"init must be {', '.join(map(repr, INIT_METHODS))}, {others}, given {init!r}.")
    return str(init)  # numpy has strings of its own


def _shown(number: Any) -> str:
    """The number, unless it is one of hundreds of digits."""
    bits = number.bit_length() if isinstance(number, int) else 0
    return f"an integer of {bits} bits" if bits > 128 else str(number)


def device_name(device: Any) -> str | None:
    """The canonical name ("cpu", "cuda", "cuda:1", "mps", "xpu") of a device given as a string, int or torch.device."""
    if device is None:
        return None
    torch = sys.modules.get("torch")
    if isinstance(device, str) or (torch is not None and isinstance(device, torch.device)):
        name = str(device)
        if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:[0-9]+)?", name):
            raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:N', 'mps' or 'xpu', given {name!r}.")
        return name
    try:
        if isinstance(device, (bool, float)):  # nobody writes a device so
            raise TypeError
        return f"cuda:{integer('device', device, low=0)}"
    except TypeError:
        kind = type(device).__name__
        raise TypeError(f"device must be a string, an integer or a torch.device, given {device!r} ({kind}).") from None


def usable_device(device: Any, gpu: Any) -> str:
    """Where to compute, "cpu" or "cuda:N"; after a fork, where CUDA may be lost, "cuda" if none was named.

    A device that is named and cannot be had is an error. For None a CUDA device that is there and of no use to us takes
    one warning a process.
    """
    name = device_name(device)
    if not gpu or (name or "").startswith("cpu"):
        return "cpu"
    if name is None:
        return _best_device()
    if not name.startswith("cuda"):
        kind = name.split(":")[0]
        raise NotImplementedError(f"device={name!r}: fastkmeans has no backend for {kind} yet; use 'cpu' or 'cuda'.")
    try:
        return _core.chosen_device(name)
    except RuntimeError as error:
        raise RuntimeError(f"CUDA was asked for (device={name!r}), but {error}.") from None


_warned = False  # of a CUDA device that cannot be used; once a process


def _best_device() -> str:
    global _warned
    state = _core.cuda_state()
    if state["status"] == "ready":
        return _core.chosen_device()
    if state["status"] == "after_fork":  # whatever computes there raises: never a slow CPU in silence
        return "cuda"
    if state["status"] in ("old_driver", "unsupported_device", "failed") and not _warned:
        _warned = True
        warn([("device", f"{state['problem']}; fastkmeans computes on the CPU")])
    return "cpu"


def memory_limit(value: Any) -> int | float | None:
    """None, bytes of device memory (an int, at least 1), or a share of it (a float in (0, 1])."""
    if value is None:
        return None
    if isinstance(value, (float, np.floating)) and not value > 1:
        share = real("memory_limit", value)
        if not share > 0:
            raise ValueError(f"memory_limit must be bytes, at least 1, or a share in (0, 1], given {value}.")
        return share
    return integer("memory_limit", value)


def limit_in_bytes(limit: int | float | None, device: str) -> int:
    """A checked memory_limit as bytes of "cuda:N"; 0 for none, and on the CPU."""
    if limit is None or device == "cpu":
        return 0
    if isinstance(limit, int):
        return limit
    memory = {f"cuda:{found['number']}": found["memory"] for found in _core.cuda_state()["devices"]}
    return int(limit * memory.get(device, 0))
