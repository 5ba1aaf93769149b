"""Released checkpoints to safetensors and back: every key, every size, and files that are not what they say."""

import ast
import json
import os
import re
from pathlib import Path

import pytest
import torch
from released_checkpoints import (
    EMBEDDER,
    GENERATOR,
    RELEASED,
    SMALL,
    decoder_keys,
    dino_keys,
    embedder_keys,
    encoder_keys,
    generator_keys,
    random_state,
    released_files,
    save_files,
)
from safetensors.torch import load_file

from eventsam.models.sam3d.condition import ConditionEmbedder
from eventsam.models.sam3d.convert import (
    CheckpointMismatchError,
    convert_encoder,
    convert_sam3d,
    expected_shapes,
    to_released,
)
from eventsam.models.sam3d.folder import load_part, read_preset
from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.sam3d.vae import OccupancyVaeDecoder, OccupancyVaeEncoder
from eventsam.models.vit import ImageEncoder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_files(tmp_path / "released", released_files())


def changed(folder: Path, name: str, change) -> None:
    content = torch.load(folder / name, weights_only=True)
    state = content.get("state_dict", content)
    change(state)
    torch.save(content, folder / name)


def assert_same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name in left:
        if isinstance(left[name], dict):
            assert_same(left[name], right[name])
        else:
            assert left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]), name


def test_there_and_back_keeps_every_bit(folder: Path, tmp_path: Path) -> None:
    report = convert_sam3d(folder, tmp_path / "out")
    files = released_files()
    assert_same(to_released(tmp_path / "out"), files)
    written = {part: load_file(tmp_path / "out" / f"{part}.safetensors") for part in ("generator", "embedder")}
    stripped = {
        f"{p}{name}" for part, p in (("generator", GENERATOR), ("embedder", EMBEDDER)) for name in written[part]
    }
    assert stripped == files["ss_generator.ckpt"]["state_dict"].keys()
    # Converting what came back gives the same bytes again.
    convert_sam3d(save_files(tmp_path / "again", to_released(tmp_path / "out")), tmp_path / "out2")
    for name in sorted(path.name for path in (tmp_path / "out").iterdir()):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    assert "faults 0" in report.summary()


def test_sizes_come_from_the_weights_and_modules_load_strictly(folder: Path, tmp_path: Path) -> None:
    convert_sam3d(folder, tmp_path / "out")
    preset = read_preset(tmp_path / "out")
    assert (preset.encoder, preset.image_size, preset.condition_width) == ("micro", 32, 48)
    assert (preset.pointmap_width, preset.pointmap_size, preset.pointmap_window) == (64, 32, 8)
    assert (preset.width, preset.num_blocks, preset.num_heads, preset.grid, preset.resolution) == (32, 3, 4, 4, 16)
    assert preset.decoder_channels == (24, 16, 8) and preset.decoder_layers == 2
    modules = {
        "generator": Generator(preset), "embedder": ConditionEmbedder(preset),
        "decoder": OccupancyVaeDecoder(preset), "encoder": OccupancyVaeEncoder(preset),
    }  # fmt: skip
    for part, module in modules.items():
        load_part(tmp_path / "out", part, module)
        source = load_file(tmp_path / "out" / f"{part}.safetensors")
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, source[name].to(tensor.dtype)), name


def test_the_released_key_set_is_what_the_model_of_that_size_has() -> None:
    expected = expected_shapes(PRESETS["sam3d"])
    specified = {
        "generator": generator_keys(RELEASED), "embedder": embedder_keys(RELEASED),
        "decoder": decoder_keys(RELEASED), "encoder": encoder_keys(RELEASED),
    }  # fmt: skip
    for part, keys in specified.items():
        assert dict(expected[part]) == dict(keys), part


@pytest.mark.slow
def test_a_released_size_checkpoint_round_trips(tmp_path: Path) -> None:
    # Whole in size; zeros in float16, since random numbers of 1.7 billion weights take minutes.
    def zeros(keys) -> dict[str, torch.Tensor]:
        return {name: torch.zeros(shape, dtype=torch.float16) for name, shape in keys}

    shared = {GENERATOR + name: t for name, t in zeros(generator_keys(RELEASED)).items()}
    shared |= {EMBEDDER + name: t for name, t in zeros(embedder_keys(RELEASED)).items()}
    files = {"ss_generator.ckpt": {"state_dict": shared}, "ss_decoder.ckpt": zeros(decoder_keys(RELEASED))}
    convert_sam3d(save_files(tmp_path / "released", files), tmp_path / "out")
    assert read_preset(tmp_path / "out") == PRESETS["sam3d"]
    assert_same(to_released(tmp_path / "out"), files)


def test_every_key_is_in_the_report(folder: Path, tmp_path: Path) -> None:
    changed(folder, "ss_generator.ckpt", lambda state: state.update({"_base_models.ema.step": torch.zeros(1)}))
    lines = convert_sam3d(folder, tmp_path / "out").lines()
    num_keys = sum(len(content.get("state_dict", content)) for content in released_files().values())
    assert len(lines) == num_keys + 2
    name = "reverse_fn.backbone.latent_mapping.shape.input_layer.weight"
    assert f"ss_generator.ckpt: {GENERATOR}{name} -> generator: {name} (32, 8) bfloat16" in lines
    assert "ss_generator.ckpt: _base_models.ema.step left out (of neither net)" in lines


def test_a_wrong_checkpoint_names_missing_unexpected_and_misshapen(folder: Path, tmp_path: Path) -> None:
    def spoil(state: dict) -> None:
        norm = f"{GENERATOR}reverse_fn.backbone.blocks.1.norm2.shape."
        state[norm + "wieght"] = state.pop(norm + "weight")
        state[f"{EMBEDDER}projection_nets.1.0.bias"] = torch.zeros(7)

    changed(folder, "ss_generator.ckpt", spoil)
    with pytest.raises(CheckpointMismatchError) as caught:
        convert_sam3d(folder, tmp_path / "out")
    message = str(caught.value)
    assert "1 missing: reverse_fn.backbone.blocks.1.norm2.shape.weight" in message
    assert "norm2.shape.wieght (nearest missing: reverse_fn.backbone.blocks.1.norm2.shape.weight)" in message
    assert "1 misshapen: projection_nets.1.0.bias (7,), expected (32,)" in message
    assert any("faults 3" in line for line in caught.value.report.lines())
    assert [path.name for path in tmp_path.iterdir()] == ["released"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (f"{EMBEDDER}idx_emb", "'idx_emb'"),
        (f"{GENERATOR}reverse_fn.backbone.latent_mapping.shape.pos_emb", "latent_mapping.shape.pos_emb'"),
        (f"{EMBEDDER}projection_nets.2.1.w1.weight", "projection_nets.2.1.w1.weight'"),
    ],
)
def test_a_checkpoint_without_a_size_names_the_weight(folder: Path, tmp_path: Path, key: str, message: str) -> None:
    changed(folder, "ss_generator.ckpt", lambda state: state.pop(key))
    with pytest.raises(ValueError, match="sizes cannot be read") as caught:
        convert_sam3d(folder, tmp_path / "out")
    assert message in str(caught.value) and str(folder) in str(caught.value)


def test_what_differs_between_released_models_is_taken(folder: Path, tmp_path: Path) -> None:
    def vary(state: dict) -> None:
        state[f"{EMBEDDER}module_list.2.dropped_xyz_token"] = torch.ones(64)
        name = f"{GENERATOR}reverse_fn.backbone.latent_mapping.shape.pos_emb"
        state[name] = state[name][None]

    changed(folder, "ss_generator.ckpt", vary)
    (folder / "ss_encoder.ckpt").unlink()
    convert_sam3d(folder, tmp_path / "out")
    preset = read_preset(tmp_path / "out")
    load_part(tmp_path / "out", "generator", Generator(preset))
    load_part(tmp_path / "out", "embedder", ConditionEmbedder(preset, dropped_xyz_token=True))
    assert not (tmp_path / "out" / "encoder.safetensors").exists()
    assert_same(
        to_released(tmp_path / "out")["ss_generator.ckpt"],
        torch.load(folder / "ss_generator.ckpt", weights_only=True),
    )


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("name", ["ss_generator.ckpt", "ss_decoder.ckpt"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_with_code_is_refused_and_nothing_runs(folder: Path, tmp_path: Path, name: str, archive: bool) -> None:
    content = torch.load(folder / name, weights_only=True)
    content["hook"] = Malicious(tmp_path / "owned")
    torch.save(content, folder / name, _use_new_zipfile_serialization=archive)
    with pytest.raises(ValueError, match=r"objects with code, none of which was run .*mkdir") as caught:
        convert_sam3d(folder, tmp_path / "out")
    assert name in str(caught.value)
    assert not (tmp_path / "owned").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 40, 5000, -200])
def test_a_truncated_file_is_named(folder: Path, tmp_path: Path, keep: int) -> None:
    path = folder / "ss_decoder.ckpt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read as a file of tensors: it is damaged")):
        convert_sam3d(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ss_generator.ckpt", {"model": {}, "step": 3}, r"unknown key.*'state_dict'.*allowed: model, step"),
        ("ss_generator.ckpt", [torch.zeros(1)], "'state_dict'"),
        ("ss_generator.ckpt", {"state_dict": {"generator.x": torch.zeros(1)}}, "no key starts with.*generator.x"),
        ("ss_generator.ckpt", {"state_dict": {"a": 3}}, r"tensors by name alone; it also has 'a' \(int\)"),
        ("ss_generator.ckpt", {"state_dict": {}}, "has nothing"),
        ("ss_decoder.ckpt", {"state_dict": {"a": torch.zeros(1)}}, r"'state_dict' \(dict\)"),
        ("ss_decoder.ckpt", 3, "holds a int, expected tensors by name"),
        ("ss_decoder.ckpt", {"a": torch.zeros(1)}, "input_layer|residual blocks"),
    ],
)
def test_another_layout_is_named_with_file_and_keys(
    folder: Path, tmp_path: Path, name: str, content: object, message: str
) -> None:
    torch.save(content, folder / name)
    with pytest.raises(ValueError, match=message) as caught:
        convert_sam3d(folder, tmp_path / "out")
    assert str(folder) in str(caught.value)


def test_an_old_format_file_is_read(folder: Path, tmp_path: Path) -> None:
    content = torch.load(folder / "ss_decoder.ckpt", weights_only=True)
    torch.save(content, folder / "ss_decoder.ckpt", _use_new_zipfile_serialization=False)
    convert_sam3d(folder, tmp_path / "out")
    assert_same(to_released(tmp_path / "out"), released_files())


def test_tensors_that_share_memory_are_written_each_for_itself(folder: Path, tmp_path: Path) -> None:
    def tie(state: dict) -> None:
        both = torch.randn(2, 24)
        state["middle_block.0.norm1.weight"], state["middle_block.0.norm1.bias"] = both[0], both[1]
        state["middle_block.1.norm1.weight"] = state["middle_block.1.norm2.weight"]
        state["input_layer.weight"] = state["input_layer.weight"].transpose(2, 3)

    changed(folder, "ss_decoder.ckpt", tie)
    convert_sam3d(folder, tmp_path / "out")
    assert_same(to_released(tmp_path / "out")["ss_decoder.ckpt"], torch.load(folder / "ss_decoder.ckpt"))


def test_missing_files_and_existing_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists"):
        convert_sam3d(folder, tmp_path / "out")
    (folder / "ss_decoder.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no ss_decoder.ckpt \(it has: ss_encoder.ckpt, ss_generator"):
        convert_sam3d(folder, tmp_path / "new")
    with pytest.raises(FileNotFoundError, match=r"no ss_generator.ckpt and no ss_decoder.ckpt \(it has: nothing\)"):
        convert_sam3d(tmp_path / "nowhere", tmp_path / "new")


def test_a_failing_write_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("eventsam.models.sam3d.folder.json.dumps", full)
    with pytest.raises(OSError, match="no space"):
        convert_sam3d(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["released"]


def test_parts_that_do_not_fit_are_refused_when_loaded(folder: Path, tmp_path: Path) -> None:
    convert_sam3d(folder, tmp_path / "out")
    with pytest.raises(ValueError, match=r"decoder.safetensors does not fit.*misshapen: blocks.0"):
        load_part(tmp_path / "out", "decoder", OccupancyVaeDecoder(PRESETS["tiny"]))
    with pytest.raises(FileNotFoundError, match=r"it has: decoder\.safetensors"):
        load_part(tmp_path / "out", "decode", OccupancyVaeDecoder(PRESETS["tiny"]))
    record = tmp_path / "out" / "sam3d.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": 9}))
    with pytest.raises(ValueError, match="version 9"):
        read_preset(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"sam3d.json is missing"):
        read_preset(tmp_path)


@pytest.mark.parametrize("names", ["DINOv2", "timm"])
def test_an_encoder_alone_is_converted_under_either_name(tmp_path: Path, names: str) -> None:
    torch.manual_seed(0)
    state = ImageEncoder("micro", 32).vit.state_dict() if names == "timm" else random_state(dino_keys("", SMALL), 0)
    torch.save(state, tmp_path / "encoder.pth")
    lines = convert_encoder(tmp_path / "encoder.pth", tmp_path / "out")
    assert len(lines) == len(state)
    record = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert (record["preset"], record["image_size"], record["names"]) == ("micro", 32, names)
    encoder, direct = ImageEncoder("micro", 32), ImageEncoder("micro", 32)
    encoder.load_weights(tmp_path / "out" / "encoder.safetensors")
    direct.load_state(state, "direct")
    assert_same(encoder.vit.state_dict(), direct.vit.state_dict())
    assert_same(load_file(tmp_path / "out" / "encoder.safetensors"), dict(state))


def test_an_encoder_that_is_none_is_refused(tmp_path: Path) -> None:
    state = random_state(dino_keys("", SMALL), 0)
    torch.save({**state, "head.weight": torch.zeros(3)}, tmp_path / "headed.pth")
    with pytest.raises(ValueError, match=r"unexpected: head.weight"):
        convert_encoder(tmp_path / "headed.pth", tmp_path / "out")
    odd = {name: t for name, t in state.items() if not name.startswith("blocks.2.")}
    torch.save(odd, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"no encoder preset has width 32, patch 8, 2 blocks; there are: micro"):
        convert_encoder(tmp_path / "odd.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_files_come_in_through_one_door_alone() -> None:
    """torch.load is called once, with weights_only=True, and torch.save, which writes pickle, never."""
    calls = []
    for package in ("eventsam", "datasets_catalog", "search_spaces", "ray_jobs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            # Parsing every file would take seconds; the name cannot be there without one of these words.
            for node in ast.walk(ast.parse(text if "torch.load" in text or "torch.save" in text else "")):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
                    calls.append((path.relative_to(ROOT).as_posix(), node))
    ((where, call),) = calls
    assert where == "eventsam/models/sam3d/foreign_file.py" and ast.unparse(call.func) == "torch.load"
    assert {word.arg: ast.unparse(word.value) for word in call.keywords}["weights_only"] == "True"
