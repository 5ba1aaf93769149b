"""The RGB part of a converted model as the teacher of stage 1, and the way back of what it taught."""

from pathlib import Path

import pytest
import torch

from eventsam.models.sam3d.condition import ConditionEmbedder
from eventsam.models.sam3d.folder import write_model
from eventsam.models.sam3d.model import build_embedder
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.sam3d.rgb_embedder import sam3d_rgb_embedder
from eventsam.objectives.distillation import FeatureLoss
from eventsam.tasks.distill import Distill

TINY = PRESETS["tiny"]


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    embedder = ConditionEmbedder(TINY)
    for parameter in embedder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    write_model(tmp_path / "converted", TINY, {"embedder": embedder.state_dict()})
    return tmp_path / "converted"


def test_the_teacher_gives_the_tokens_of_the_condition(converted: Path) -> None:
    teacher, condition = sam3d_rgb_embedder(converted).eval(), build_embedder(TINY, converted, None).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        encoded = condition.module_list[0](image)
        torch.testing.assert_close(teacher(image).projected, condition.projection_nets[0](encoded.tokens))
    assert teacher.encoder.is_initialised_from == str(converted)


def test_what_was_distilled_fits_the_event_entry_with_its_projection(converted: Path) -> None:
    task = Distill(sam3d_rgb_embedder(converted), FeatureLoss(), (0, 2), in_channels=5).eval()
    with torch.no_grad():
        for name in task.trained:
            task.student.get_parameter(name).add_(0.01)
    condition = build_embedder(TINY, converted, event_channels=5).eval()
    condition.load_events(task.student)
    events = torch.rand(2, 5, 64, 64)
    with torch.no_grad():
        tokens = condition.projection_nets[3](condition.module_list[3](events).tokens)
        torch.testing.assert_close(task.student(events).projected, tokens)
    assert not torch.equal(condition.projection_nets[3][0].weight, condition.projection_nets[0][0].weight)


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="eventsam convert sam3d"):
        sam3d_rgb_embedder(tmp_path)
