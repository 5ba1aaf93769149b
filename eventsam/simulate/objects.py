"""Render one object into one shard: the unit of work of a synthetic catalog."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.background import Panorama, flat_panorama, list_pictures, noise_panorama, photo_panorama
from eventsam.simulate.blur import blurred_image, blurred_mask, exposure_frames
from eventsam.simulate.meshes import TexturedMesh
from eventsam.simulate.occupancy import occupancy_of, pack_occupancy
from eventsam.simulate.render import Lighting, RaycastRenderer, Renderer, pointmap_of, to_uint8
from eventsam.simulate.settings import SPLITS, RenderSettings
from eventsam.simulate.shard import Shard, ShardContent, pack_events, write_shard
from eventsam.simulate.sources import ObjectSource

SHARD_FOLDER = "shards"


def shard_path(root: Path, object_id: str) -> Path:
    """Where the shard of an object lies in a catalog's folder."""
    return root / SHARD_FOLDER / f"{object_id}.h5"


def is_complete(
    path: Path, settings: RenderSettings, object_id: str | None = None, source: ObjectSource | None = None
) -> bool:
    """Whether a shard is there, whole and rendered with these settings, so that it need not be rendered again.

    Where given, the object's id and source must be those of the shard too: a mesh file that changed is another source.
    """
    expected = {"settings_hash": settings.content_hash}
    if object_id is not None:
        expected["object_id"] = object_id
    if source is not None:
        expected["source"] = json.dumps(source.to_json(), sort_keys=True)
    try:
        shard = Shard(path)
    except ValueError:
        return False
    try:
        return all(shard.attribute(name) == value for name, value in expected.items())
    finally:
        shard.close()


def render_object(
    object_id: str,
    source: ObjectSource,
    settings: RenderSettings,
    out_path: Path,
    renderer: Renderer | None = None,
) -> None:
    """Render all trajectories of one object and write its shard.

    A pure function of (settings, object id, source): every random draw is seeded with the settings' seed and the id.
    Raises ValueError naming the object, trajectory and frame where the object is not seen or leaves the image.
    """
    if source.split is not None and source.split not in SPLITS:
        raise ValueError(f"object {object_id}: unknown split {source.split!r} (allowed: {', '.join(SPLITS)})")
    renderer = renderer or RaycastRenderer(settings.height, settings.width, settings.refine_contrast)
    mesh = source.mesh(_generator(settings, object_id, 0))
    try:
        grid = pack_occupancy(occupancy_of(mesh, settings.occupancy_resolution))
    except ValueError as error:
        raise ValueError(f"object {object_id}: {error}") from error
    recordings = []
    for number in range(settings.trajectories_per_object):
        try:
            recordings.append(_record(mesh, renderer, settings, _generator(settings, object_id, 1 + number)))
        except ValueError as error:
            raise ValueError(f"object {object_id}, trajectory {number}, {error}") from error
    attributes = {
        "object_id": object_id,
        "split": source.split or settings.split_of(source.index),
        "settings": json.dumps(settings.to_json(), sort_keys=True),
        "settings_hash": settings.content_hash,
        "source": json.dumps(source.to_json(), sort_keys=True),
        "details": json.dumps([recording.details for recording in recordings]),
    }
    write_shard(out_path, _gather(recordings, attributes, grid))


@dataclass(frozen=True)
class _Recording:
    """One rendered path: the arrays of `ShardContent` for it alone, and what was drawn for it."""

    samples: NDArray[np.int64]
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    pointmap: NDArray[np.float16]
    pose: NDArray[np.float32]
    events: Events
    places: NDArray[np.int64]
    details: dict[str, Any]


def _generator(settings: RenderSettings, object_id: str, stream: int) -> np.random.Generator:
    """Independent randomness per object and stream (0 the mesh, 1.. the trajectories)."""
    name = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big")
    return np.random.default_rng([settings.seed, name, stream])


def _background(settings: RenderSettings, generator: np.random.Generator) -> tuple[Panorama, dict[str, str]]:
    """Draw a background and say which."""
    kind: str = settings.background
    if kind == "mixed":
        kind = "colour" if generator.uniform() < 0.5 else "clouds"
    if settings.background_folder is not None:
        pictures = list_pictures(Path(settings.background_folder))
        chosen = pictures[int(generator.integers(len(pictures)))]
        digest = hashlib.sha256(chosen.read_bytes()).hexdigest()
        return photo_panorama(chosen, generator), {"kind": kind, "file": chosen.name, "sha256": digest}
    return (flat_panorama(generator) if kind == "colour" else noise_panorama(generator)), {"kind": kind}


def _record(
    mesh: TexturedMesh, renderer: Renderer, settings: RenderSettings, generator: np.random.Generator
) -> _Recording:
    path = settings.trajectory.draw(generator, mesh.vertices, settings.num_frames, settings.frame_interval_us)
    lighting = Lighting.draw(generator)
    background, background_name = _background(settings, generator)
    # Every path is seen by another copy of the sensor: no network may learn one copy's threshold mismatch.
    sensor_seed = int(generator.integers(2**31)) ^ settings.pixel_model.seed
    sensor = dataclasses.replace(settings.pixel_model, seed=sensor_seed)
    rendering = renderer.render(mesh, path, lighting, background)
    times = path.times_us()
    events = sensor(rendering.luminance(), times)
    targets = settings.target_frames()
    images, masks, samples = _expose(rendering.image, rendering.mask, events, settings, targets)
    details = {
        "trajectory": dataclasses.asdict(path),
        "lighting": dataclasses.asdict(lighting),
        "background": background_name,
        "sensor_seed": sensor.seed,
    }
    return _Recording(
        samples=samples,
        images=images,
        masks=masks,
        pointmap=pointmap_of(rendering.depth[targets], rendering.focal).astype(np.float16),
        pose=path.poses()[targets],
        events=events,
        places=np.append(np.searchsorted(events.t, times), len(events)),
        details=details,
    )


def _expose(
    image: NDArray[np.float32], mask: NDArray[np.uint8], events: Events, settings: RenderSettings, targets: list[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Sharp and blurry frames (N, 1 + L, 3, H, W), packed masks (N, 1 + L, bytes) and rows of the sample table."""
    images, masks, samples = [], [], []
    interval = settings.frame_interval_us
    for place, frame in enumerate(targets):
        frames, covered = [image[frame]], [mask[frame]]
        for level, num_blurred in enumerate(settings.num_blurred().values()):
            first, last = exposure_frames(frame, num_blurred, settings.num_frames)
            frames.append(blurred_image(image, first, last))
            covered.append(blurred_mask(mask, first, last))
            start, stop = first * interval, last * interval
            samples.append([place, 0, frame, level, frame * interval, start, stop, len(events.between(start, stop))])
        images.append(to_uint8(np.stack(frames)))
        masks.append(np.packbits(np.stack(covered).reshape(len(covered), -1), axis=1))
    return np.stack(images), np.stack(masks), np.array(samples, np.int64)


def _gather(recordings: list[_Recording], attributes: dict[str, str], occupancy: NDArray[np.uint8]) -> ShardContent:
    """Join the paths of one object."""
    samples, places = [], []
    num_samples = num_events = 0
    for number, recording in enumerate(recordings):
        rows = recording.samples.copy()
        rows[:, 0] += num_samples
        rows[:, 1] = number
        samples.append(rows)
        places.append(recording.places + num_events)
        num_samples += len(recording.images)
        num_events += len(recording.events)
    return ShardContent(
        attributes=attributes,
        samples=np.concatenate(samples),
        images=np.concatenate([recording.images for recording in recordings]),
        masks=np.concatenate([recording.masks for recording in recordings]),
        pointmap=np.concatenate([recording.pointmap for recording in recordings]),
        pose=np.concatenate([recording.pose for recording in recordings]),
        occupancy=occupancy,
        events=np.concatenate([pack_events(recording.events) for recording in recordings]),
        event_places=np.stack(places),
    )
