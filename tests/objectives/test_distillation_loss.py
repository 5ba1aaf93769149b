"""The feature loss against float64 oracles written out from the papers' equations."""

import numpy as np
import pytest
import torch

from eventsam.models.embedder import Embedded
from eventsam.models.vit import ImageEncoder
from eventsam.objectives.distillation import EventPatches, FeatureLoss, ObjectPatches, PivotalTokens, Structure

GRID, PREFIX, WIDTH = (2, 3), 5, 8
BLOCKS = (2, 5, 8)


def embedded(seed: int) -> Embedded:
    generator = torch.Generator().manual_seed(seed)

    def tokens(prefix: int) -> torch.Tensor:
        return torch.randn(2, prefix + 6, WIDTH, generator=generator, dtype=torch.float64)

    return Embedded(tokens(1), {block: tokens(PREFIX) for block in BLOCKS})


def l1(student: torch.Tensor, teacher: torch.Tensor, counted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over the counted tokens of each sample, then over samples."""
    distance = np.abs(student.numpy() - teacher.numpy()).mean(axis=-1) * (1.0 if weights is None else weights)
    return float(np.mean([row[keep].mean() for row, keep in zip(distance, counted, strict=True)]))


def normed(tokens: torch.Tensor) -> torch.Tensor:
    values = tokens.numpy()
    centred = values - values.mean(axis=-1, keepdims=True)
    return torch.from_numpy(centred / np.sqrt(centred.var(axis=-1, keepdims=True) + 1e-5))


def cosines(tokens: np.ndarray) -> np.ndarray:
    directions = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    return directions @ directions.T


EVERY = {PREFIX: np.ones((2, PREFIX + 6), bool), 1: np.ones((2, 7), bool)}


def test_plain_loss_is_the_mean_over_blocks_and_the_projected_term() -> None:
    learned, taught = embedded(0), embedded(1)
    parts = FeatureLoss(block_weight=0.5, projected_weight=2.0)(learned, taught, grid=GRID)
    assert set(parts) == {"loss", "block_2", "block_5", "block_8", "projected"}
    expected = {i: l1(learned.taps[i], taught.taps[i], EVERY[PREFIX]) for i in BLOCKS}
    projected = l1(learned.projected, taught.projected, EVERY[1])
    assert {i: parts[f"block_{i}"].item() for i in BLOCKS} == pytest.approx(expected, rel=1e-12)
    assert parts["projected"].item() == pytest.approx(projected, rel=1e-12)
    assert parts["loss"].item() == pytest.approx(0.5 * np.mean(list(expected.values())) + 2 * projected, rel=1e-12)
    assert parts["loss"].dtype == torch.float64


def test_the_plain_mean_over_all_terms_is_a_choice_of_weights() -> None:
    learned, taught = embedded(0), embedded(1)
    parts = FeatureLoss(block_weight=3.0)(learned, taught, grid=GRID)
    terms = [parts[f"block_{i}"].item() for i in BLOCKS] + [parts["projected"].item()]
    assert parts["loss"].item() / 4 == pytest.approx(np.mean(terms), rel=1e-12)


@pytest.mark.parametrize(
    ("betas", "spread"), [((0.1, 1.0), (0.1, 0.55, 1.0)), ((0.4,), (0.4, 0.4, 0.4)), ((1.0, 0.0, 3.0), (1.0, 0.0, 3.0))]
)
def test_betas_weigh_the_blocks_and_are_spread_over_them(betas: tuple[float, ...], spread: tuple[float, ...]) -> None:
    learned, taught = embedded(0), embedded(1)
    loss = FeatureLoss(block_weight=3.0, projected_weight=0.0, betas=betas)(learned, taught, grid=GRID)["loss"]
    terms = [l1(learned.taps[i], taught.taps[i], EVERY[PREFIX]) for i in BLOCKS]
    assert loss.item() == pytest.approx(np.dot(spread, terms), rel=1e-12)


def test_the_papers_four_betas_come_from_the_first_and_the_last() -> None:
    assert FeatureLoss(betas=(0.1, 1.0)).block_betas(4) == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert FeatureLoss().block_betas(2) == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"3 betas \(1, 2, 3\) for 2 blocks, allowed: 1 to 2"):
        FeatureLoss(betas=(1, 2, 3)).block_betas(2)
    with pytest.raises(ValueError, match=r"0 betas"):
        FeatureLoss(betas=()).block_betas(2)


def test_layer_normed_features_are_compared_by_their_own_mean_and_deviation() -> None:
    learned, taught = embedded(0), embedded(1)
    parts = FeatureLoss(normalise="layer")(learned, taught, grid=GRID)
    for i in BLOCKS:
        expected = l1(normed(learned.taps[i]), normed(taught.taps[i]), EVERY[PREFIX])
        assert parts[f"block_{i}"].item() == pytest.approx(expected, rel=1e-12)


def test_a_dominant_token_decides_plain_l1_and_not_the_layer_normed_one() -> None:
    learned, taught = embedded(0), embedded(1)
    loud = Embedded(taught.projected, {i: tokens.clone() for i, tokens in taught.taps.items()})
    for tokens in loud.taps.values():
        tokens[:, 7] *= 500
    plain, layered = FeatureLoss(projected_weight=0.0), FeatureLoss(projected_weight=0.0, normalise="layer")
    ratio = [
        loss(learned, loud, grid=GRID)["loss"] / loss(learned, taught, grid=GRID)["loss"] for loss in (plain, layered)
    ]
    assert ratio[0] > 20
    assert 0.9 < ratio[1] < 1.1


def test_masked_weighted_structured_loss_matches_the_written_out_one() -> None:
    learned, taught = embedded(0), embedded(1)
    generator = np.random.default_rng(0)
    inside = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 0]], bool)
    weights = {2: generator.random((2, PREFIX + 6)), 5: generator.random((2, PREFIX + 6))}
    loss = FeatureLoss(normalise="layer", structure=Structure(weight=0.7))
    parts = loss(
        learned, taught,
        weights={i: torch.from_numpy(w) for i, w in weights.items()},
        patches=torch.from_numpy(inside.astype(np.float32)),
        grid=GRID,
    )  # fmt: skip
    counted = {prefix: np.concatenate([np.ones((2, prefix), bool), inside], axis=1) for prefix in (PREFIX, 1)}
    blocks = [l1(normed(learned.taps[i]), normed(taught.taps[i]), counted[PREFIX], weights.get(i)) for i in BLOCKS]
    projected = l1(normed(learned.projected), normed(taught.projected), counted[1])
    structure = np.mean(
        [
            np.abs(cosines(s[1:][keep]) - cosines(t[1:][keep])).mean()
            for s, t, keep in zip(learned.projected.numpy(), taught.projected.numpy(), inside, strict=True)
        ]
    )
    assert [parts[f"block_{i}"].item() for i in BLOCKS] == pytest.approx(blocks, rel=1e-10)
    assert parts["structure"].item() == pytest.approx(structure, rel=1e-10)
    assert parts["loss"].item() == pytest.approx(np.mean(blocks) + projected + 0.7 * structure, rel=1e-10)


def test_pivotal_weights_come_from_the_next_blocks_attention() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("micro", 32).double().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    taps = encoder(torch.rand(2, 3, 32, 32, dtype=torch.float64), taps=(0, 2)).taps
    weights = PivotalTokens()(encoder, taps)
    assert set(weights) == {0}  # block 2 is the last one: no block to look at, all its tokens weigh 1

    block, prefix = encoder.blocks[1], encoder.num_prefix_tokens
    tokens = taps[0].detach().numpy()
    gain, shift = (parameter.detach().numpy() for parameter in (block.norm1.weight, block.norm1.bias))
    centred = tokens - tokens.mean(-1, keepdims=True)
    normalised = centred / np.sqrt(centred.var(-1, keepdims=True) + block.norm1.eps) * gain + shift
    qkv = normalised @ block.attn.qkv.weight.detach().numpy().T + block.attn.qkv.bias.detach().numpy()
    q, k, _ = qkv.reshape(2, -1, 3, encoder.num_heads, encoder.width // encoder.num_heads).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    attention = np.exp(scores - scores.max(-1, keepdims=True))
    attention = (attention / attention.sum(-1, keepdims=True)).mean(axis=1)[:, prefix:, prefix:]
    received = attention.sum(axis=1)
    received /= received.mean(axis=1, keepdims=True)
    assert weights[0].dtype == torch.float64
    np.testing.assert_allclose(weights[0][:, prefix:].numpy(), (received + 1) / 2, rtol=1e-9)
    np.testing.assert_array_equal(weights[0][:, :prefix].numpy(), 1.0)
    assert weights[0][:, prefix:].std() > 0.01


def test_regions_say_what_they_read_and_which_patches_count() -> None:
    mask = torch.zeros(1, 1, 8, 12, dtype=torch.uint8)
    mask[0, 0, 4:, 8:] = 1
    events = torch.zeros(1, 3, 8, 12, dtype=torch.uint8)
    events[0, 1, 1, 1] = 200
    assert (ObjectPatches().reads, EventPatches().reads) == ("mask", "event_image")
    assert ObjectPatches()(mask, GRID).tolist() == [[0, 0, 0, 0, 0, 1]]
    assert EventPatches()(events, GRID).tolist() == [[1, 0, 0, 0, 0, 0]]


def test_a_block_that_the_teacher_lacks_is_named() -> None:
    learned, taught = embedded(0), embedded(1)
    del taught.taps[5]
    with pytest.raises(ValueError, match=r"teacher blocks \[2, 8\]: missing=\[5\]"):
        FeatureLoss()(learned, taught, grid=GRID)
    with pytest.raises(ValueError, match="student blocks"):
        FeatureLoss()(Embedded(learned.projected, {}), taught, grid=GRID)
