"""`eventsam convert sam3d`: released SAM 3D checkpoints to safetensors, beside `eventsam convert FILE OUT`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

NAME = "sam3d"
sam3d_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@sam3d_app.command(NAME)
def convert_sam3d_command(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Folder with ss_generator.ckpt, ss_decoder.ckpt and, if there, ss_encoder.ckpt; or one .pth file "
            "with an image encoder alone, in timm's or DINOv2's names."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new folder.")],
) -> None:
    """Turn SAM 3D Objects' checkpoints into safetensors and JSON, strictly, and tell what became of every key."""
    from eventsam.models.sam3d.convert import CheckpointMismatchError, convert_encoder, convert_sam3d

    if checkpoint.is_file():
        lines = convert_encoder(checkpoint, out)
    else:
        try:
            lines = convert_sam3d(checkpoint, out).lines()
        except CheckpointMismatchError as error:
            typer.echo("\n".join(error.report.lines()))
            raise
    typer.echo("\n".join([*lines, f"written: {out}"]))


class ConvertCommand(TyperCommand):
    """The conversion of a recording, unless the first word is sam3d (a file of that name: ./sam3d)."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand the other words to the command that the first one names."""
        if args[:1] == [NAME]:
            command = typer.main.get_command(sam3d_app)
            return command.make_context(f"{info_name} {NAME}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)
