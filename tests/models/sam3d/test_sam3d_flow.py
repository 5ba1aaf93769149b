"""Flow matching: the path, the time law, the loss against its equation, and who owns the randomness."""

import pytest
import torch
from sam3d_oracle import SMALLEST, random_generator, random_inputs

from eventsam.models.sam3d.flow import between, draw_times, flow_matching_loss, weighted_losses
from eventsam.models.sam3d.latents import LOSS_WEIGHTS, SHAPE, SHAPE_ONLY, noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_path_runs_from_noise_to_data() -> None:
    start, data, _, _ = ({"shape": torch.zeros(3, 2, 1)}, {"shape": torch.ones(3, 2, 1)}, None, None)
    middle = between(start, data, torch.tensor([0.0, 0.25, 1.0]))["shape"]
    assert middle[:, 0, 0].tolist() == [0.0, 0.25, 1.0]


def test_times_are_logit_normal_around_minus_one() -> None:
    logits = torch.logit(draw_times(4000, seeded()).double())
    assert abs(logits.mean() + 1) < 0.05 and abs(logits.std() - 1) < 0.05


def test_the_loss_follows_its_equation() -> None:
    generator = random_generator().eval()
    data, _, _, condition = random_inputs()
    losses = flow_matching_loss(generator, data, condition, rng=seeded(5))
    rng = seeded(5)
    start, time = noise(SMALLEST, 2, rng), torch.sigmoid(-1 + torch.randn(2, generator=rng))
    noisy = {name: (1 - time[:, None, None]) * start[name] + time[:, None, None] * data[name] for name in data}
    velocity = generator(noisy, time, torch.zeros(2), condition)
    expected = {name: ((data[name] - start[name] - velocity[name]) ** 2).mean() for name in data}
    weights = {"shape": 1, "6drotation_normalized": 0.1, "translation": 1, "scale": 0.1}
    torch.testing.assert_close(losses.total, sum(weight * expected[name] for name, weight in weights.items()))
    assert {name.removeprefix("flow_matching/") for name in losses.parts} == set(weights)
    for name in weights:
        torch.testing.assert_close(losses.parts[f"flow_matching/{name}"], expected[name])


def test_the_same_generator_state_gives_the_same_loss_and_the_global_one_is_left_alone() -> None:
    generator = random_generator().train()
    data, _, _, condition = random_inputs()
    before = torch.get_rng_state()
    losses = [flow_matching_loss(generator, data, condition, rng=seeded(seed)).total for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1] != losses[2]


def test_the_shape_alone_can_be_trained() -> None:
    generator = random_generator().eval()
    data, _, _, condition = random_inputs()
    whole = flow_matching_loss(generator, data, condition, rng=seeded(), weights=SHAPE_ONLY)
    alone = flow_matching_loss(generator, {SHAPE: data[SHAPE]}, condition, rng=seeded())
    assert torch.equal(whole.total, alone.total) and list(whole.parts) == ["flow_matching/shape"]


def test_every_latent_is_asked_for() -> None:
    data, _, _, condition = random_inputs()
    del data["translation_scale"]
    with pytest.raises(ValueError, match="latents translation_scale are missing"):
        flow_matching_loss(random_generator(), data, condition, rng=seeded())


def test_a_loss_without_a_term_is_refused() -> None:
    pose = {"scale": torch.zeros(1, 1, 3)}
    with pytest.raises(ValueError, match="no loss is left"):
        weighted_losses("flow_matching", pose, pose, SHAPE_ONLY)


def test_training_learns_one_velocity_field() -> None:
    """All data at one point: after some steps the flow from any noise ends near it."""
    torch.manual_seed(0)
    generator = random_generator().float().train()
    data, _, _, condition = random_inputs(batch=8)
    data = {name: x[:1].expand(8, -1, -1).float() for name, x in data.items()}
    condition, rng = condition.float(), seeded()
    optimiser = torch.optim.AdamW(generator.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = flow_matching_loss(generator, data, condition, rng=rng, weights=dict.fromkeys(LOSS_WEIGHTS, 1.0)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
