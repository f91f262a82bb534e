"""Seconds: of a whole call, and of one that would take too long, from a part of it."""

import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from captum_heta.checks import check_count

# From so many tokens on, what grows with more than the length is timed in part, or on so many tokens.
LONG, BASE = 512, 256


def seconds(call: Callable[[], object], device: torch.device, warm: bool = False) -> float:
    """Wall time of one call, after another on which caches and thread pools warm up if ``warm``."""
    if warm:
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def line(timed: Callable[[int], float], few: int, count: int) -> float:
    """Seconds of ``count`` steps, on the straight line through those of ``few`` and of twice as many.

    Args:
        timed: from a number of steps to their seconds; what comes before the first step is in both.
        few: at least 1.
        count: at least ``few``.
    """
    one = timed(check_count("few", few))
    # noise may make the longer call the shorter one
    return one + (count - few) * max(0.0, timed(2 * few) - one) / few


def operations(call: Callable[[], object]) -> int:
    """Floating point operations of a call's matrix products, attention included."""
    counter = FlopCounterMode(display=False)
    # the kernels of fused attention on a CPU are not counted
    with counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def by_operations(call: Callable[[int], object], length: int, base: int, device: torch.device) -> float:
    """Seconds of ``call`` on ``length`` tokens, from those on ``base`` and how the number of its operations grows.

    A transformer does n (a + b n) operations on n tokens, b n^2 of them in attention. Those of ``base`` and of half as
    many tokens are counted, which gives a and b; the rate of arithmetic is taken to stay what it is.

    Args:
        call: runs on the first so many tokens.
        length: how many it would be.
        base: how many it can be; even.
        device: where it runs.
    """
    if base % 2 or base < 2:
        raise ValueError(f"base must be even and at least 2, got {base!r}.")
    counted = {size: operations(lambda size=size: call(size)) for size in (base // 2, base)}  # type: ignore[misc]
    per_token = {size: count / size for size, count in counted.items()}
    slope = (per_token[base] - per_token[base // 2]) / (base - base // 2)
    expected = length * (per_token[base] + slope * (length - base))
    return seconds(lambda: call(base), device) * expected / counted[base]


def rate(call: Callable[[], object], device: torch.device) -> float:
    """Operations a second of a call, the better of two."""
    return operations(call) / min(seconds(call, device) for _ in range(2))


def product_rate(device: torch.device, dtype: torch.dtype, width: int = 2048) -> float:
    """Operations a second of a product of two square matrices, the best of five."""
    generator = torch.Generator(device).manual_seed(0)
    left, right = torch.randn(2, width, width, device=device, dtype=dtype, generator=generator)
    return 2 * width**3 / min(seconds(lambda: left @ right, device) for _ in range(5))
