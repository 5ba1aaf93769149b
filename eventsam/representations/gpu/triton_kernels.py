"""Triton kernels: every scatter is an atomic on integers, so its result does not depend on the order of the threads.

Programs are numbered window by window, `num_blocks` to a window, BLOCK events or pixels each; what lies past the
window's end is masked. Offsets are 64-bit: a batch of histograms can pass 2^31 elements. `axis` is (B, 2) int64: where
the time axis of each window starts and ends, in us from its t0.
"""

from eventsam.representations.gpu.optional_triton import constexpr, device_function, kernel, tensor, tl


@kernel("num_blocks")
def scatter_last(
    xy: tensor, p: tensor, offsets: tensor, keys: tensor, width: int, num_pixels: int, num_blocks: int,
    PER_POLARITY: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Leave 2 n + p of each pixel's last event, the window's n-th, in keys (B, 1 or 2, H W) int32 that start at -1."""
    window, number, event, inside = _events_of(offsets, num_blocks, BLOCK)
    on = tl.load(p + event, mask=inside, other=0).to(tl.int32)
    plane = window * 2 + on if PER_POLARITY else window
    slot = plane.to(tl.int64) * num_pixels + _pixel(xy, event, inside, width)
    tl.atomic_max(keys + slot, number * 2 + on, mask=inside, sem="relaxed")


@kernel("num_blocks")
def paint_tencode(
    keys: tensor, dt: tensor, offsets: tensor, axis: tensor, image: tensor, num_pixels: int, num_blocks: int,
    BACKGROUND: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Turn the keys of last events into the image (B, 3, H W) uint8."""
    window, pixel, inside = _pixels_of(num_pixels, num_blocks, BLOCK)
    key = tl.load(keys + window * num_pixels + pixel, mask=inside, other=-1)
    touched = key >= 0
    time = tl.load(dt + tl.load(offsets + window) + (key >> 1), mask=touched, other=0)
    end = tl.load(axis + window * 2 + 1)
    duration = end - tl.load(axis + window * 2)
    # floor(age * 255 / duration + 1/2) over whole numbers.
    level = _floor_divide(tl.where(touched, (end - time) * 510, 0) + duration, tl.maximum(duration * 2, 1))
    level = tl.where(duration > 0, level, 255)
    on = key & 1
    target = image + window * 3 * num_pixels + pixel
    tl.store(target, tl.where(touched, on * 255, BACKGROUND).to(tl.uint8), mask=inside)
    tl.store(target + num_pixels, tl.where(touched, level, BACKGROUND).to(tl.uint8), mask=inside)
    tl.store(target + 2 * num_pixels, tl.where(touched, 255 - on * 255, BACKGROUND).to(tl.uint8), mask=inside)


@kernel("num_blocks")
def scatter_counts(
    xy: tensor, p: tensor, dt: tensor, offsets: tensor, axis: tensor, shares: tensor, counts: tensor,
    width: int, num_pixels: int, num_blocks: int, NUM_BINS: constexpr, SIGNED: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Count events per bin of time in counts, int32 zeros.

    Per polarity in (B, 2 K, H W), channel p K + b; SIGNED adds 2 p - 1 in (B, K, H W). Bin b holds the events that are
    at least shares[b] of the axis past its start, in float32 as on the CPU; without shares the bins are equal, exactly.
    """
    window, _, event, inside = _events_of(offsets, num_blocks, BLOCK)
    on = tl.load(p + event, mask=inside, other=0).to(tl.int32)
    bin = tl.zeros([BLOCK], tl.int32)
    if NUM_BINS > 1:
        start = tl.load(axis + window * 2)
        duration = tl.maximum(tl.load(axis + window * 2 + 1) - start, 1)
        since = tl.load(dt + event, mask=inside, other=0) - start
        if shares is None:
            bin = tl.minimum(_floor_divide(tl.where(inside, since, 0) * NUM_BINS, duration), NUM_BINS - 1).to(tl.int32)
        else:
            # The rounded division: `/` on float32 is an approximation on the device.
            share = tl.div_rn(since.to(tl.float32), duration.to(tl.float32) + tl.zeros([BLOCK], tl.float32))
            for b in range(1, NUM_BINS):
                bin += (share >= tl.load(shares + b)).to(tl.int32)
    if SIGNED:
        plane = window * NUM_BINS + bin
        value = on * 2 - 1
    else:
        plane = (window * 2 + on) * NUM_BINS + bin
        value = on * 0 + 1
    slot = plane.to(tl.int64) * num_pixels + _pixel(xy, event, inside, width)
    tl.atomic_add(counts + slot, value, mask=inside, sem="relaxed")


@kernel("cutoff")
def clip_counts(counts: tensor, image: tensor, size: int, cutoff: int, WRAPPING: constexpr, BLOCK: constexpr) -> None:
    """Turn counts into uint8: at most `cutoff`, after the wrap at 256 where it is wanted."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    count = tl.load(counts + place, mask=place < size, other=0)
    if WRAPPING:
        count = count & 255
    tl.store(image + place, tl.minimum(count, cutoff).to(tl.uint8), mask=place < size)


@kernel("num_blocks", "lowest", "highest")
def stack_sums(
    sums: tensor, image: tensor, num_pixels: int, num_blocks: int, lowest: int, highest: int,
    NUM_BINS: constexpr, WRAPPING: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Turn signed counts into int8: each channel the sum of its bin and the earlier ones, between two bounds."""
    window, pixel, inside = _pixels_of(num_pixels, num_blocks, BLOCK)
    place = window * NUM_BINS * num_pixels + pixel
    total = tl.zeros([BLOCK], tl.int32)
    for _ in range(NUM_BINS):
        total += tl.load(sums + place, mask=inside, other=0)
        # The low eight bits with their sign.
        kept = (total << 24) >> 24 if WRAPPING else total
        tl.store(image + place, tl.minimum(tl.maximum(kept, lowest), highest).to(tl.int8), mask=inside)
        place += num_pixels


@kernel("num_blocks", "one")
def scatter_voxels(
    xy: tensor, p: tensor, dt: tensor, offsets: tensor, axis: tensor, sums: tensor,
    width: int, num_pixels: int, num_blocks: int, one: int, NUM_BINS: constexpr, PACKED: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Add to sums (B, K, H W), int64 zeros: one word of +-(one + w) per event, or its two shares apart."""
    window, _, event, inside = _events_of(offsets, num_blocks, BLOCK)
    start = tl.load(axis + window * 2)
    whole = tl.maximum(tl.load(axis + window * 2 + 1) - start, 1)
    scaled = (tl.load(dt + event, mask=inside, other=0) - start) * (NUM_BINS - 1)
    # What lies past the window's end reads the time 0, which can be before the axis starts.
    bin = _floor_divide(tl.where(inside, scaled, 0), whole)
    age = scaled - bin * whole
    sign = tl.load(p + event, mask=inside, other=0).to(tl.int64) * 2 - 1
    slot = (window.to(tl.int64) * NUM_BINS + bin) * num_pixels + _pixel(xy, event, inside, width)
    if PACKED:
        tl.atomic_add(sums + slot, sign * (one + age), mask=inside, sem="relaxed")
    else:
        tl.atomic_add(sums + slot, sign * (whole - age), mask=inside, sem="relaxed")
        tl.atomic_add(sums + slot + num_pixels, sign * age, mask=inside & (age > 0), sem="relaxed")


@kernel("num_blocks", "field")
def divide_voxels(
    sums: tensor, axis: tensor, image: tensor, num_pixels: int, num_blocks: int, field: int,
    NUM_BINS: constexpr, PACKED: constexpr, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Turn the sums into voxels float32: n / T in float64, n = T count - ages + ages of the bin before."""
    window, pixel, inside = _pixels_of(num_pixels, num_blocks, BLOCK)
    whole = tl.maximum(tl.load(axis + window * 2 + 1) - tl.load(axis + window * 2), 1)
    place = window * NUM_BINS * num_pixels + pixel
    before = tl.zeros([BLOCK], tl.int64)
    for _ in range(NUM_BINS):
        total = tl.load(sums + place, mask=inside, other=0)
        if PACKED:
            # The low `field` bits with their sign; the bits above are the count.
            ages = (total << (64 - field)) >> (64 - field)
            total = ((total - ages) >> field) * whole - ages + before
            before = ages
        tl.store(image + place, (total.to(tl.float64) / whole.to(tl.float64)).to(tl.float32), mask=inside)
        place += num_pixels


@kernel("num_blocks", "oldest", "shift", "rounding", "fine_bits")
def paint_surface(
    keys: tensor, dt: tensor, offsets: tensor, axis: tensor, coarse: tensor, fine: tensor, image: tensor,
    num_pixels: int, num_blocks: int, oldest: int, shift: int, rounding: int, fine_bits: int, BLOCK: constexpr,
) -> None:  # fmt: skip
    """Turn the keys (B, 2, H W) of last events into decays float32: the product of two looked-up values."""
    plane, pixel, inside = _pixels_of(num_pixels, num_blocks, BLOCK)
    window = plane // 2
    key = tl.load(keys + plane * num_pixels + pixel, mask=inside, other=-1)
    touched = key >= 0
    time = tl.load(dt + tl.load(offsets + window) + (key >> 1), mask=touched, other=0)
    age = tl.load(axis + window * 2 + 1) - time
    shown = touched & (age <= oldest)
    step = (age + rounding) >> shift
    value = tl.load(coarse + (step >> fine_bits) + 1, mask=shown, other=0.0)
    value *= tl.load(fine + (step & ((1 << fine_bits) - 1)), mask=shown, other=0.0)
    tl.store(image + plane * num_pixels + pixel, value, mask=inside)


@device_function
def _events_of(offsets: tensor, num_blocks: tensor, BLOCK: constexpr) -> tensor:
    # The program's window; its events' numbers in the window (int32) and in the batch (int64); which of them exist.
    program = tl.program_id(0)
    window = program // num_blocks
    first = tl.load(offsets + window)
    number = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    event = first + number
    return window, number, event, event < tl.load(offsets + window + 1)


@device_function
def _pixels_of(num_pixels: tensor, num_blocks: tensor, BLOCK: constexpr) -> tensor:
    program = tl.program_id(0)
    window = (program // num_blocks).to(tl.int64)
    pixel = (program % num_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return window, pixel, pixel < num_pixels


@device_function
def _pixel(xy: tensor, event: tensor, inside: tensor, width: tensor) -> tensor:
    place = tl.load(xy + event, mask=inside, other=0)
    return ((place >> 16) & 0xFFFF).to(tl.int64) * width + (place & 0xFFFF)


@device_function
def _floor_divide(numerator: tensor, denominator: tensor) -> tensor:
    # Whole numbers, numerator >= 0 and quotient below 2^20: the float32 estimate is off by at most one, and the
    # remainder says which way. A 64-bit integer division costs the device some hundred instructions.
    quotient = (numerator.to(tl.float32) / denominator.to(tl.float32)).to(tl.int64)
    rest = numerator - quotient * denominator
    return quotient + (rest >= denominator).to(tl.int64) - (rest < 0).to(tl.int64)
