"""Pictures laid out: sizes, pixels kept as squares, frames beside and below, words where they belong."""

import io

import numpy as np
import pytest
from events_support import random_events
from PIL import Image
from recordings_support import HeldRecording

from eventsam.representations.tencode import Tencode
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.views.lettering import LINE, line_of_text
from eventsam.views.named_representation import named_representation, representation_names
from eventsam.views.panels import SPACE, Layout, side_by_side, strip
from eventsam.views.pictures import Picture, pictures
from eventsam.views.span import shown_span

SMALL = Layout(min_height=18, max_width=100)


def shots(frame_times: tuple[int, ...] = ()) -> tuple[list[Picture], HeldRecording]:
    recording = HeldRecording(random_events(0, 3000, 9, 12, 400_000))
    recording.frame_times = [recording.t_first_us + time for time in frame_times]
    starts = range(recording.t_first_us, recording.t_last_us, 100_000)
    return list(pictures(recording, Tencode(), starts, 50_000)), recording


def test_pictures_are_the_windows_represented() -> None:
    taken, recording = shots((0, 120_000, 330_000))
    assert len(taken) == 4
    for picture in taken:
        events = recording.events(picture.t0, picture.t0 + 50_000)
        assert picture.num_events == len(events)
        np.testing.assert_array_equal(picture.events, Tencode()(events, picture.t0, picture.t1))
    assert [int(picture.frame.image.flat[0]) for picture in taken] == [0, 1, 1, 2]
    assert all(picture.frame is None for picture in shots()[0])


def test_pictures_are_read_one_by_one() -> None:
    recording = HeldRecording(random_events(0, 3000, 9, 12, 400_000))
    stream = pictures(recording, VoxelGrid(), range(recording.t_first_us, recording.t_last_us, 1000), 1000)
    next(stream)
    assert 0 < recording.largest_read < 50


@pytest.mark.parametrize(
    ("sensor", "size"),
    [((180, 240), (360, 480)), ((260, 346), (520, 692)), ((720, 1280), (720, 1280)), ((1080, 1920), (720, 1280)),
     ((100, 1000), (100, 1000)), ((50, 40), (400, 320)), ((1, 60000), (1, 1280))],
)  # fmt: skip
def test_panels_are_enlarged_by_whole_factors_and_fit_the_screen(sensor, size) -> None:
    assert Layout(360, 1280).size(*sensor) == size


def test_events_stand_beside_the_frame_with_pixels_as_squares() -> None:
    taken, recording = shots((0,))
    span = shown_span(recording)
    image = side_by_side(taken[0], span, "tencode", "speed x1", SMALL)
    height, width = 18, 24
    assert image.shape == (2 * SPACE + LINE + height, 3 * SPACE + 2 * width, 3)
    shown = image[SPACE + LINE :, SPACE:][:height, :width]
    expected = taken[0].events.repeat(2, axis=1).repeat(2, axis=2).transpose(1, 2, 0)
    # The outermost line is the panel's border.
    np.testing.assert_array_equal(shown[1:-1, 1:-1], expected[1:-1, 1:-1])
    frame = image[SPACE + LINE :, 2 * SPACE + width :][:height, :width]
    assert (frame[1:-1, 1:-1] == 0).all()
    alone = side_by_side(shots()[0][0], span, "tencode", layout=SMALL)
    assert alone.shape == (2 * SPACE + LINE + height, 2 * SPACE + width, 3)


def test_a_frame_of_another_shape_keeps_its_aspect() -> None:
    taken, recording = shots((0,))
    tall = taken[0].frame
    object.__setattr__(tall, "image", np.zeros((3, 40, 10), np.uint8))
    image = side_by_side(taken[0], shown_span(recording), "tencode", layout=SMALL)
    frame = image[SPACE + LINE :, 2 * SPACE + 24 :][1:17, 1:23]
    dark = np.flatnonzero((frame == 0).all(axis=(0, 2)))
    assert 4 <= len(dark) <= 5


def test_a_strip_has_a_title_a_row_of_events_and_one_of_frames() -> None:
    taken, recording = shots((0, 120_000))
    span = shown_span(recording)
    image = np.asarray(Image.open(io.BytesIO(strip(taken, span, "held.raw", "tencode", SMALL))))
    assert image.shape == (4 * SPACE + 3 * LINE + 2 * 18, 4 * 24 + 5 * SPACE, 3)
    without = np.asarray(Image.open(io.BytesIO(strip(shots()[0], span, "held.raw", layout=SMALL))))
    assert without.shape == (3 * SPACE + 2 * LINE + 18, 4 * 24 + 5 * SPACE, 3)
    with pytest.raises(ValueError, match="at least one picture"):
        strip([], span, "held.raw")


def test_words_are_drawn_and_cut_at_the_edge() -> None:
    line = line_of_text("tencode", "3,412 events", 300)
    assert line.shape == (LINE, 300, 3) and line.dtype == np.uint8
    assert line.min() < 80
    assert (line_of_text("", "", 300) == 255).all()
    assert line_of_text("a very long name indeed", "and more", 20).shape == (LINE, 20, 3)
    with pytest.raises(ValueError, match="width is 0"):
        line_of_text("a", "b", 0)
    with pytest.raises(ValueError, match="panels of 0 rows"):
        Layout(0, 10)


def test_every_representation_is_found_by_the_name_of_its_file() -> None:
    assert {"tencode", "voxel_grid"} <= set(representation_names())
    events = random_events(0, 200)
    for name in representation_names():
        representation = named_representation(name)
        image = representation(events, int(events.t[0]), int(events.t[-1]) + 1)
        assert representation.to_rgb(image).shape == (3, 9, 12)
    with pytest.raises(ValueError, match="unknown representation 'tenncode'; did you mean 'tencode'"):
        named_representation("tenncode")
