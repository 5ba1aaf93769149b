"""Attention maps of teacher and student: the definition, one scale, refusals."""

import pytest
import torch

from eventsam.models.attention_maps import attention_map, attention_pair
from eventsam.models.sam3d.dino import DinoEncoder
from eventsam.models.vit import ImageEncoder


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("block", [0, 2])
def test_maps_follow_the_definition(image, block) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("micro", 32).eval()
    tokens = encoder.embed(image)
    for before in range(block):
        tokens = encoder.blocks[before](tokens)
    queries, keys = encoder.query_key(block, tokens)
    attention = (queries.double() @ keys.double().mT / queries.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1)
    cls, received = attention[:, 0, 5:], attention[:, 5:, 5:].sum(dim=1)
    for kind, expected in (("cls", cls), ("received", received)):
        expected = (expected / expected.mean(dim=1, keepdim=True)).view(2, 4, 4)
        found = attention_map(encoder, image, block, kind)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.mean(dim=(1, 2)), torch.ones(2))


def test_a_student_that_is_its_teacher_looks_where_it_looks(image) -> None:
    teacher = ImageEncoder("micro", 32).eval()
    student = DinoEncoder("micro", 32).eval()
    student.copy_weights(teacher)
    pair = attention_pair(teacher, student, image, image, 1, "cls")
    assert torch.equal(pair.teacher, pair.student) and pair.teacher.shape == (2, 4, 4)
    other = attention_pair(teacher, student, image, image.flip(3), 1)
    assert not torch.allclose(other.teacher, other.student)


def test_wrong_choices_are_refused(image) -> None:
    encoder = ImageEncoder("micro", 32)
    with pytest.raises(ValueError, match="did you mean 'received'"):
        attention_map(encoder, image, 1, "recieved")
    with pytest.raises(ValueError, match=r"block 3 out of range: 'micro' has blocks 0\.\.2"):
        attention_map(encoder, image, 3)
