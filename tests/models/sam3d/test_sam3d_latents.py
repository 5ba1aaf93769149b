"""The five latents: shapes, noise that belongs to the sample, refusals."""

import pytest
import torch
from sam3d_oracle import SMALLEST

from eventsam.models.sam3d.latents import LOSS_WEIGHTS, check_latents, check_weights, latent_sizes, noise, seeded_noise
from eventsam.models.sam3d.presets import PRESETS


def test_the_released_shapes() -> None:
    assert latent_sizes(PRESETS["sam3d"]) == {
        "shape": (4096, 8),
        "6drotation_normalized": (1, 6),
        "translation": (1, 3),
        "scale": (1, 3),
        "translation_scale": (1, 1),
    }


def test_a_samples_noise_does_not_depend_on_its_batch() -> None:
    alone, together = seeded_noise(SMALLEST, [7]), seeded_noise(SMALLEST, [3, 9, 7])
    for name in alone:
        assert torch.equal(alone[name][0], together[name][2])
        assert not torch.equal(together[name][0], together[name][1])


def test_noise_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    seeded_noise(SMALLEST, [1, 2])
    noise(SMALLEST, 2, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_standard_normal() -> None:
    drawn = noise(SMALLEST, 500, torch.Generator().manual_seed(0))
    assert abs(drawn["shape"].mean()) < 0.01 and abs(drawn["shape"].std() - 1) < 0.01


def test_incomplete_and_misshapen_latents_are_refused() -> None:
    latents = noise(SMALLEST, 2, torch.Generator().manual_seed(0))
    check_latents(latents, SMALLEST, 2)
    check_latents({"shape": latents["shape"]}, SMALLEST, 2)
    with pytest.raises(ValueError, match="latents scale are missing"):
        check_latents({name: x for name, x in latents.items() if name != "scale"}, SMALLEST, 2)
    with pytest.raises(ValueError, match=r"'scale' of shape \(2, 1, 3\), got \(2, 3\)"):
        check_latents({**latents, "scale": latents["scale"][:, 0]}, SMALLEST, 2)
    with pytest.raises(ValueError, match="unknown latent 'shap'; did you mean 'shape'"):
        check_latents({"shap": latents["shape"]}, SMALLEST, 2)


def test_the_default_weights_train_the_shape() -> None:
    check_weights(LOSS_WEIGHTS)
    assert LOSS_WEIGHTS["shape"] == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({**LOSS_WEIGHTS, "shpe": 1.0}, "did you mean 'shape'"),
        ({"shape": 1.0}, "for all of shape, 6drotation_normalized"),
        ({name: 0.0 for name in LOSS_WEIGHTS}, "not all 0"),
        ({**LOSS_WEIGHTS, "scale": -1.0}, "must be >= 0"),
    ],
)
def test_wrong_weights_are_refused(weights, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_weights(weights)
