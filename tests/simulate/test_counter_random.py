"""Random numbers by counter against published vectors and their own statistics."""

import numpy as np

from eventsam.simulate.counter_random import (
    PIXEL,
    fill_normal,
    fill_words,
    key_of,
    normal_quantiles,
    philox,
    unit_uniform,
)


def _words(*values: int) -> list[np.uint64]:
    return [np.uint64(value) for value in values]


def test_philox_gives_the_published_words() -> None:
    # Known answers of the authors' Random123 distribution, 4x32 with 7 rounds.
    zeros = philox(*_words(0, 0, 0, 0), tuple(_words(0, 0)))
    assert [int(word) & 0xFFFFFFFF for word in zeros] == [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]
    ones = philox(*_words(*[0xFFFFFFFF] * 4), tuple(_words(0xFFFFFFFF, 0xFFFFFFFF)))
    assert [int(word) & 0xFFFFFFFF for word in ones] == [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]


def test_a_word_depends_on_its_place_frame_purpose_and_seed_only() -> None:
    key = key_of(5)
    words, again = np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    fill_words(words, 3, np.uint64(7), PIXEL, key)
    lane, call = divmod(700, 256)
    one = philox(np.uint64(3 * 256 + call), np.uint64(7), np.uint64(0), PIXEL, key)
    assert words[700] == int(one[lane]) & 0xFFFFFFFF
    for tile, frame, purpose, seed in ((4, 7, 0, 5), (3, 8, 0, 5), (3, 7, 1, 5), (3, 7, 0, 5 + (1 << 32))):
        fill_words(again, tile, np.uint64(frame), np.uint64(purpose), key_of(seed))
        assert (again == words).mean() < 0.01


def test_draws_have_the_moments_they_should() -> None:
    key = key_of(1)
    words, normal = np.empty(1 << 16, np.uint32), np.empty((1 << 16) + 3, np.float32)
    fill_words(words, 0, np.uint64(1), PIXEL, key)
    uniform = words / 2.0**32
    assert abs(uniform.mean() - 0.5) < 5 * 12**-0.5 / 256 and abs(uniform.var() - 1 / 12) < 1e-3
    fill_normal(normal, np.uint64(1), PIXEL, key)
    assert abs(normal.mean()) < 5 / 256 and abs(normal.std() - 1) < 0.02 and 3.5 < np.abs(normal).max() < 6.7
    quantiles = normal_quantiles()
    assert abs(quantiles.mean()) < 1e-6 and abs(quantiles.std() - 1) < 1e-6
    singles = [unit_uniform(place, 1 << 40, PIXEL, key) for place in range(2000)]
    assert min(singles) > 0 and max(singles) < 1 and len(set(singles)) == 2000
