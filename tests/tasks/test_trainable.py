"""Parameters chosen by patterns of their names."""

import pytest
from torch import nn

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder
from eventsam.tasks.trainable import fits, select_trainable, set_modes


def embedder() -> ImageEmbedder:
    encoder = ImageEncoder("micro", 32)
    return ImageEmbedder(encoder, Projection(encoder.width, encoder.width, 64))


@pytest.mark.parametrize(
    ("pattern", "name", "fitting"),
    [
        ("patch_embed", "encoder.vit.patch_embed.proj.weight", True),
        ("projection", "projection.w1.weight", True),
        ("proj", "projection.w1.weight", False),
        ("blocks.2.*mlp*", "encoder.vit.blocks.2.mlp.fc1.weight", True),
        ("blocks.2.*mlp*", "encoder.vit.blocks.12.mlp.fc1.weight", False),
        ("blocks.2.*mlp*", "encoder.vit.blocks.20.mlp.fc1.weight", False),
        ("blocks.2.*mlp*", "encoder.vit.blocks.2.attn.qkv.weight", False),
        ("blocks.*.norm?", "encoder.vit.blocks.2.norm1.weight", True),
        ("weight", "weight", True),
    ],
)
def test_patterns_fit_whole_parts_of_names(pattern: str, name: str, fitting: bool) -> None:
    assert fits(name, pattern) is fitting


def test_what_no_pattern_fits_is_frozen() -> None:
    model = embedder()
    chosen = select_trainable(model, ("blocks.1.mlp", "projection.norm"))
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trains == set(chosen)
    assert {name.rpartition(".")[0] for name in trains} == {
        "encoder.vit.blocks.1.mlp.fc1",
        "encoder.vit.blocks.1.mlp.fc2",
        "projection.norm",
    }
    assert set(select_trainable(model, ("w1",))) == {"projection.w1.weight"}


def test_a_pattern_without_a_match_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="pattern 'patch_embd' fits no parameter of ImageEmbedder") as caught:
        select_trainable(embedder(), ("projection", "patch_embd"))
    assert "nearest: 'patch_embed'" in str(caught.value)
    with pytest.raises(ValueError, match=r"nearest: .*'blocks\.2\.mlp'"):
        select_trainable(embedder(), ("blocks.7.mlp",))


def test_frozen_parts_and_their_dropouts_stay_in_eval_mode() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            self.mlp = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            self.drop_path = nn.Dropout()

    block = Block()
    select_trainable(block, ("mlp",))
    set_modes(block.train(), True)
    assert {name for name, part in block.named_modules() if part.training} == {"mlp", "mlp.0", "mlp.1"}
    set_modes(block, False)
    assert not any(part.training for part in block.modules())
