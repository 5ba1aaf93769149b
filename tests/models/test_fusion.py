"""Fusions: identity at the start at every place, gradients to all of them, lookup by file name."""

import pytest
import torch

import eventsam.models.fusion
from eventsam.models.fusion.injected import (
    Injected,
    default_injection_blocks,
    fusion_class,
    fusion_names,
    has_events,
)
from eventsam.models.reconstructor import Reconstructor, build_reconstructor
from eventsam.models.vit import ImageEncoder

FUSIONS = ["attn", "cattn", "flamingo", "gated"]
PLACES = [(0,), (0, 1, 2), (2,), "final", None]


def build(fusion: str, blocks) -> tuple[Reconstructor, ImageEncoder, Injected]:
    torch.manual_seed(0)
    reconstructor = build_reconstructor("micro", 32, 16).freeze()
    events = ImageEncoder("micro", 32).freeze()
    return reconstructor, events, Injected(fusion, 32, blocks, num_heads=2, num_blocks=3)


def run(reconstructor, event_encoder, injected, rgb, mask, event_image) -> torch.Tensor:
    events = event_encoder(event_image, taps=injected.taps)
    return reconstructor(
        rgb,
        mask,
        inject=injected.inject(events.taps),
        fuse_tokens=injected.fuse_tokens(reconstructor.projection(events.tokens)),
    )


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rgb, events = (torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator) for _ in range(2))
    return rgb, torch.ones(2, 1, 32, 32, dtype=torch.uint8), events


def test_the_four_fusions_are_found_by_file_name() -> None:
    assert fusion_names() == FUSIONS
    assert fusion_class("gated").__name__ == "GatedFusion"


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("train", [True, False])
def test_fusion_is_the_identity_to_the_last_bit(fusion, train) -> None:
    torch.manual_seed(0)
    module = fusion_class(fusion)(width=32, num_heads=4).train(train)
    rgb, events = 100 * torch.randn(3, 9, 32), 100 * torch.randn(3, 9, 32)
    assert torch.equal(module(rgb, events), rgb)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(rgb, events), rgb)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("blocks", PLACES)
def test_injection_is_the_identity_at_every_place(fusion, blocks, batch) -> None:
    reconstructor, events, injected = build(fusion, blocks)
    rgb, mask, event_image = batch
    assert torch.equal(run(reconstructor, events, injected, rgb, mask, event_image), reconstructor(rgb, mask))
    assert set(injected.gates().values()) == {0.0}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("blocks", PLACES)
def test_every_parameter_learns_within_two_steps(fusion, blocks, batch) -> None:
    reconstructor, events, injected = build(fusion, blocks)
    optimiser = torch.optim.SGD(injected.parameters(), lr=0.1)
    target = torch.randn(2, 16, 16, 16)
    reached: set[str] = set()
    for _ in range(2):
        optimiser.zero_grad()
        (run(reconstructor, events, injected, *batch) * target).sum().backward()
        reached |= {name for name, p in injected.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimiser.step()
    # The bias of keys shifts all scores of a query alike: softmax cancels it, but for keys and values share a linear.
    assert reached == {name for name, _ in injected.named_parameters()}
    assert max(injected.gates().values()) > 0


@pytest.mark.parametrize("fusion", FUSIONS)
def test_events_change_the_output_once_trained(fusion, batch) -> None:
    reconstructor, events, injected = build(fusion, (1, 2))
    optimiser = torch.optim.SGD(injected.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        run(reconstructor, events, injected, *batch).square().mean().backward()
        optimiser.step()
    rgb, mask, event_image = batch
    with torch.no_grad():
        blank = run(reconstructor, events, injected, rgb, mask, torch.zeros_like(event_image))
        assert not torch.equal(run(reconstructor, events, injected, *batch), blank)


@pytest.mark.parametrize(
    ("fusion", "count"), [("gated", 4_197_376), ("attn", 12_604_416), ("cattn", 21_006_336), ("flamingo", 12_598_274)]
)
def test_sizes_at_width_1024(fusion, count) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in fusion_class(fusion)(width=1024).parameters()) == count


@pytest.mark.parametrize("fusion", ["attn", "cattn", "flamingo"])
def test_event_tokens_may_differ_in_number(fusion) -> None:
    assert fusion_class(fusion)(width=16, num_heads=2)(torch.zeros(1, 5, 16), torch.randn(1, 3, 16)).shape == (1, 5, 16)
    with pytest.raises(ValueError, match="gated fusion pairs tokens"):
        fusion_class("gated")(width=16)(torch.zeros(1, 5, 16), torch.randn(1, 3, 16))


def test_gated_is_the_stated_formula() -> None:
    torch.manual_seed(0)
    fusion = fusion_class("gated")(width=4)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    rgb, events = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    a = rgb @ (torch.eye(4) + fusion.rgb_change.weight).T + fusion.rgb_change.bias
    b = events @ fusion.from_events.weight.T + fusion.from_events.bias
    gate = torch.tanh(torch.cat([a, b], -1) @ fusion.gate.weight.T + fusion.gate.bias)
    torch.testing.assert_close(fusion(rgb, events), a + gate * b)


@pytest.mark.parametrize(
    ("num_blocks", "expected"),
    [(24, (2, 5, 8, 11, 14, 17, 20, 23)), (12, (2, 5, 8, 11)), (6, (2, 5)), (4, (0, 3)), (3, (2,)), (1, (0,))],
)
def test_default_blocks_scale_and_end_at_the_last(num_blocks, expected) -> None:
    assert default_injection_blocks(num_blocks) == expected
    assert Injected("gated", 4, num_blocks=num_blocks).taps == expected


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((0, 3), r"injection blocks \[3\] out of range: the encoder has blocks 0\.\.2"),
        ((-1,), "out of range"),
        ((1, 1), "one or more different blocks"),
        ((), "one or more different blocks"),
        ("last", "'final', got 'last'"),
    ],
)
def test_wrong_places_are_refused(blocks, message) -> None:
    with pytest.raises(ValueError, match=message):
        Injected("gated", 4, blocks, num_blocks=3)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'gatd'; did you mean 'gated'"):
        Injected("gatd", 4, "final")
    with pytest.raises(ValueError, match="unknown fusion 'injected'"):
        fusion_class("injected")
    with pytest.raises(ValueError, match="need num_blocks"):
        Injected("gated", 4)
    with pytest.raises(ValueError, match=r"no event tokens for injection blocks \[2\]"):
        Injected("gated", 4, (1, 2)).inject({1: torch.zeros(1, 1, 4)})


def test_a_new_fusion_is_one_file(tmp_path, monkeypatch) -> None:
    source = (
        "from torch import Tensor, nn\n\n\n"
        "class SumOnlyFusion(nn.Module):\n"
        "    def __init__(self, width: int, num_heads: int = 8) -> None:\n"
        "        super().__init__()\n"
        "        self.mix = nn.Linear(width, width)\n"
        "        nn.init.zeros_(self.mix.weight)\n"
        "        nn.init.zeros_(self.mix.bias)\n\n"
        "    def forward(self, rgb_tokens: Tensor, event_tokens: Tensor) -> Tensor:\n"
        "        return rgb_tokens + self.mix(event_tokens)\n\n"
        "    def gates(self) -> dict[str, float]:\n"
        "        return {}\n"
    )
    (tmp_path / "sum_only.py").write_text(source)
    (tmp_path / "empty_one.py").write_text("")
    monkeypatch.setattr(eventsam.models.fusion, "__path__", [*eventsam.models.fusion.__path__, str(tmp_path)])
    injected = Injected("sum_only", 4, (0,))
    rgb = torch.randn(1, 2, 4)
    assert torch.equal(injected(0, rgb, torch.randn(1, 2, 4)), rgb)
    with pytest.raises(ValueError, match="has no class EmptyOneFusion"):
        fusion_class("empty_one")


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("blocks", [(0, 2), "final"])
def test_samples_without_events_keep_their_tokens_to_the_last_bit(fusion, blocks, batch) -> None:
    reconstructor, event_encoder, injected = build(fusion, blocks)
    for parameter in injected.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rgb, mask, event_image = batch
    event_image[1] = 0
    present = has_events(event_image)
    assert present.tolist() == [True, False]
    with torch.no_grad():
        events = event_encoder(event_image, taps=injected.taps)
        fused = reconstructor(
            rgb,
            mask,
            inject=injected.inject(events.taps, present),
            fuse_tokens=injected.fuse_tokens(reconstructor.projection(events.tokens), present),
        )
        alone = reconstructor(rgb, mask)
    assert torch.equal(fused[1], alone[1]) and not torch.equal(fused[0], alone[0])


def test_events_are_what_differs_from_the_background() -> None:
    images = torch.full((3, 2, 4, 4), 255, dtype=torch.uint8)
    images[1, 1, 2, 2] = 0
    images[2, 0] = 7
    assert has_events(images).tolist() == [False, True, False]


def test_a_fusion_of_final_tokens_leaves_generators_alone() -> None:
    assert Injected("cattn", 8, "final", 2).inject_condition(torch.zeros(1, 2, 8)) is None
    with pytest.raises(ValueError, match=r"the generator has blocks 0\.\.2"):
        Injected("cattn", 8, (3,), 2, num_blocks=3, owner="generator")
