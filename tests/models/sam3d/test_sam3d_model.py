"""The whole model: reconstruction, poses, folders of weights, parts in turns, memory of the full size."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from sam3d_small import MICRO, QUICK, made_inputs, made_model, randomise

from eventsam.models.sam3d.folder import write_model
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.fusing_cost import fusing_cost
from eventsam.models.sam3d.in_turns import reconstruct_in_turns
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.latents import LATENTS
from eventsam.models.sam3d.model import DISTILLED, Sam3d, Sampling, build_sam3d
from eventsam.models.sam3d.pose import decode_pose


def folder_of(model: Sam3d, path, **states):
    parts = {part: getattr(model, part).state_dict() for part in ("embedder", "generator", "decoder")}
    write_model(path, MICRO, parts | states)
    return path


@pytest.fixture(scope="module")
def plain() -> Sam3d:
    return made_model(event_channels=None)


@pytest.fixture
def inputs() -> ConditionInputs:
    return made_inputs(event_image=None)


@torch.no_grad()
def test_reconstruction_returns_logits_raw_latents_and_metric_pose(plain, inputs) -> None:
    made = plain.reconstruct(inputs, (1, 2), QUICK)
    assert made.logits.shape == (2, 16, 16, 16)
    assert set(made.latents) == set(LATENTS)
    pose = decode_pose(made.latents, inputs.pointmap_scale, inputs.pointmap_shift)
    assert all(torch.equal(a, b) for a, b in zip(pose, made.pose, strict=True))
    assert made.latents["translation"].shape == (2, 1, 3) and made.pose.translation.shape == (2, 3)
    assert made.is_metric.tolist() == [True, True]
    frameless = dataclasses.replace(inputs, pointmap=None, rgb_pointmap=None, pointmap_scale=None, pointmap_shift=None)
    assert plain.reconstruct(frameless, (1, 2), QUICK).is_metric.tolist() == [False, False]


@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_not_on_its_batch(plain) -> None:
    inputs = made_inputs(3, event_image=None)
    together = plain.reconstruct(inputs, (1, 2, 3), QUICK)
    rows = {
        field.name: value[1:2]
        for field in dataclasses.fields(inputs)
        if (value := getattr(inputs, field.name)) is not None
    }
    alone = plain.reconstruct(ConditionInputs(**rows), (2,), QUICK)
    torch.testing.assert_close(alone.logits[0], together.logits[1], atol=1e-4, rtol=1e-4)
    assert not torch.equal(together.logits[1], plain.reconstruct(inputs, (1, 5, 3), QUICK).logits[1])
    state = torch.get_rng_state()
    plain.reconstruct(inputs, (1, 2, 3), QUICK)
    assert torch.equal(state, torch.get_rng_state())


@torch.no_grad()
def test_guided_and_distilled_sampling_run(plain, inputs) -> None:
    guided = plain.reconstruct(inputs, (1, 2), Sampling(num_steps=3))
    distilled = plain.reconstruct(inputs, (1, 2), DISTILLED)
    assert guided.logits.isfinite().all() and not torch.equal(guided.logits, distilled.logits)


@torch.no_grad()
def test_bfloat16_is_close_and_keeps_poses_precise(plain, inputs) -> None:
    exact = plain.reconstruct(inputs, (1, 2), QUICK)
    rough = Sam3d(plain.embedder, plain.generator, plain.decoder, precision="bfloat16").eval()
    made = rough.reconstruct(inputs, (1, 2), QUICK)
    assert not torch.equal(made.logits, exact.logits)
    for name, latent in made.latents.items():
        assert latent.dtype == torch.float32
        torch.testing.assert_close(latent, exact.latents[name], atol=0.1, rtol=0.1)
    assert made.pose.rotation.dtype == torch.float32


@torch.no_grad()
def test_a_converted_folder_brings_its_sizes_and_weights(tmp_path, plain, inputs) -> None:
    folder = folder_of(plain, tmp_path / "model")
    loaded = build_sam3d(checkpoint=folder, event_channels=3).eval()
    assert loaded.preset == MICRO
    made, expected = (model.reconstruct(inputs, (1, 2), QUICK) for model in (loaded, plain))
    assert torch.equal(made.logits, expected.logits)
    images, events = (loaded.embedder.module_list[k].state_dict() for k in (0, 3))
    assert all(torch.equal(images[name], events[name]) for name in images)
    assert (
        loaded.embedder.module_list[0].is_initialised_from
        == str(folder)
        == (loaded.embedder.module_list[3].is_initialised_from)
    )


def test_a_folder_with_events_keeps_them(tmp_path) -> None:
    model = made_model()
    folder = folder_of(model, tmp_path / "model")
    loaded = build_sam3d(checkpoint=folder, fusing=Fusing(num_heads=2))
    assert loaded.embedder.event_channels == 3
    event = model.embedder.module_list[3].state_dict()
    assert all(torch.equal(t, event[name]) for name, t in loaded.embedder.module_list[3].state_dict().items())
    with pytest.raises(ValueError, match="has an event entry of 3 channels, asked for: 5"):
        build_sam3d(checkpoint=folder, event_channels=5)


def test_weights_that_do_not_fit_are_named(tmp_path, plain) -> None:
    folder = folder_of(plain, tmp_path / "model")
    state = load_file(folder / "embedder.safetensors")
    state["module_list.0.backbone.extra"] = state.pop("idx_emb")
    save_file(state, folder / "embedder.safetensors")
    with pytest.raises(ValueError, match=r"(?s)embedder\.safetensors does not fit.*idx_emb.*extra"):
        build_sam3d(checkpoint=folder)
    with pytest.raises(FileNotFoundError, match="holds no SAM 3D model"):
        build_sam3d(checkpoint=tmp_path / "none")
    (folder / "embedder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no embedder\.safetensors"):
        build_sam3d(checkpoint=folder)
    with pytest.raises(ValueError, match="did you mean 'small'"):
        build_sam3d("smal")


def test_an_optional_token_of_the_checkpoint_is_kept(tmp_path, plain) -> None:
    token = {"module_list.2.dropped_xyz_token": torch.ones(16)}
    folder = folder_of(plain, tmp_path / "model", embedder=plain.embedder.state_dict() | token)
    loaded = build_sam3d(checkpoint=folder)
    assert torch.equal(loaded.embedder.state_dict()["module_list.2.dropped_xyz_token"], torch.ones(16))


@torch.no_grad()
@pytest.mark.parametrize("place", ["tokens", "generator"])
def test_parts_in_turns_give_the_same_and_say_what_they_take(place) -> None:
    model, inputs = made_model(Fusing(place=place, num_heads=2)), made_inputs()
    randomise(model.fusion, 5, std=0.3)
    made, report = reconstruct_in_turns(model, inputs, (1, 2), "cpu", QUICK)
    assert torch.equal(made.logits, model.reconstruct(inputs, (1, 2), QUICK).logits)
    sizes = {part.part: part.weights for part in report}
    assert list(sizes) == ["embedder", "generator", "decoder"]
    assert sum(sizes.values()) == sum(p.nbytes for p in model.parameters())
    assert report[0].peak is None


def test_the_tiny_preset_reconstructs() -> None:
    torch.manual_seed(0)
    model = build_sam3d("tiny", event_channels=3, fusing=Fusing(place="generator"), checkpointing=True)
    assert model.generator.checkpointing and model.embedder.module_list[3].checkpointing
    image, events = torch.rand(2, 1, 3, 64, 64)
    rows = {"image": image, "mask": torch.ones(1, 1, 64, 64), "event_image": events}
    full = {"rgb_image": rows["image"], "rgb_image_mask": rows["mask"], "rgb_event_image": rows["event_image"]}
    made = model.reconstruct(ConditionInputs(**rows, **full), (1,), QUICK)
    assert made.logits.shape == (1, 32, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["encoder", "tokens", "generator"])
def test_a_full_size_stage_2_step_of_4_samples_fits_40_gb(place) -> None:
    cost = fusing_cost("sam3d", 4, Fusing(place=place, num_heads=16))
    assert cost.num_parameters > 1.9e9
    adam = 2 * 4 * cost.num_trained
    assert cost.peak_bytes + adam < 40e9
