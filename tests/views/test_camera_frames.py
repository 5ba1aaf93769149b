"""The nearest frame: the right one for any order of questions, few frames decoded, few kept."""

from events_support import random_events
from hypothesis import given
from hypothesis import strategies as st
from recordings_support import HeldRecording

from eventsam.views.camera_frames import MAX_HELD, NearestFrames


@given(st.lists(st.integers(0, 1000), max_size=30), st.lists(st.integers(-50, 1050), min_size=1, max_size=20))
def test_the_nearest_frame_is_found_whatever_the_order_of_questions(times: list[int], questions: list[int]) -> None:
    nearest = NearestFrames(HeldRecording(random_events(0, 1), sorted(times)).frames())
    for question in questions:
        frame = nearest.at(question)
        if not times:
            assert frame is None
        else:
            assert abs(frame.t_us - question) == min(abs(time - question) for time in times)


def test_of_two_equally_near_the_earlier_is_shown() -> None:
    assert NearestFrames(HeldRecording(random_events(0, 1), [10, 20]).frames()).at(15).t_us == 10


def test_a_video_decodes_each_frame_about_once_and_a_jump_only_a_few() -> None:
    recording = HeldRecording(random_events(0, 1), range(0, 1_000_000, 100))
    nearest = NearestFrames(recording.frames())
    assert nearest.at(900_030).t_us == 900_000
    assert len(recording.frames_read) < 25
    recording.frames_read.clear()
    for t_us in range(900_030, 950_000, 10):
        nearest.at(t_us)
    assert len(recording.frames_read) < 1.5 * 500
    assert nearest._read.cache_info().currsize <= MAX_HELD
