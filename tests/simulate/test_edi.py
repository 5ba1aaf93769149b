"""The event double integral undoes a known blur."""

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.simulate.background import flat_panorama
from eventsam.simulate.blur import blurred_image, exposure_frames
from eventsam.simulate.edi import deblur
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.procedural import procedural_mesh
from eventsam.simulate.render import Lighting, RaycastRenderer, to_uint8
from eventsam.simulate.trajectory import TrajectoryRanges


def test_one_step_by_hand() -> None:
    # Half of the exposure at 100, then two ON events of 0.3: half at 100 * exp(0.6).
    events = Events.from_arrays([0, 0], [0, 0], [500, 500], [1, 1], height=1, width=2)
    blurry = np.full((3, 1, 2), round(100 * (1 + np.exp(0.6)) / 2), np.uint8)
    before = deblur(blurry, events, 0, 1000, 200, 0.3)
    after = deblur(blurry, events, 0, 1000, 800, 0.3)
    assert before[0, 0, 0] == 100 and after[0, 0, 0] == round(100 * np.exp(0.6))
    assert (before[:, 0, 1] == blurry[:, 0, 1]).all()


def test_events_outside_the_exposure_do_not_count() -> None:
    events = Events.from_arrays([0, 0, 0], [0, 0, 0], [-5, 1000, 2000], [1, 1, 1], height=1, width=1)
    blurry = np.full((3, 1, 1), 77, np.uint8)
    np.testing.assert_array_equal(deblur(blurry, events, 0, 1000, 500, 0.2), blurry)


@pytest.mark.parametrize("level", [20, 40])
def test_simulated_frames_come_closer_to_the_sharp_one(level: int) -> None:
    errors = []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        mesh = procedural_mesh(generator)
        path = TrajectoryRanges().draw(generator, mesh.vertices, 60)
        rendering = RaycastRenderer().render(mesh, path, Lighting.draw(generator), flat_panorama(generator))
        events = PixelModel(seed=seed)(rendering.luminance(), path.times_us())
        first, last = exposure_frames(30, level, 60)
        blurry = to_uint8(blurred_image(rendering.image, first, last))
        sharp = deblur(blurry, events, first * 1000, last * 1000, 30_000, 0.2)
        errors.append([((image - rendering.rgb[30].astype(float)) ** 2).mean() for image in (blurry, sharp)])
    blurry_error, sharp_error = np.mean(errors, axis=0)
    # At least 3 dB closer; a frame that is hardly blurred may lose a little to the size of the threshold.
    assert 10 * np.log10(blurry_error / sharp_error) > 3
    assert np.max(np.divide(*np.transpose(errors)[::-1])) < 1.4


def test_what_does_not_fit_is_refused() -> None:
    empty = Events.empty(2, 3)
    blurry = np.zeros((3, 2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(3, 2, 3\)"):
        deblur(blurry[:, :1], empty, 0, 10, 5, 0.2)
    with pytest.raises(ValueError, match="reference time"):
        deblur(blurry, empty, 0, 10, 11, 0.2)
    with pytest.raises(ValueError, match="threshold"):
        deblur(blurry, empty, 0, 10, 5, 0.0)
