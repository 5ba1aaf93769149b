"""A video through the event pixel: chunks of events in bounded memory, and a record of how they were made."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from eventsam.events import Events
from eventsam.simulate.exposure import EventFrame, EventFramer, Exposure
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.pixel_stream import sampling_warnings
from eventsam.simulate.presets import to_v2e
from eventsam.simulate.upsample import Upsampler, Upsampling
from eventsam.simulate.video import Video

Progress = Callable[[float], None]
Preview = Callable[[EventFrame], None]


@dataclass
class VideoSimulation:
    """One run of a sensor over a video. `chunks` may be taken once; `record` says what happened."""

    video: Video
    model: PixelModel
    upsampling: Upsampling = field(default_factory=Upsampling)
    num_frames: int = 0
    num_events: int = 0
    num_on: int = 0
    shortest_step_s: float = float("inf")
    longest_step_s: float = 0.0
    duration_s: float = 0.0

    def __post_init__(self) -> None:
        """Prepare the upsampler."""
        self._upsampler = Upsampler(self.upsampling)

    def chunks(
        self, exposure: Exposure | None = None, preview: Preview | None = None, progress: Progress | None = None
    ) -> Iterator[Events]:
        """Yield the events of every interval; times in us since the first frame.

        `preview` gets the event frames that `exposure` cuts; `progress` the seconds of video done.
        """
        stream = self.model.stream(self.video.height, self.video.width)
        framer = None
        if exposure is not None and preview is not None:
            framer = EventFramer(exposure, self.video.height, self.video.width, 0)
        for seconds, image in self._upsampler(self.video):
            events = stream.frame_at(image, seconds)
            self._count(seconds, events)
            if framer is not None and preview is not None:
                for frame in framer.push(events):
                    preview(frame)
            if progress is not None:
                progress(seconds)
            if len(events):
                yield events
        if framer is not None and preview is not None:
            for frame in framer.flush():
                preview(frame)

    def record(self) -> dict[str, Any]:
        """Plain JSON values: the sensor under both names, the video, the steps taken, counts and warnings."""
        return {
            "input": str(self.video.path),
            "height": self.video.height,
            "width": self.video.width,
            "frame_rate_hz": self.video.frame_rate_hz,
            "num_frames": self.num_frames,
            "duration_s": self.duration_s,
            "num_events": self.num_events,
            "num_on": self.num_on,
            "num_off": self.num_events - self.num_on,
            "sensor": dataclasses.asdict(self.model),
            "v2e_parameters": to_v2e(self.model),
            "upsampling": dataclasses.asdict(self.upsampling) | self._upsampler.summary(),
            "step_s": {
                "shortest": self.shortest_step_s if self.num_frames > 1 else None,
                "longest": self.longest_step_s,
            },
            "warnings": sampling_warnings(self.model, self.longest_step_s),
        }

    def _count(self, seconds: float, events: Events) -> None:
        if self.num_frames > 0:
            step_s = seconds - self.duration_s
            self.shortest_step_s = min(self.shortest_step_s, step_s)
            self.longest_step_s = max(self.longest_step_s, step_s)
        self.duration_s = seconds
        self.num_frames += 1
        self.num_events += len(events)
        self.num_on += int(events.p.sum())
