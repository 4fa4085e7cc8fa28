"""The first blocks of CLIP ViT-B/16's image tower, as it is, in bfloat16.

Source: Radford et al. 2021 (CLIP); intermediate blocks as features after RINE (Koutlis 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from defake.errors import WeightsMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEADS, PATCH_PX, GRID = 768, 12, 16, 14
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Block(nn.Module):  # type: ignore[misc]
    """One pre-norm transformer block with CLIP's quick GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(n, t, 768)` to the same shape."""
        n, t, d = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        hidden = self.fc1(self.ln2(x))
        return x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Tower(nn.Module):  # type: ignore[misc]
    """The first `blocks` blocks on square views.

    A view smaller than 224 px takes the middle of the position grid, so that its pixels keep their native scale.

    Raises: WeightsMismatch if the folder holds no `model.safetensors` of CLIP ViT-B/16.
    """

    def __init__(self, clip: Path, blocks: int) -> None:
        super().__init__()
        state = _clip_state(clip)
        places = state["embeddings.position_embedding.weight"]
        self.position = nn.Parameter(places[1:].clone())
        self.class_token = nn.Parameter(state["embeddings.class_embedding"] + places[0])
        self.patch = nn.Linear(WIDTH, WIDTH, bias=False)
        self.patch.weight.data = state["embeddings.patch_embedding.weight"].reshape(WIDTH, WIDTH).clone()
        self.pre = nn.LayerNorm(WIDTH)
        self.pre.weight.data = state["pre_layrnorm.weight"].clone()
        self.pre.bias.data = state["pre_layrnorm.bias"].clone()
        self.blocks = nn.ModuleList([_block(state, i) for i in range(blocks)])
        self.exact = {name: value.detach().clone() for name, value in self.named_parameters()}
        self.bfloat16().requires_grad_(requires_grad=False).eval()

    def forward(self, views: Tensor, taps: Sequence[int]) -> Tensor:
        """Class token and mean patch after each of the blocks `taps` (1 = the first): `(n, len(taps), 1536)` float32.

        `views` is `(n, 3, px, px)`, RGB, 0 to 255.
        """
        found = []
        with torch.inference_mode():
            x = self._embed(views)
            for i, block in enumerate(self.blocks[: max(taps)]):
                x = block(x)
                if i + 1 in taps:
                    found.append(torch.cat([x[:, 0].float(), x[:, 1:].float().mean(1)], 1))
        return torch.stack(found, 1)

    def widest(self, views: Tensor) -> dict[str, NDArray[np.float32]]:
        """Of `BLOCK.qkv`, `BLOCK.proj` and `BLOCK.fc1` the largest absolute input a channel: `(768,)` each."""
        found: dict[str, NDArray[np.float32]] = {}

        def keep(name: str) -> Any:
            def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
                found[name] = inputs[0].float().abs().flatten(0, 1).max(0).values.numpy()

            return hook

        hooks = [
            getattr(block, name).register_forward_pre_hook(keep(f"{i}.{name}"))
            for i, block in enumerate(self.blocks)
            for name in ("qkv", "proj", "fc1")
        ]
        self(views, (len(self.blocks),))
        for hook in hooks:
            hook.remove()
        return found

    def _embed(self, views: Tensor) -> Tensor:
        n, g = len(views), views.shape[-1] // PATCH_PX
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
        x = ((views.float() - mean) / std).view(n, 3, g, PATCH_PX, g, PATCH_PX)
        x = self.patch(x.permute(0, 2, 4, 1, 3, 5).reshape(n, g * g, WIDTH).to(self.patch.weight.dtype))
        places = middle_of_grid(self.position, g)
        return self.pre(torch.cat([self.class_token.expand(n, 1, -1), x + places], 1))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights in float32 by their names here."""
        return {name.removeprefix("blocks."): np.asarray(value.float().numpy()) for name, value in self.exact.items()}


def middle_of_grid(position: Any, grid: int) -> Any:
    """Of 14 x 14 position embeddings `(196, 768)`, a tensor or an array, the `(grid * grid, 768)` in the middle."""
    first = (GRID - grid) // 2
    return position.reshape(GRID, GRID, WIDTH)[first : first + grid, first : first + grid].reshape(-1, WIDTH)


def _block(state: dict[str, Tensor], index: int) -> Block:
    block, p = Block(), f"encoder.layers.{index}."
    for part in ("weight", "bias"):
        joined = torch.cat([state[f"{p}self_attn.{c}_proj.{part}"] for c in "qkv"])
        setattr(block.qkv, part, nn.Parameter(joined))
        for ours, theirs in (
            ("proj", "self_attn.out_proj"),
            ("fc1", "mlp.fc1"),
            ("fc2", "mlp.fc2"),
            ("ln1", "layer_norm1"),
            ("ln2", "layer_norm2"),
        ):
            setattr(getattr(block, ours), part, nn.Parameter(state[f"{p}{theirs}.{part}"].clone()))
    return block


def _clip_state(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"cannot read CLIP ViT-B/16 in {folder}: {error}; expected model.safetensors") from error
    return {key.replace("vision_model.", ""): value for key, value in state.items()}
