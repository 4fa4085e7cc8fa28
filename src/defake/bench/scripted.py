"""`defake-scripted/statistics`: a stand-in for a chat model that puts a few measured pixel statistics into set phrases.

It exists so that all four abilities can be run offline, end to end, in seconds. It is no detector and no language
model; its figures say nothing but that the machinery works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi

from defake.lmms.messages import pictures, read_messages
from defake.questions import CRITERIA, criterion_of

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage
    from inspect_ai.tool import ToolChoice, ToolInfo
    from numpy.typing import NDArray

# Source: ours; what a criterion's phrase talks about, and the value that splits its halves.
_SPLIT = {"detail": 8.0, "saturation": 0.3, "brightness": 0.5, "mirror": 0.6, "contrast": 0.2}
_ABOUT = {
    "texture": "detail",
    "edge": "detail",
    "clarity": "detail",
    "distortion": "detail",
    "symmetry": "mirror",
    "layout": "mirror",
    "shape": "mirror",
    "light_shadow": "brightness",
    "reflection": "brightness",
    "perspective": "contrast",
    "content_deficiency": "contrast",
    "overall_tone": "saturation",
    "theme": "saturation",
    "unrealistic": "contrast",
}


def statistics(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Five numbers of an image `(h, w, 3)`: detail (mean step between neighbours, 0..255), the rest in about [0, 1].

    Source: ours.
    """
    colour = pixels.astype(np.float64) / 255
    grey = colour.mean(axis=2)
    steps = np.abs(np.diff(grey, axis=1)).mean() if grey.shape[1] > 1 else 0.0
    highest = colour.max(axis=2)
    saturation = np.divide(highest - colour.min(axis=2), highest, out=np.zeros_like(highest), where=highest > 0)
    spread = grey.std()
    mirror = np.corrcoef(grey.ravel(), grey[:, ::-1].ravel())[0, 1] if spread > 0 else 1.0
    return {
        "detail": float(255 * steps),
        "saturation": float(saturation.mean()),
        "brightness": float(grey.mean()),
        "mirror": float(mirror),
        "contrast": float(spread),
    }


def phrase(criterion_id: str, measured: dict[str, float]) -> str:
    """One sentence on a criterion from the statistic it is about."""
    name = next(c.name for c in CRITERIA if c.id == criterion_id)
    about = _ABOUT[criterion_id]
    side = "high" if measured[about] > _SPLIT[about] else "low"
    sense = "natural for a photograph" if side == "high" else "unusual for a photograph"
    return f"The {name} is {sense}: measured {about} is {side} ({measured[about]:.2f})."


class ScriptedAPI(ModelAPI):  # type: ignore[misc]  # untyped base
    """An Inspect model that answers from `statistics`; it says fake if detail and contrast are both low."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **_: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's protocol
        tools: list[ToolInfo],  # noqa: ARG002
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,  # noqa: ARG002
    ) -> ModelOutput:
        """Answer about the first image of the messages.

        Raises: BadImage.
        """
        asked = read_messages(input)
        text = reply(asked.question, statistics(pictures(asked)[0].pixels))
        output = ModelOutput.from_content(f"defake-scripted/{self.model_name}", text)
        words = len(text.split())
        output.usage = ModelUsage(input_tokens=0, output_tokens=words, total_tokens=words)
        return output


def reply(question: str, measured: dict[str, float]) -> str:
    """The words for a question: one phrase for a criterion, the three lowest for a request for faults, or a verdict."""
    ordered = sorted(_ABOUT, key=lambda c: (measured[_ABOUT[c]] / _SPLIT[_ABOUT[c]], c))
    faults = " ".join(phrase(c, measured) for c in ordered[:3])
    fake = measured["detail"] <= _SPLIT["detail"] and measured["contrast"] <= _SPLIT["contrast"]
    asked = criterion_of(question)
    lowered = question.lower()
    if "yes or no" in lowered:
        return "Yes" if fake == ("fake" in lowered) else "No"
    if "judge" in lowered or "answer: fake" in lowered:
        return f"{faults}\nAnswer: {'fake' if fake else 'real'}"
    if "fake or real" in lowered:
        return "fake" if fake else "real"
    return phrase(asked, measured) if asked else f"This is a fake image because: {faults}"


@modelapi(name="defake-scripted")  # type: ignore[untyped-decorator]  # Inspect's is untyped
def scripted_provider() -> type[ModelAPI]:
    """`defake-scripted/statistics`: set phrases about pixel statistics, for demonstrations and tests."""
    return ScriptedAPI
