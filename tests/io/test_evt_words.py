"""EVT 2, 2.1 and 3 words, and DAT records: the compiled loops against plain readings of the formats' descriptions."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.io import evt2, evt3, evt21, prophesee_dat
from eventsam.io.evt3 import Evt3State, decode_words
from eventsam.io.evt3_encode import Evt3Encoder
from eventsam.io.prophesee_raw import LAYOUTS
from eventsam.io.prophesee_words import WordCodec, WordSource
from eventsam.io.recording import OpenOptions

Decoded = tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int]]]
"""Events (x, y, t, p) and triggers (t, source, edge)."""


def plain_evt2(words: list[int]) -> Decoded:
    events, triggers, base = [], [], None
    for word in words:
        kind = word >> 28
        if kind == 8:
            base = next_base(base, word & 0xFFFFFFF, 28) << 6
        elif base is not None and kind in (0, 1):
            events.append(((word >> 11) & 2047, word & 2047, base + ((word >> 22) & 63), kind))
        elif base is not None and kind == 10:
            triggers.append((base + ((word >> 22) & 63), (word >> 8) & 31, word & 1))
    return events, triggers


def next_base(base: int | None, high: int, bits: int, low_bits: int = 6) -> int:
    """Return the high part, with its loops, that a word of `high` brings."""
    if base is None:
        return high
    before = base >> low_bits
    loops = before >> bits
    if (before & ((1 << bits) - 1)) - high > (1 << bits) // 2 - (1 if bits == 28 else 0):
        loops += 1
    return (loops << bits) | high


def plain_evt21(words: list[int], legacy: bool = False) -> Decoded:
    events, triggers, base = [], [], None
    for stored in words:
        word = ((stored >> 32) | (stored << 32)) & (2**64 - 1) if legacy else stored
        kind, low = word >> 60, (word >> 54) & 63
        if kind == 8:
            base = next_base(base, (word >> 32) & 0xFFFFFFF, 28) << 6
        elif base is not None and kind in (0, 1):
            columns = [((word >> 43) & 2047) + k for k in range(32) if word >> k & 1]
            events += [(x, (word >> 32) & 2047, base + low, kind) for x in columns]
        elif base is not None and kind == 10:
            triggers.append((base + low, (word >> 40) & 31, (word >> 32) & 1))
    return events, triggers


def plain_evt3(words: list[int]) -> Decoded:
    events, triggers = [], []
    base, low, row, column, polarity = None, 0, 0, 0, 0
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            row = value & 2047
        elif kind == 3:
            column, polarity = value & 2047, value >> 11
        elif kind == 8:
            later = next_base(base, value, 12, 12) << 12
            low = low if later == base else 0
            base = later
        elif base is None:
            continue
        elif kind == 2:
            events.append((value & 2047, row, base + low, value >> 11))
        elif kind in (4, 5):
            width = 12 if kind == 4 else 8
            events += [((column + k) & 0xFFFF, row, base + low, polarity) for k in range(width) if value >> k & 1]
            column += width
        elif kind == 6:
            low = value
        elif kind == 10:
            triggers.append((base + low, value >> 8, value & 1))
    return events, triggers


def plain_dat(words: list[int]) -> Decoded:
    events, high, last = [], 0, 0
    for word in words:
        low = word & 0xFFFFFFFF
        if last - low > 2**31:
            high += 2**32
        elif low - last > 2**32 - 2**26 and high:
            high -= 2**32
        last = low
        events.append(((word >> 32) & 0x3FFF, (word >> 46) & 0x3FFF, high + low, word >> 60 & 1))
    return events, []


CODECS: dict[str, tuple[WordCodec, Callable[[list[int]], Decoded], list[int]]] = {
    "evt2": (evt2.CODEC, plain_evt2, [k << 28 for k in (0, 0, 0, 1, 1, 8, 10, 14)]),
    "evt21": (evt21.CODEC, plain_evt21, [k << 60 for k in (0, 1, 1, 8, 10, 15)]),
    "evt21_legacy": (
        evt21.LEGACY_CODEC,
        lambda words: plain_evt21(words, legacy=True),
        [k << 28 for k in (0, 1, 1, 8, 10)],
    ),
    "evt3": (evt3.CODEC, plain_evt3, [k << 12 for k in (0, 2, 2, 2, 3, 4, 4, 5, 6, 6, 8, 10, 14)]),
    "dat": (prophesee_dat.CODEC, plain_dat, [0]),
}


def random_words(name: str, seed: int, count: int) -> list[int]:
    """Return words of the types that the encoding has, of any content: times jump and loop."""
    codec, _, kinds = CODECS[name]
    generator = np.random.default_rng(seed)
    bits = 8 * codec.dtype.itemsize
    type_shift = 28 if name == "evt21_legacy" else bits - 4
    clear = ~(15 << type_shift) if name != "dat" else -1
    contents = [int.from_bytes(generator.bytes(bits // 8)) for _ in range(count)]
    return [(content & clear) | kinds[generator.integers(len(kinds))] for content in contents]


def source_of(folder: Path, codec: WordCodec, words: list[int], block_words: int) -> WordSource:
    path = folder / "words"
    path.write_bytes(b"abc" + np.array(words, codec.dtype).tobytes())
    return WordSource(path, 3, replace(codec, block_words=block_words), OpenOptions())


def read_source(source: WordSource) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return all events, block by block, and triggers; check each block's times on the way."""
    table, events = source.table(), []
    for i in np.flatnonzero(table.count):
        columns = [np.empty(table.count[i], kind) for kind in (np.uint16, np.uint16, np.int64, np.uint8)]
        source.read_into(table.place[i], *columns)  # type: ignore[arg-type]
        assert (columns[2].min(), columns[2].max()) == (table.t_min[i], table.t_max[i])
        events += list(zip(*(column.tolist() for column in columns), strict=True))
    found = source.triggers()
    return events, list(zip(found.t.tolist(), found.source.tolist(), found.edge.tolist(), strict=True))


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 400), block_words=st.sampled_from([1, 7, 64, 1000]))
def test_any_words_are_read_as_described(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, count: int, block_words: int
) -> None:
    codec, plain, _ = CODECS[name]
    words = random_words(name, seed, count)
    source = source_of(tmp_path_factory.mktemp("words"), codec, words, block_words)
    assert read_source(source) == plain(words)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_evt3_messages_carry_their_state_on(seed: int, cuts: list[int]) -> None:
    words = np.array(random_words("evt3", seed, 300), np.uint16)
    (x, y, t, p), last = decode_words(words)
    edges = [0, *sorted(cuts), len(words)]
    state: Evt3State | None = None
    parts: list[tuple[np.ndarray, ...]] = []
    for a, b in pairwise(edges):
        columns, state = decode_words(words[a:b], state)
        parts.append(columns)
    assert state == last
    for i, whole in enumerate((x, y, t, p)):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole)
    assert list(zip(x.tolist(), y.tolist(), t.tolist(), p.tolist(), strict=True)) == plain_evt3(words.tolist())[0]


def time_high(value: int) -> int:
    return 8 << 12 | value


def time_low(value: int) -> int:
    return 6 << 12 | value


def evt3_times(*words: int) -> list[int]:
    """Return the time of one event after each word."""
    with_events = np.array([word for pair in words for word in (pair, 2 << 12 | 5)], np.uint16)
    return decode_words(with_events)[0][2].tolist()


def test_evt3_loops_only_with_time_high() -> None:
    loop = 1 << 24
    assert evt3_times(time_high(4095), time_low(9), time_high(0), time_low(3)) == [
        4095 << 12, (4095 << 12) + 9, loop, loop + 3,
    ]  # fmt: skip
    # A low part that falls is no loop; a repeated high part keeps the low one.
    assert evt3_times(time_high(7), time_low(100), time_low(20), time_high(7)) == [
        7 << 12, (7 << 12) + 100, (7 << 12) + 20, (7 << 12) + 20,
    ]  # fmt: skip
    # A small fall of the high part is time going back, for a policy to mend.
    assert evt3_times(time_high(9), time_low(5), time_high(8)) == [9 << 12, (9 << 12) + 5, 8 << 12]


def test_evt3_pieces_may_lie_anywhere_in_a_message() -> None:
    data = np.array([time_high(1), time_low(2), 2 << 12 | 1 << 11 | 6], "<u2").tobytes()
    (x, y, t, p), _ = decode_words(np.frombuffer(b"x" + data, "<u2", offset=1))
    assert (x.tolist(), y.tolist(), t.tolist(), p.tolist()) == ([6], [0], [4098], [1])
    (_, _, t, _), state = decode_words(np.empty(0, np.uint16))
    assert (len(t), state) == (0, Evt3State())


@pytest.mark.parametrize("legacy", [False, True])
def test_the_order_of_halves_is_seen_in_the_words(legacy: bool) -> None:
    words = np.array([8 << 60 | 5 << 32, 1 << 60 | 3 << 54 | 64 << 43 | 7 << 32 | 0x80000001], np.uint64)
    stored = words.view(np.uint32).reshape(-1, 2)[:, ::-1].copy().view(np.uint64)[:, 0] if legacy else words
    assert evt21.is_legacy(stored) == legacy
    assert evt21.is_legacy(stored[1:]) in (False, True)
    assert not evt21.is_legacy(stored[:0])


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt21_legacy", "evt3"])
def test_pieces_of_any_size_encode_alike(tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(1)
    encoder, codec = LAYOUTS[name].encoder(), CODECS[name][0]
    num = 3000
    t = np.cumsum(generator.choice([0, 0, 0, 1, 70, 5000, 20_000_000], num)).astype(np.int64)
    x = np.sort(generator.integers(0, 1280, (num // 30, 30)), axis=1).ravel().astype(np.uint16)
    y, p = generator.integers(0, 3, num).astype(np.uint16), np.repeat(generator.integers(0, 2, num // 10), 10)
    p = p.astype(np.uint8)
    state, found = np.array(codec.start, np.int64), np.zeros(4, np.int64)
    words = []
    for a in range(0, num, 77):
        words.append(encoder(x[a : a + 77], y[a : a + 77], t[a : a + 77], p[a : a + 77]))
    together = np.concatenate(words)
    together.flags.writeable = together.flags.aligned = False
    codec.scan(together, state, found)
    columns = [np.empty(num, kind) for kind in (np.uint16, np.uint16, np.int64, np.uint8)]
    assert found.tolist() == [num, t[0], t[-1], 0]
    # In order, as recordings are: every block's times are exact, wherever blocks end.
    for block_words in (40, 100):
        events, _ = read_source(source_of(tmp_path, codec, together.tolist(), block_words))
        assert events == list(zip(x.tolist(), y.tolist(), t.tolist(), p.tolist(), strict=True))
    assert codec.decode(together, np.array(codec.start, np.int64), *columns) == num
    for got, expected in zip(columns, (x, y, t, p), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_evt3_vectors_shorten_rows() -> None:
    x = np.arange(640, dtype=np.uint16)
    same = np.zeros(640, np.uint16)
    words = Evt3Encoder()(x, same, np.full(640, 10, np.int64), same.astype(np.uint8))
    # TIME_HIGH, TIME_LOW, ADDR_Y, one base, and three words for 32 columns each.
    assert len(words) == 4 + 3 * 20
