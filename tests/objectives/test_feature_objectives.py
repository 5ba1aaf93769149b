"""Feature objectives: distances, masks, pivotal weights, structure."""

import pytest
import torch

from eventsam.models.vit import ImageEncoder
from eventsam.objectives.features import (
    active_patches,
    attention_received,
    cosine_matrix,
    feature_distance,
    patch_mask,
    pivotal_weights,
    structure_distance,
    with_prefix,
)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)


def test_distance_is_l1_and_only_the_student_learns(pair) -> None:
    student, teacher = (tokens.requires_grad_() for tokens in pair)
    loss = feature_distance(student, teacher)
    torch.testing.assert_close(loss, torch.nn.functional.l1_loss(student, teacher))
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_weights_multiply_and_ones_change_nothing(pair) -> None:
    weights = torch.tensor([[2.0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    expected = ((pair[0] - pair[1]).abs() * weights[..., None]).mean()
    torch.testing.assert_close(feature_distance(*pair, weights=weights), expected)
    torch.testing.assert_close(feature_distance(*pair, weights=torch.ones(2, 5)), feature_distance(*pair))


def test_mask_means_over_inside_tokens_then_over_samples(pair) -> None:
    mask = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.uint8)
    difference = (pair[0] - pair[1]).abs()
    expected = (difference[0, :2].mean() + difference[1, 4].mean()) / 2
    torch.testing.assert_close(feature_distance(*pair, mask=mask), expected)
    torch.testing.assert_close(feature_distance(*pair, mask=torch.ones(2, 5)), feature_distance(*pair))
    assert feature_distance(*pair, mask=torch.zeros(2, 5)) == 0


def test_layer_normalised_distance_ignores_an_outlier_tokens_size(pair) -> None:
    student, teacher = pair
    outlier = teacher.clone()
    outlier[0, 0] *= 1000
    plain = feature_distance(student, outlier) / feature_distance(student, teacher)
    normalised = feature_distance(student, outlier, normalise="layer") / feature_distance(
        student, teacher, normalise="layer"
    )
    assert plain > 50
    torch.testing.assert_close(normalised, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_structure_does_not_see_a_rotation_of_the_features(pair) -> None:
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2))).Q
    assert structure_distance(pair[0] @ rotation * 3, pair[0]) < 1e-6
    assert structure_distance(*pair) > 0.1
    torch.testing.assert_close(cosine_matrix(pair[0]).diagonal(dim1=1, dim2=2), torch.ones(2, 5))


def test_structure_mask_keeps_pairs_inside(pair) -> None:
    mask = torch.tensor([[1, 1, 0, 0, 0]] * 2)
    inside = structure_distance(pair[0][:, :2], pair[1][:, :2])
    torch.testing.assert_close(structure_distance(*pair, mask=mask), inside)
    assert structure_distance(*pair, mask=torch.zeros(2, 5)) == 0


def test_attention_received_matches_the_definition() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    attention = (q @ k.transpose(2, 3) / 2).softmax(-1).mean(dim=1)
    received = attention[:, 2:, 2:].sum(dim=1)
    expected = received * 5 / received.sum(dim=1, keepdim=True)
    torch.testing.assert_close(attention_received(q, k, 2), expected)
    torch.testing.assert_close(attention_received(q, k, 2).mean(dim=1), torch.ones(2))


def test_pivotal_weights_rise_for_a_token_that_all_attend_to() -> None:
    q, k = torch.ones(1, 2, 6, 4), torch.zeros(1, 2, 6, 4)
    k[:, :, 3] = 2.0
    weights = pivotal_weights(q, k, num_prefix_tokens=2)
    assert weights.shape == (1, 6)
    assert weights[0, :2].tolist() == [1.0, 1.0]
    assert weights[0, 2:].argmax() == 1
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


def test_pivotal_weights_of_an_encoder_fit_its_taps() -> None:
    encoder = ImageEncoder("micro", 32).eval()
    taps = encoder(torch.rand(2, 3, 32, 32), taps=(0,)).taps
    weights = pivotal_weights(*encoder.query_key(1, taps[0]), encoder.num_prefix_tokens)
    assert weights.shape == taps[0].shape[:2]
    assert not weights.requires_grad
    assert feature_distance(taps[0], taps[0] + 1, weights=weights).item() == pytest.approx(1.0, rel=1e-4)


def test_patch_mask_and_prefix() -> None:
    mask = torch.zeros(1, 1, 8, 12, dtype=torch.uint8)
    mask[0, 0, 4, 11] = 1
    patches = patch_mask(mask, (2, 3))
    assert patches.tolist() == [[0, 0, 0, 0, 0, 1]]
    assert with_prefix(patches, 2, value=0.0).tolist() == [[0, 0, 0, 0, 0, 0, 0, 1]]
    assert with_prefix(patches, 1).tolist() == [[1, 0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("background", [0, 255])
def test_active_patches_are_those_with_an_event_on_any_background(background: int) -> None:
    image = torch.full((2, 3, 8, 12), background, dtype=torch.uint8)
    image[0, 2, 4, 11] = 128
    image[1, :, 0, 3:5] = 1
    assert active_patches(image, (2, 3)).tolist() == [[0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]]


def test_refusals(pair) -> None:
    with pytest.raises(ValueError, match=r"student \(2, 5, 8\), teacher \(2, 4, 8\)"):
        feature_distance(pair[0], pair[1][:, 1:])
    with pytest.raises(ValueError, match=r"weights have shape \(2, 4\), the tokens \(2, 5\)"):
        feature_distance(*pair, weights=torch.ones(2, 4))
    with pytest.raises(ValueError, match="normalise must be 'none' or 'layer', got 'batch'"):
        feature_distance(*pair, normalise="batch")
