"""Xception as a transformers model whose weights carry the names of timm's `legacy_xception`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

# Width and number of separable convolutions, stride, and where the width grows. Source: Chollet, arXiv 1610.02357,
# figure 5, as laid out in timm's `legacy_xception`.
_ENTRY = [(64, 128, 2, 2), (128, 256, 2, 2), (256, 728, 2, 2)]
_MIDDLE = (728, 728, 3, 1)
_EXIT = [(728, 1024, 2, 2)]


class XceptionConfig(PretrainedConfig):  # type: ignore[misc] # transformers has no types
    """Configuration of Xception; the number of classes is that of `id2label`.

    `width` multiplies every number of channels (at least 8 remain), `middle_blocks` counts the blocks that keep their
    size; the defaults are the published network.
    """

    model_type = "legacy_xception"

    def __init__(self, width: float = 1.0, middle_blocks: int = 8, **options: Any) -> None:
        self.width = width
        self.middle_blocks = middle_blocks
        super().__init__(**options)


class SeparableConv(nn.Module):  # type: ignore[misc] # torch's types are not followed
    """A depthwise 3x3 convolution, then a pointwise one."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False)
        self.pointwise = nn.Conv2d(width_in, width_out, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features `(n, width_out, h, w)` of `(n, width_in, h, w)`."""
        return self.pointwise(self.conv1(x))


class Block(nn.Module):  # type: ignore[misc]
    """Separable convolutions beside a shortcut; the first activation is left out where one precedes the block."""

    def __init__(
        self, width_in: int, width_out: int, convs: int, stride: int, *, starts_active: bool, grows_last: bool
    ) -> None:
        super().__init__()
        self.skip = self.skipbn = None
        if width_in != width_out or stride != 1:
            self.skip = nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False)
            self.skipbn = nn.BatchNorm2d(width_out)
        inner = width_in if grows_last else width_out
        widths = [width_in, *[inner] * (convs - 1), width_out]
        rep: list[nn.Module] = []
        for before, after in pairwise(widths):
            rep += [nn.ReLU(), SeparableConv(before, after), nn.BatchNorm2d(after)]
        rep = rep[0 if starts_active else 1 :]
        self.rep = nn.Sequential(*rep, *([nn.MaxPool2d(3, stride, 1)] if stride != 1 else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of half the size where the stride is 2."""
        shortcut = x if self.skip is None or self.skipbn is None else self.skipbn(self.skip(x))
        return self.rep(x) + shortcut


class XceptionForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """Xception with one linear layer; 22,855,952 parameters at 1000 classes. Images are 299 px, scaled to [-1, 1]."""

    config_class = XceptionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: XceptionConfig) -> None:
        super().__init__(config)
        first, second, third, fourth, last = (max(8, round(config.width * n)) for n in (32, 64, 1024, 1536, 2048))
        self.conv1 = nn.Conv2d(3, first, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        shapes = [*_ENTRY, *[_MIDDLE] * config.middle_blocks, *_EXIT]
        for number, (a, b, convs, stride) in enumerate(shapes, start=1):
            width_in, width_out = (max(8, round(config.width * n)) for n in (a, b))
            last_block = number == len(shapes)
            block = Block(width_in, width_out, convs, stride, starts_active=number > 1, grows_last=last_block)
            self.add_module(f"block{number}", block)
        self.depth = len(shapes)
        self.conv3 = SeparableConv(third, fourth)
        self.bn3 = nn.BatchNorm2d(fourth)
        self.conv4 = SeparableConv(fourth, last)
        self.bn4 = nn.BatchNorm2d(last)
        self.fc = nn.Linear(last, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # Source: timm's `legacy_xception` for the convolutions; torch's own for the rest. Not touched if loaded.
        if isinstance(module, nn.Conv2d) and not getattr(module.weight, "_is_hf_initialized", False):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **_: Any
    ) -> ImageClassifierOutput:
        """Logits `(n, classes)` of images `(n, 3, h, w)`, and the cross-entropy where labels `(n,)` are given."""
        x = functional.relu(self.bn1(self.conv1(pixel_values)))
        x = functional.relu(self.bn2(self.conv2(x)))
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"block{number}")(x)
        x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.relu(self.bn4(self.conv4(x)))
        logits = self.fc(x.mean(dim=(2, 3)))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(XceptionConfig.model_type, XceptionConfig, exist_ok=True)
AutoModelForImageClassification.register(XceptionConfig, XceptionForImageClassification, exist_ok=True)
