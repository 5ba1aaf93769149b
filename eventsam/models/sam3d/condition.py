"""The condition of the generator: tokens of images, masks, pointmaps and events, of crop and full frame (SAM 3D)."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.freeze import Freezable
from eventsam.models.fusion.injected import FINAL, Injected
from eventsam.models.pointmap_embedder import PointmapEmbedder
from eventsam.models.projection import Projection
from eventsam.models.sam3d.dino import DinoEncoder
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.sam3d.projection_net import ProjectionNet
from eventsam.models.sam3d.tokens import EVENT_GROUPS, GROUPS, Condition, joined
from eventsam.models.vit import Encoded, Inject
from eventsam.models.vit_weights import adapt_channels
from eventsam.unknown_name import unknown_name

IMAGE, MASK, POINTMAP, EVENT = range(4)
"""Places of the embedders in `module_list` and `projection_nets`."""

CROPPED, FULL = 0, 1
"""Rows of `idx_emb`; the released model has a third, which nothing reads."""


class ConditionEmbedder(Freezable):
    """SAM 3D's condition embedder (arXiv 2511.16624), optionally with events as its fourth entry (Event-SAM3D).

    Names of parameters are those of the released checkpoint. Entry 0 encodes images, 1 masks with an encoder of its
    own, 2 pointmaps, 3 event images of `event_channels`; each is projected to the condition's width, and a learned
    vector says crop or full frame. In train mode a sample loses both its pointmaps (tokens of 0, their number kept)
    with probability `pointmap_dropout`, unless the pointmap entry is frozen. `dropped_xyz_token` keeps a parameter that
    some checkpoints have and inference does not read.
    """

    def __init__(
        self,
        preset: Sam3dPreset,
        event_channels: int | None = None,
        pointmap_dropout: float = 0.1,
        dropped_xyz_token: bool = False,
    ) -> None:
        super().__init__()
        self.preset, self.pointmap_dropout = preset, pointmap_dropout
        self.event_channels: int | None = None
        pointmaps = PointmapEmbedder(
            preset.pointmap_width, None, preset.pointmap_size, preset.pointmap_window, preset.pointmap_num_heads
        )
        if dropped_xyz_token:
            pointmaps.dropped_xyz_token = nn.Parameter(torch.zeros(preset.pointmap_width), requires_grad=False)
        images, masks = (DinoEncoder(preset.encoder, preset.image_size) for _ in range(2))
        self.module_list = nn.ModuleList([images, masks, pointmaps])
        widths = [images.width, masks.width, preset.pointmap_width]
        self.projection_nets = nn.ModuleList(self._projection(width) for width in widths)
        self.idx_emb = nn.Parameter(torch.empty(3, preset.condition_width))
        nn.init.normal_(self.idx_emb, std=0.02)
        if event_channels is not None:
            self.add_events(event_channels)

    def forward(self, inputs: ConditionInputs, fusion: Injected | None = None, drop: Collection[str] = ()) -> Condition:
        """Return the condition; `fusion` acts in the image encoder or on its tokens, and needs the event entry.

        `drop` names groups whose tokens become 0 ("pointmap" and "rgb_pointmap": inference without pointmaps). Events
        are embedded where there is an event entry and the inputs have event images.

        Raises ValueError for events or fusion without an event entry, and for an unknown group.
        """
        unknown = [name for name in drop if name not in (*GROUPS, *EVENT_GROUPS)]
        if unknown:
            raise ValueError(unknown_name("token group", unknown[0], (*GROUPS, *EVENT_GROUPS)))
        events = self._events(inputs, fusion)
        groups = {
            **self._marked(GROUPS[:2], *_rows_of_objects(self._images(inputs, fusion, events), inputs)),
            **self._marked(GROUPS[2:4], *self._masks(inputs).chunk(2)),
            **self._pointmaps(inputs),
        }
        if events is not None:
            projected = self.projection_nets[EVENT](events.tokens)
            groups |= self._marked(EVENT_GROUPS, *_rows_of_objects(projected, inputs))
        for name in drop:
            groups[name] = torch.zeros_like(groups[name])
        return joined(groups, None if events is None else inputs.of_objects(inputs.frames_with_events()))

    def add_events(self, channels: int) -> None:
        """Append the event entry, for event images of `channels`, as a copy of the image entry.

        Its patch embedding is adapted to the channels. Raises ValueError where there is one already.
        """
        if self.event_channels is not None:
            raise ValueError("this condition embedder has an event entry already")
        preset, images = self.preset, self._encoder(IMAGE)
        encoder, net = DinoEncoder(preset.encoder, preset.image_size, channels), self._projection(images.width)
        state = images.state_dict()
        kernel = "backbone.patch_embed.proj.weight"
        state[kernel] = adapt_channels(state[kernel], channels)
        encoder.load_state_dict(state)
        encoder.is_initialised_from = images.is_initialised_from
        net.load_state_dict(self.projection_nets[IMAGE].state_dict())
        self.module_list.append(encoder)
        self.projection_nets.append(net)
        self.event_channels = channels

    def load_events(self, embedder: ImageEmbedder) -> None:
        """Take over a distilled event encoder *and* its projection (stage 1); raise ValueError where they do not fit.

        A projection left at the images' would undo part of what the encoder learned.
        """
        self._check_events()
        net: ProjectionNet = self.projection_nets[EVENT]  # type: ignore[assignment]
        projection, theirs = embedder.projection, embedder.encoder
        own = (net.in_width, net.width, net.hidden_multiple)
        given = (projection.in_width, projection.width, projection.hidden_multiple)
        if own != given:
            raise ValueError(f"the distilled projection has sizes {given} (in, out, multiple), the condition's {own}")
        encoder = self._encoder(EVENT)
        encoder.load_state(theirs.vit.state_dict(), source=theirs.is_initialised_from or f"untrained {theirs.preset}")
        encoder.is_initialised_from = theirs.is_initialised_from
        net.load_state_dict(_upstream_names(projection))

    def mark_initialised(self, source: str) -> None:
        """Note where the encoders' weights come from: tasks that need a trained teacher ask."""
        for encoder in self.module_list:
            if isinstance(encoder, DinoEncoder):
                encoder.is_initialised_from = source

    def set_checkpointing(self, on: bool) -> None:
        """Compute the image encoders' activations again in the backward pass, or keep them."""
        for encoder in self.module_list:
            if isinstance(encoder, DinoEncoder):
                encoder.checkpointing = on

    def _projection(self, in_width: int) -> ProjectionNet:
        return ProjectionNet(in_width, self.preset.condition_width, self.preset.hidden_multiple)

    def _encoder(self, entry: int) -> DinoEncoder:
        return self.module_list[entry]  # type: ignore[return-value]

    def _check_events(self) -> None:
        if self.event_channels is None:
            raise ValueError("this condition embedder has no event entry: build it with event_channels")

    def _events(self, inputs: ConditionInputs, fusion: Injected | None) -> Encoded | None:
        """Encode event crops and full frames, one behind the other on the batch axis."""
        if inputs.event_image is None or inputs.rgb_event_image is None:
            if fusion is not None:
                raise ValueError("the fusion needs event images, and the inputs have none")
            return None
        self._check_events()
        taps = () if fusion is None else fusion.taps
        rows = _stacked(inputs.event_image, inputs.rgb_event_image)
        return self.module_list[EVENT](rows, taps=taps)  # type: ignore[no-any-return]

    def _images(self, inputs: ConditionInputs, fusion: Injected | None, events: Encoded | None) -> Tensor:
        """Encode and project images, with the events fused into them where there is a fusion."""
        inject: Inject | None = None
        present = None
        if fusion is not None and events is not None:
            frames = inputs.frames_with_events()
            present = _stacked(inputs.of_objects(frames), frames)
            inject = fusion.inject(events.taps, present)
        rows = _stacked(inputs.image, inputs.rgb_image)
        tokens: Tensor = self.projection_nets[IMAGE](self.module_list[IMAGE](rows, inject=inject).tokens)
        if fusion is not None and events is not None and not fusion.taps:
            tokens = fusion(FINAL, tokens, self.projection_nets[EVENT](events.tokens), present)
        return tokens

    def _masks(self, inputs: ConditionInputs) -> Tensor:
        """Encode and project masks, shown as grey images of 0 and 1."""
        rows = _stacked(inputs.mask, inputs.rgb_image_mask)
        grey = rows.to(self.idx_emb.dtype).expand(-1, 3, -1, -1)
        return self.projection_nets[MASK](self.module_list[MASK](grey).tokens)  # type: ignore[no-any-return]

    def _pointmaps(self, inputs: ConditionInputs) -> dict[str, Tensor]:
        """Embed both pointmaps, or zeros in their place."""
        if inputs.pointmap is None or inputs.rgb_pointmap is None:
            count, width = self.preset.num_pointmap_tokens, self.preset.condition_width
            return dict.fromkeys(GROUPS[4:], self.idx_emb.new_zeros(len(inputs), count, width))
        rows = _stacked(inputs.pointmap, inputs.rgb_pointmap)
        crop, full = self.projection_nets[POINTMAP](self.module_list[POINTMAP](rows)).chunk(2)
        kept = self._kept_pointmaps(inputs)
        return {name: tokens * kept.to(tokens.dtype) for name, tokens in self._marked(GROUPS[4:], crop, full).items()}

    def _kept_pointmaps(self, inputs: ConditionInputs) -> Tensor:
        """Say whose pointmaps count, (B, 1, 1): both of a sample or none."""
        kept = torch.ones(len(inputs), dtype=torch.bool, device=self.idx_emb.device)
        if inputs.has_pointmap is not None:
            kept = kept & inputs.has_pointmap
        if self.training and self.module_list[POINTMAP].training and self.pointmap_dropout:
            kept = kept & (torch.rand(len(inputs), device=kept.device) >= self.pointmap_dropout)
        return kept[:, None, None]

    def _marked(self, names: tuple[str, ...], crop: Tensor, full: Tensor) -> dict[str, Tensor]:
        """Say of each token whether it shows the crop or the full frame."""
        return {names[0]: crop + self.idx_emb[CROPPED], names[1]: full + self.idx_emb[FULL]}


def _rows_of_objects(tokens: Tensor, inputs: ConditionInputs) -> tuple[Tensor, Tensor]:
    """Split rows (crops, then frames) into crops and the frame of each object."""
    return tokens[: len(inputs)], inputs.of_objects(tokens[len(inputs) :])


def _upstream_names(projection: Projection) -> dict[str, Tensor]:
    """Name a projection's state as `ProjectionNet` does."""
    return {
        name.replace("norm.", "0.") if name.startswith("norm.") else f"1.{name}": tensor
        for name, tensor in projection.state_dict().items()
    }


def _stacked(crop: Tensor, full: Tensor) -> Tensor:
    """Put full frames behind crops on the batch axis: one pass through an encoder for both."""
    return torch.cat([crop, full])
