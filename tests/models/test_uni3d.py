"""Point groups against brute force, Uni3D's encoder, its checkpoints, and what its similarity sees."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from eventsam.metrics.uni3d import Uni3dSimilarity, object_crop, uni3d_points
from eventsam.models import clip_images, uni3d
from eventsam.models.clip_images import check_installed
from eventsam.models.point_groups import farthest_points, group_points, nearest_points
from eventsam.models.uni3d import SIZES, Uni3dEncoder, convert_uni3d, load_uni3d


@pytest.fixture(scope="module")
def encoder() -> Uni3dEncoder:
    torch.manual_seed(0)
    made = Uni3dEncoder("tiny").eval()
    made.num_groups, made.group_size = 16, 8
    return made


def saved(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, tmp_path / "uni3d.safetensors")
    return tmp_path / "uni3d.safetensors"


@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 12))
def test_farthest_points_are_those_of_brute_force(seed: int, num_points: int, num_samples: int) -> None:
    points = torch.randn(2, num_points, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    num_samples = min(num_samples, num_points)
    chosen = farthest_points(points, num_samples)
    for cloud, ours in zip(points.numpy(), chosen.tolist(), strict=True):
        expected = [0]
        while len(expected) < num_samples:
            distance = np.min(np.linalg.norm(cloud[:, None] - cloud[expected], axis=2), axis=1)
            expected.append(int(np.argmax(distance)))
        assert ours == expected


@given(st.integers(0, 2**16), st.integers(1, 30), st.integers(1, 8))
def test_nearest_points_are_those_of_brute_force(seed: int, num_points: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(2, num_points, 3, generator=generator)
    queries, count = torch.randn(2, 5, 3, generator=generator), min(count, num_points)
    found = nearest_points(queries, points, count)
    distance = (queries[:, :, None].double() - points[:, None].double()).norm(dim=-1)
    expected = distance.sort(dim=-1).values[..., :count]
    torch.testing.assert_close(distance.gather(2, found), expected, rtol=1e-5, atol=1e-6)


def test_groups_hold_offsets_from_their_centres_and_colours() -> None:
    points, colours = torch.rand(1, 50, 3), torch.rand(1, 50, 3)
    groups = group_points(points, colours, 6, 9)
    assert groups.centres.shape == (1, 6, 3) and groups.features.shape == (1, 6, 9, 6)
    assert torch.equal(groups.centres[0, 0], points[0, 0])
    assert torch.count_nonzero(groups.features[:, :, 0, :3]) == 0
    with pytest.raises(ValueError, match="N >= 51"):
        farthest_points(points, 51)
    with pytest.raises(ValueError, match="51 neighbours were asked for among 50"):
        nearest_points(points, points, 51)


def test_sizes_are_those_that_timm_builds() -> None:
    assert set(SIZES) == {"tiny", "small", "base", "large", "giant"}
    with torch.device("meta"):
        tiny, giant = Uni3dEncoder("tiny"), Uni3dEncoder("giant")
    assert giant.trans2embed.in_features == 1408 and len(giant.visual["blocks"]) == 40  # type: ignore[arg-type]
    assert len(tiny.visual["blocks"]) == 12 and tiny.cls_token.shape == (1, 1, 192)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown Uni3D size 'bas'.*base"):
        Uni3dEncoder("bas")


def test_features_do_not_depend_on_the_batch_and_hardly_on_the_order(encoder: Uni3dEncoder) -> None:
    points = torch.rand(2, 200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    colours = torch.full_like(points, 0.4)
    with torch.no_grad():
        both, alone = encoder(points, colours), encoder(points[1:], colours[1:])
        # Farthest points start at the first: all others may come in any order.
        order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(199)])
        shuffled = encoder(points[:, order], colours)
    assert both.shape == (2, 1024)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both, shuffled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module.point_encoder."])
def test_released_names_are_loaded_strictly(encoder: Uni3dEncoder, tmp_path: Path, prefix: str) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in encoder.state_dict().items()}
    beside = {f"{prefix}visual.patch_embed.proj.weight": torch.zeros(2), f"{prefix}visual.pos_embed": torch.zeros(1)}
    path = saved(tmp_path, state | beside | {"logit_scale": torch.zeros(())})
    loaded = load_uni3d(path, "tiny")
    assert loaded.frozen and not loaded.training
    loaded.num_groups, loaded.group_size = encoder.num_groups, encoder.group_size
    points = torch.rand(1, 60, 3)
    with torch.no_grad():
        torch.testing.assert_close(loaded(points, points), encoder(points, points))
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_wrong_checkpoints_name_what_is_wrong(encoder: Uni3dEncoder, tmp_path: Path) -> None:
    state = dict(encoder.state_dict())
    del state["trans2embed.bias"]
    state |= {"trans2embed.weight": torch.zeros(2, 2), "visual.blocks.99.norm1.weight": torch.zeros(3)}
    pattern = (
        r"missing: trans2embed\.bias \(1\).*unexpected: visual\.blocks\.99.*misshapen: trans2embed\.weight \(2, 2\)"
    )
    with pytest.raises(ValueError, match=pattern):
        load_uni3d(saved(tmp_path, state), "tiny")
    with pytest.raises(FileNotFoundError, match="convert_uni3d"):
        load_uni3d(tmp_path / "none.safetensors", "tiny")


def test_a_released_checkpoint_is_converted(encoder: Uni3dEncoder, tmp_path: Path) -> None:
    state = {f"module.point_encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"module": state | {"module.logit_scale": torch.zeros(())}, "epoch": 3}, tmp_path / "model.pt")
    convert_uni3d(tmp_path / "model.pt", tmp_path / "out" / "uni3d.safetensors")
    loaded = load_uni3d(tmp_path / "out" / "uni3d.safetensors", "tiny")
    assert torch.equal(loaded.cls_token, encoder.cls_token)
    torch.save({"state": 3}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="module"):
        convert_uni3d(tmp_path / "other.pt", tmp_path / "x.safetensors")


def test_points_are_centred_of_unit_radius_and_y_up() -> None:
    points = np.random.default_rng(0).random((100, 3)) + np.array([3, 4, 5])
    points[:, 2] *= 10
    seen = uni3d_points(points)
    assert np.abs(seen.mean(axis=0)).max() < 1e-6 and np.linalg.norm(seen, axis=1).max() == pytest.approx(1)
    assert np.ptp(seen, axis=0).argmax() == 1
    axes = uni3d_points(np.concatenate([np.eye(3), -np.eye(3)]))[:3]
    assert np.linalg.det(axes) == pytest.approx(1)


def test_the_crop_is_a_square_around_the_masked_object() -> None:
    rgb, mask = torch.full((3, 20, 40), 9, dtype=torch.uint8), torch.zeros(1, 20, 40, dtype=torch.uint8)
    mask[:, 0:10, 35:40] = 1
    crop = object_crop(rgb, mask)
    assert crop.shape == (3, 12, 12) and int((crop == 9).sum()) == 3 * 50
    assert torch.equal(object_crop(rgb, torch.zeros_like(mask)), rgb)


def test_without_open_clip_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_images, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "eventsam\[uni3d\]"'):
        check_installed()


class _Tower(nn.Module):
    image_size, image_mean, image_std = 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(192, 1024)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(images.flatten(1))


def test_similarity_scores_shapes_against_pictures(
    encoder: Uni3dEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for open_clip's towers, whose weights no test could hold; everything else is real."""
    made = SimpleNamespace(visual=_Tower())
    made.load_state_dict = made.visual.load_state_dict
    module = ModuleType("open_clip")
    module.create_model = lambda name: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "open_clip", module)
    monkeypatch.setattr(clip_images, "find_spec", lambda name: module)
    few = uni3d.Uni3dSize("eva02_tiny_patch14_224", 192, num_groups=16, group_size=8)
    monkeypatch.setattr(uni3d, "SIZES", {"tiny": few})
    save_file(_Tower().state_dict(), tmp_path / "clip.safetensors")
    similarity = Uni3dSimilarity(saved(tmp_path, encoder.state_dict()), tmp_path / "clip.safetensors", "tiny")
    grids = torch.zeros(3, 16, 16, 16, dtype=torch.bool)
    grids[0, 4:12, 4:12, 2:14], grids[1, 2:14, 2:14, 6:10] = True, True
    rgb = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    pictures = similarity.image_features(rgb, torch.ones(3, 1, 32, 32, dtype=torch.uint8))
    scores = similarity.states(grids, pictures, torch.tensor([5, 6, 7]))["uni3d"].to_array()
    assert scores[:, 0].tolist() == [5, 6, 7] and scores[2, 1] == 0.0
    assert np.all(np.abs(scores[:2, 1]) <= 1) and np.all(scores[:2, 1] != 0)
    own = similarity.shape_features(grids)
    assert similarity.states(grids[:2], own[:2], torch.arange(2))["uni3d"].mean() == pytest.approx(1.0, abs=1e-5)
