"""Events fused at three places: the identity at the start, RGB's own output without events, gates, refusals."""

import dataclasses

import pytest
import torch
from sam3d_small import MICRO, QUICK, made_inputs, made_model, randomise

from eventsam.models.fusion.injected import fusion_names
from eventsam.models.sam3d.fusing import Fusing, Place, default_generator_blocks
from eventsam.models.sam3d.model import Reconstruction, Sam3d
from eventsam.models.sam3d.presets import PRESETS

PLACES = ("encoder", "tokens", "generator")
FUSIONS = fusion_names()


def fusing(fusion: str, place: Place, **changes) -> Fusing:
    blocks = {"encoder": (0, 2), "tokens": None, "generator": (0, 1)}[place]
    return Fusing(**{"fusion": fusion, "place": place, "blocks": blocks, "num_heads": 2} | changes)


def plain_of(model: Sam3d) -> Sam3d:
    """The same model without its fusion and without the event entry's tokens being asked for."""
    return Sam3d(model.embedder, model.generator, model.decoder).eval()


@torch.no_grad()
def reconstruct(model: Sam3d, inputs, seeds=(3, 4)) -> Reconstruction:
    return model.reconstruct(inputs, seeds, QUICK)


def assert_same(one: Reconstruction, other: Reconstruction, samples=slice(None)) -> None:
    assert torch.equal(one.logits[samples], other.logits[samples])
    for name, latent in one.latents.items():
        assert torch.equal(latent[samples], other.latents[name][samples])
    assert all(torch.equal(a[samples], b[samples]) for a, b in zip(one.pose, other.pose, strict=True))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fresh_fusion_changes_no_bit(fusion: str, place: Place) -> None:
    model, inputs = made_model(fusing(fusion, place)), made_inputs()
    without = dataclasses.replace(inputs, event_image=None, rgb_event_image=None, has_events=None)
    plain = plain_of(model)
    assert_same(reconstruct(model, inputs), reconstruct(plain, inputs))
    assert_same(reconstruct(model, inputs), reconstruct(plain, without))
    model.precision = plain.precision = "bfloat16"
    assert_same(reconstruct(model, inputs), reconstruct(plain, inputs))


@pytest.mark.parametrize("fusion", ["attn", "cattn", "flamingo"])
def test_a_fresh_fusion_of_all_tokens_changes_no_bit(fusion: str) -> None:
    model, inputs = made_model(fusing(fusion, "generator", queries="all")), made_inputs()
    assert_same(reconstruct(model, inputs), reconstruct(plain_of(model), inputs))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_samples_without_events_get_what_rgb_gives(fusion: str, place: Place, precision: str) -> None:
    model = made_model(fusing(fusion, place))
    randomise(model.fusion, 5, std=0.3)
    events = made_inputs(3).event_image
    assert events is not None
    frames = {"event_image": torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8)}
    frames["event_image"][1] = 255
    inputs = made_inputs(3, **frames)
    plain = plain_of(model)
    model.precision = plain.precision = precision
    fused, rgb = reconstruct(model, inputs, (1, 2, 3)), reconstruct(plain, inputs, (1, 2, 3))
    assert_same(fused, rgb, slice(1, 2))
    for i in (0, 2):
        assert not torch.equal(fused.logits[i], rgb.logits[i])
    # A control shows blank images on purpose: told that they are events, they count.
    told = dataclasses.replace(inputs, has_events=torch.tensor([True, True, True]))
    assert not torch.equal(reconstruct(model, told, (1, 2, 3)).logits[1], rgb.logits[1])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_of_the_fusion_learns(fusion: str, place: Place) -> None:
    model, inputs = made_model(fusing(fusion, place)), made_inputs()
    for part in (model.embedder, model.generator, model.decoder):
        part.freeze()
    model.train()
    optimizer = torch.optim.SGD(model.fusion.parameters(), lr=0.5)
    reached: set[str] = set()
    for _ in range(3):
        optimizer.zero_grad()
        made = model.reconstruct(inputs, (3, 4), QUICK)
        (made.logits.square().sum() + sum(x.square().sum() for x in made.latents.values())).backward()
        reached |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
    assert reached == {f"fusion.{name}" for name, _ in model.fusion.named_parameters()}
    gates = model.gates()
    assert all(name.startswith(f"{place}/") for name in gates) and any(gates.values())
    assert {name.split("/")[1] for name in gates} == {
        "encoder": {"0", "2"}, "tokens": {"final"}, "generator": {"0", "1"}
    }[place]  # fmt: skip


def test_frames_that_show_one_value_count_as_empty_unless_told() -> None:
    inputs = dataclasses.replace(made_inputs(), has_events=None)
    blank = torch.zeros_like(inputs.rgb_event_image)
    empty = dataclasses.replace(inputs, event_image=blank, rgb_event_image=blank)
    assert inputs.frames_with_events().tolist() == [True, True]
    assert empty.frames_with_events().tolist() == [False, False]
    model = made_model(fusing("cattn", "encoder"))
    randomise(model.fusion, 5, std=0.3)
    assert_same(reconstruct(model, empty), reconstruct(plain_of(model), empty))
    with pytest.raises(ValueError, match="no event images"):
        made_inputs(event_image=None).frames_with_events()


def test_gates_are_zero_at_the_start_and_absent_without_fusion() -> None:
    model = made_model(fusing("flamingo", "generator"))
    assert model.gates() == {f"generator/{i}/{gate}": 0.0 for i in (0, 1) for gate in ("cross", "mlp")}
    assert made_model().gates() == {}


def test_image_queries_leave_masks_and_pointmaps_alone_and_changes_add_up() -> None:
    inputs = made_inputs()
    seen: dict[str, list[torch.Tensor]] = {}
    for queries in ("image", "all"):
        model = made_model(fusing("flamingo", "generator", queries=queries))
        randomise(model.fusion, 5, std=0.3)
        with torch.no_grad():
            condition = model.condition(inputs)
            read = model.generator.read(condition.released, model.inject(condition))
        seen[queries] = [condition.released, *(block.tokens for block in read)]
    count = 2 * MICRO.num_image_tokens
    for queries, tokens in seen.items():
        start, first, second, third = tokens
        changed = (first != start).any(dim=2).any(dim=0)
        assert changed[:count].all() and changed[count:].all() == (queries == "all") == changed[count:].any()
        assert not torch.equal(first, second) and torch.equal(second, third)


def test_crop_and_frame_share_one_fuser() -> None:
    model = made_model(fusing("flamingo", "tokens"))
    randomise(model.fusion, 5, std=0.3)
    inputs = made_inputs()
    swapped = dataclasses.replace(
        inputs, image=inputs.rgb_image, rgb_image=inputs.image,
        event_image=inputs.rgb_event_image, rgb_event_image=inputs.event_image,
    )  # fmt: skip
    with torch.no_grad():
        one, other = model.condition(inputs), model.condition(swapped)
    unmarked = one.group("image") - model.embedder.idx_emb[0]
    torch.testing.assert_close(unmarked, other.group("rgb_image") - model.embedder.idx_emb[1], atol=1e-5, rtol=1e-4)
    assert list(model.fusion.fusions) == ["final"]


def test_objects_of_one_frame_are_fused_as_if_alone() -> None:
    index = torch.tensor([0, 0, 1])
    masks = torch.zeros(3, 1, 40, 48)
    for i in range(3):
        masks[i, :, 5 + i : 20 + 3 * i, 7:30] = 1
    events = torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)
    events[1] = 0
    images = torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)
    shared = made_inputs(mask=masks, image=images, event_image=events, pointmap=None, image_index=index)
    repeated = made_inputs(mask=masks, image=images[index], event_image=events[index], pointmap=None)
    for place in PLACES:
        model = made_model(fusing("cattn", place))
        randomise(model.fusion, 5, std=0.3)
        one, other = (reconstruct(model, inputs, (1, 2, 3)).logits for inputs in (shared, repeated))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_checkpointing_keeps_gradients(place: Place) -> None:
    model, inputs = made_model(fusing("flamingo", place)), made_inputs()
    randomise(model.fusion, 5, std=0.3)
    gradients = []
    for on in (False, True):
        model.set_checkpointing(on)
        model.zero_grad()
        model.reconstruct(inputs, (3, 4), QUICK).logits.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.fusion.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (dict(fusion="flamenco"), "unknown fusion 'flamenco'; did you mean 'flamingo'"),
        (dict(place="encoders"), "unknown place of fusion 'encoders'; did you mean 'encoder'"),
        (dict(queries="images"), "unknown queries 'images'; did you mean 'image'"),
        (dict(place="tokens", blocks=(1,)), "takes no blocks"),
        (dict(fusion="gated", place="generator", queries="all"), "pairs tokens one to one"),
    ],
)
def test_choices_that_cannot_work_are_refused(choice: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fusing(**choice)


@pytest.mark.parametrize("place", ["encoder", "generator"])
def test_unknown_blocks_are_refused(place: Place) -> None:
    with pytest.raises(ValueError, match=rf"injection blocks \[3\] out of range: the {place} has blocks 0\.\.2"):
        made_model(Fusing(place=place, blocks=(1, 3), num_heads=2))


def test_default_blocks() -> None:
    assert default_generator_blocks(24) == (0, 2, 4, 6)
    assert default_generator_blocks(4) == (0,)
    with torch.device("meta"):
        assert Fusing(place="encoder").build(PRESETS["sam3d"]).taps == (2, 5, 8, 11, 14, 17, 20, 23)
        assert Fusing(place="generator").build(PRESETS["sam3d"]).taps == (0, 2, 4, 6)


def test_fusion_needs_events() -> None:
    with pytest.raises(ValueError, match="needs the embedder's event entry"):
        made_model(Fusing(num_heads=2), event_channels=None)
    for place in PLACES:
        with pytest.raises(ValueError, match="the fusion needs event images"):
            reconstruct(made_model(fusing("flamingo", place)), made_inputs(event_image=None))
