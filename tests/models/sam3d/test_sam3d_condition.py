"""The condition embedder: upstream's names, the order of tokens, dropped pointmaps, events, shared frames."""

import dataclasses

import pytest
import torch
from sam3d_small import MICRO, made_embedder, made_frames, made_inputs, randomise

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.sam3d.condition import EVENT, IMAGE, POINTMAP, ConditionEmbedder
from eventsam.models.sam3d.preprocess import Preprocess
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.sam3d.tokens import EVENT_GROUPS, GROUPS
from eventsam.models.vit import ImageEncoder


def upstream_shapes() -> dict[str, tuple[int, ...]]:
    """The released embedder's keys and shapes, from the specification."""
    shapes: dict[str, tuple[int, ...]] = {"idx_emb": (3, 1024)}
    block = {
        "norm1.weight": (1024,), "norm1.bias": (1024,), "attn.qkv.weight": (3072, 1024), "attn.qkv.bias": (3072,),
        "attn.proj.weight": (1024, 1024), "attn.proj.bias": (1024,), "ls1.gamma": (1024,), "norm2.weight": (1024,),
        "norm2.bias": (1024,), "mlp.fc1.weight": (4096, 1024), "mlp.fc1.bias": (4096,),
        "mlp.fc2.weight": (1024, 4096), "mlp.fc2.bias": (1024,), "ls2.gamma": (1024,),
    }  # fmt: skip
    for k in (0, 1):
        name = f"module_list.{k}.backbone."
        shapes |= {
            f"{name}cls_token": (1, 1, 1024), f"{name}register_tokens": (1, 4, 1024), f"{name}mask_token": (1, 1024),
            f"{name}pos_embed": (1, 1370, 1024), f"{name}patch_embed.proj.weight": (1024, 3, 14, 14),
            f"{name}patch_embed.proj.bias": (1024,), f"{name}norm.weight": (1024,), f"{name}norm.bias": (1024,),
        }  # fmt: skip
        shapes |= {f"{name}blocks.{i}.{part}": shape for i in range(24) for part, shape in block.items()}
    name = "module_list.2."
    shapes |= {
        f"{name}point_proj.weight": (512, 3), f"{name}point_proj.bias": (512,), f"{name}invalid_xyz_token": (512,),
        f"{name}pos_embed": (1, 512, 32, 32), f"{name}pos_embed_window": (1, 65, 512), f"{name}cls_token": (1, 1, 512),
        f"{name}blocks.0.norm1.weight": (512,), f"{name}blocks.0.norm1.bias": (512,),
        f"{name}blocks.0.attn.qkv.weight": (1536, 512), f"{name}blocks.0.attn.qkv.bias": (1536,),
        f"{name}blocks.0.attn.proj.weight": (512, 512), f"{name}blocks.0.attn.proj.bias": (512,),
        f"{name}blocks.0.norm2.weight": (512,), f"{name}blocks.0.norm2.bias": (512,),
        f"{name}blocks.0.mlp.fc1.weight": (1024, 512), f"{name}blocks.0.mlp.fc1.bias": (1024,),
        f"{name}blocks.0.mlp.fc2.weight": (512, 1024), f"{name}blocks.0.mlp.fc2.bias": (512,),
    }  # fmt: skip
    for k, width in enumerate((1024, 1024, 512)):
        net = f"projection_nets.{k}."
        shapes |= {f"{net}0.weight": (width,), f"{net}0.bias": (width,), f"{net}1.w1.weight": (2816, width),
                   f"{net}1.w2.weight": (1024, 2816), f"{net}1.w3.weight": (2816, width)}  # fmt: skip
    return shapes


def test_names_and_shapes_are_upstreams() -> None:
    with torch.device("meta"):
        embedder = ConditionEmbedder(PRESETS["sam3d"])
    assert {name: tuple(t.shape) for name, t in embedder.state_dict().items()} == upstream_shapes()


def test_events_and_the_optional_token_add_names_and_change_none() -> None:
    plain = set(ConditionEmbedder(MICRO).state_dict())
    more = set(ConditionEmbedder(MICRO, event_channels=3, dropped_xyz_token=True).state_dict())
    assert plain < more
    added = ("module_list.3.backbone.", "projection_nets.3.", "module_list.2.dropped_xyz_token")
    assert all(name.startswith(added) for name in more - plain)


def test_upstream_names_load_strictly_and_round_trip() -> None:
    first = randomise(ConditionEmbedder(MICRO), 7)
    second = ConditionEmbedder(MICRO)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second.load_state_dict(state, strict=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.state_dict().items())
    state["module_list.0.backbone.extra"] = state.pop("module_list.0.backbone.mask_token")
    with pytest.raises(RuntimeError, match=r"mask_token.*\n.*extra"):
        second.load_state_dict(state, strict=True)


def test_the_released_condition_has_7528_tokens_of_1024() -> None:
    preset = PRESETS["sam3d"]
    assert preset.num_condition_tokens == 7528
    sizes = {"image": preset.num_image_tokens, "pointmap": preset.num_pointmap_tokens}
    assert sizes == {"image": 1370, "pointmap": 1024}
    assert preset.num_condition_tokens + 2 * preset.num_image_tokens == 10268


def test_tokens_come_in_order_with_their_group_added() -> None:
    embedder, inputs = made_embedder(), made_inputs()
    condition = embedder(inputs)
    assert list(condition.groups) == [*GROUPS, *EVENT_GROUPS]
    assert condition.released.shape == (2, MICRO.num_condition_tokens, 32)
    assert condition.events.shape == (2, 34, 32) and condition.num_image_tokens == 34
    assert condition.groups["image"].start == 0 and condition.groups["event_full"].stop == condition.tokens.shape[1]
    lists, nets = embedder.module_list, embedder.projection_nets
    grey = inputs.rgb_image_mask.expand(-1, 3, -1, -1)
    expected = {
        "image": nets[0](lists[0](inputs.image).tokens) + embedder.idx_emb[0],
        "rgb_image": nets[0](lists[0](inputs.rgb_image).tokens) + embedder.idx_emb[1],
        "rgb_image_mask": nets[1](lists[1](grey).tokens) + embedder.idx_emb[1],
        "pointmap": nets[2](lists[2](inputs.pointmap)) + embedder.idx_emb[0],
        "rgb_pointmap": nets[2](lists[2](inputs.rgb_pointmap)) + embedder.idx_emb[1],
        "event": nets[3](lists[3](inputs.event_image).tokens) + embedder.idx_emb[0],
        "event_full": nets[3](lists[3](inputs.rgb_event_image).tokens) + embedder.idx_emb[1],
    }
    for name, tokens in expected.items():
        torch.testing.assert_close(condition.group(name), tokens, atol=1e-5, rtol=1e-4)
    with pytest.raises(KeyError, match="did you mean 'rgb_image'"):
        condition.group("rgb_imag")


def test_missing_and_dropped_pointmaps_leave_zeros() -> None:
    embedder, inputs = made_embedder(), made_inputs()
    whole = embedder(inputs)
    without = dataclasses.replace(inputs, pointmap=None, rgb_pointmap=None)
    for condition in (embedder(without), embedder(inputs, drop=("pointmap", "rgb_pointmap"))):
        assert condition.tokens.shape == whole.tokens.shape
        assert condition.group("pointmap").abs().max() == 0 == condition.group("rgb_pointmap").abs().max()
        assert torch.equal(condition.group("image"), whole.group("image"))
    one = embedder(dataclasses.replace(inputs, has_pointmap=torch.tensor([True, False])))
    assert torch.equal(one.group("pointmap")[0], whole.group("pointmap")[0])
    assert one.group("pointmap")[1].abs().max() == 0 == one.group("rgb_pointmap")[1].abs().max()
    with pytest.raises(ValueError, match="unknown token group 'pointmaps'; did you mean 'pointmap'"):
        embedder(inputs, drop=("pointmaps",))


def test_an_all_nan_pointmap_gives_the_condition_of_none() -> None:
    embedder, frames = made_embedder(), made_frames()
    frames.pointmap[0] = torch.nan
    condition = embedder(Preprocess(32)(frames))
    without = embedder(made_inputs(pointmap=None))
    assert torch.equal(condition.tokens[0], without.tokens[0])
    assert condition.tokens.isfinite().all() and not torch.equal(condition.tokens[1], without.tokens[1])


def test_training_drops_both_pointmaps_of_a_sample_together() -> None:
    embedder, inputs = made_embedder(), made_inputs(16)
    embedder.pointmap_dropout = 0.5
    embedder.train()
    torch.manual_seed(0)
    condition = embedder(inputs)
    gone = [condition.group(name).abs().amax(dim=(1, 2)) == 0 for name in GROUPS[4:]]
    assert torch.equal(*gone) and 0 < gone[0].sum() < 16
    assert all((condition.group(name).abs().amax(dim=(1, 2)) > 0).all() for name in GROUPS[:4])


@pytest.mark.parametrize("part", ["whole", "pointmap entry"])
def test_nothing_is_dropped_in_frozen_modules(part: str) -> None:
    embedder, inputs = made_embedder(), made_inputs()
    embedder.pointmap_dropout = 1.0
    (embedder if part == "whole" else embedder.module_list[POINTMAP]).freeze()
    parent = torch.nn.ModuleDict({"embedder": embedder}).train()
    assert parent["embedder"](inputs).group("pointmap").abs().max() > 0


def test_the_event_entry_starts_as_the_image_entry() -> None:
    embedder = randomise(ConditionEmbedder(MICRO))
    embedder.add_events(3)
    for parts in (embedder.module_list, embedder.projection_nets):
        images, events = parts[IMAGE].state_dict(), parts[EVENT].state_dict()
        assert images.keys() == events.keys() and all(torch.equal(images[name], events[name]) for name in images)
        assert next(parts[IMAGE].parameters()).data_ptr() != next(parts[EVENT].parameters()).data_ptr()
    inputs = made_inputs()
    same = dataclasses.replace(inputs, event_image=inputs.image, rgb_event_image=inputs.rgb_image)
    condition = embedder.eval()(same)
    torch.testing.assert_close(condition.group("event"), condition.group("image"))
    with pytest.raises(ValueError, match="has an event entry already"):
        embedder.add_events(3)
    assert ConditionEmbedder(MICRO, 5).module_list[EVENT].in_channels == 5


def test_a_distilled_encoder_comes_with_its_projection() -> None:
    embedder, inputs = made_embedder(), made_inputs()
    distilled = ImageEmbedder(ImageEncoder("micro", 32), Projection(32, 32, 16))
    randomise(distilled, 9).eval()
    embedder.load_events(distilled)
    expected = distilled(inputs.event_image).projected + embedder.idx_emb[0]
    torch.testing.assert_close(embedder(inputs).group("event"), expected)
    with pytest.raises(ValueError, match="the distilled projection has sizes"):
        embedder.load_events(ImageEmbedder(ImageEncoder("micro", 32), Projection(32, 48, 16)))
    with pytest.raises(ValueError, match="no event entry"):
        ConditionEmbedder(MICRO).load_events(distilled)


def test_objects_of_one_frame_share_its_tokens(monkeypatch) -> None:
    embedder = made_embedder()
    frames, index = made_frames(2), torch.tensor([1, 0, 1])
    masks = torch.zeros(3, 1, 40, 48)
    for i in range(3):
        masks[i, :, 5 + i : 20 + 3 * i, 7:30] = 1
    shared = dataclasses.replace(frames, mask=masks, image_index=index)
    repeated = dataclasses.replace(
        frames, mask=masks, **{name: getattr(frames, name)[index] for name in ("image", "pointmap", "event_image")}
    )
    rows = []
    whole_forward = ImageEncoder.forward

    def counted(self, image, **options):
        rows.append(len(image))
        return whole_forward(self, image, **options)

    monkeypatch.setattr(ImageEncoder, "forward", counted)
    once, often = embedder(Preprocess(32)(shared)), embedder(Preprocess(32)(repeated))
    torch.testing.assert_close(once.tokens, often.tokens, atol=1e-5, rtol=1e-4)
    assert rows == [5, 5, 6, 6, 6, 6]
    assert once.has_events.shape == (3,)


def test_inputs_that_do_not_fit_are_refused() -> None:
    inputs = made_inputs()
    with pytest.raises(ValueError, match="no event entry"):
        made_embedder(None)(inputs)
    with pytest.raises(ValueError, match="pointmap and rgb_pointmap go together"):
        dataclasses.replace(inputs, pointmap=None)
    with pytest.raises(ValueError, match="mask has 1 rows, expected 2"):
        dataclasses.replace(inputs, mask=inputs.mask[:1])
    with pytest.raises(ValueError, match="image_index has 1 entries for 2 objects"):
        dataclasses.replace(inputs, image_index=torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"expected images \(B, 3, 32, 32\)"):
        made_embedder()(Preprocess(24)(made_frames()))
