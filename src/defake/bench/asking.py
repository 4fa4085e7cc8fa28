"""The solver: shows a model the image and the question, and keeps the answer at once."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    ContentImage,
    ContentText,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.model._generate_config import active_generate_config
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import EarlyStop

from defake.errors import BackendFailed, BadConfig, BadDataset

from .journal import Journal, question_key

if TYPE_CHECKING:
    from inspect_ai.log import EvalSpec
    from inspect_ai.scorer import SampleScore
    from pydantic import JsonValue

    from .prices import Price

_UNREADABLE_REPLIES = 3
_KEPT_IMAGES = 64  # the questions of one image follow each other, and as many may be under way
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


class Images:
    """Data URIs of image files: bytes only, so that no model sees a file name.

    `form` is `bytes` (the file as it is) or `png` (decoded and written anew, so that the file format, which goes with
    the label in FakeBench, tells nothing).

    Raises: BadConfig for another form.
    """

    def __init__(self, form: str = "bytes") -> None:
        if form not in ("bytes", "png"):
            raise BadConfig(f"images must be sent as 'bytes' or 'png', but got {form!r}")
        self.form = form
        self._kept: OrderedDict[Path, tuple[str, str]] = OrderedDict()

    def read(self, path: Path) -> tuple[str, str]:
        """Data URI and SHA-256 of what is sent.

        Raises: BadDataset if the file cannot be read or is no image.
        """
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadDataset(f"cannot read {path}: {error.strerror}") from error
        if self.form == "png":
            content = _as_png(path)
        kind = _kind(content)
        if kind is None:
            raise BadDataset(f"{path} is no PNG, JPEG, WebP, GIF or BMP file")
        found = (f"data:{kind};base64,{base64.b64encode(content).decode()}", hashlib.sha256(content).hexdigest())
        self._kept[path] = found
        if len(self._kept) > _KEPT_IMAGES:
            self._kept.popitem(last=False)
        return found


def _kind(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)


def _as_png(path: Path) -> bytes:
    from PIL import Image

    from defake.images import read_image

    buffer = io.BytesIO()
    Image.fromarray(read_image(path).pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class Budget:
    """Stops a run when its answers have cost `limit`; an Inspect early-stopping manager.

    Questions under way are still received and kept. What a resumed run paid before counts too.
    """

    def __init__(self, limit: float, price: Price) -> None:
        self.limit = limit
        self.price = price
        self.spent = 0.0

    def charge(self, answer: dict[str, Any]) -> None:
        """Count what an answer cost."""
        usage = answer.get("usage") or {}
        self.spent += self.price.of(int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0))

    async def start_task(self, task: EvalSpec, samples: list[Any], epochs: int) -> str:  # noqa: ARG002 - Inspect's protocol
        """Name the manager."""
        return "defake budget"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:  # noqa: A002 - Inspect's protocol
        """Leave a question unasked once the budget is spent."""
        if self.spent < self.limit:
            return None
        return EarlyStop(id=id, epoch=epoch, reason="max cost reached")

    async def complete_sample(self, id: str | int, epoch: int, scores: dict[str, SampleScore]) -> None:  # noqa: A002
        """Nothing: an answer is charged when it is received."""

    async def complete_task(self) -> dict[str, JsonValue]:
        """What was spent."""
        return {"spent": self.spent, "limit": self.limit}


def ask_images(
    paths: dict[str | int, Path], images: Images, journal: Journal | None = None, budget: Budget | None = None
) -> Solver:
    """Ask each sample's question about its image; `paths` maps sample ids to files.

    The image is sent and not kept in the log. An answer is written to the journal before anything else happens with it,
    and taken from there if the same question was answered before. A failed call is an error of the sample: it is never
    scored, and is asked again when the run is resumed.
    """

    @solver(name="ask_images")  # type: ignore[untyped-decorator]
    def made() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - Inspect's protocol
            uri, sha256 = images.read(paths[state.sample_id])
            model = get_model()
            key = question_key(
                model=str(model),
                sample=state.sample_id,
                epoch=state.epoch,
                prompt=state.input_text,
                image=sha256,
                config=model.config.merge(active_generate_config()).model_dump(exclude_none=True, include=_DECISIVE),
            )
            kept = journal.get(key) if journal is not None else None
            if kept is None:
                output = await _generate(model, _messages(state, uri))
                kept = output.model_dump(mode="json", exclude_none=True)
                if journal is not None:
                    journal.put(key, kept, question=str(state.sample_id))
            else:
                output = ModelOutput.model_validate(kept)
            if budget is not None:
                budget.charge(kept)
            state.output = output
            state.messages.append(output.message)
            return state

        return solve

    return made()


async def _generate(model: Model, messages: list[ChatMessage]) -> ModelOutput:
    """One output; a reply that is cut off in its JSON is fetched again, which Inspect itself does not do.

    Raises: BackendFailed if no reply could be read, and whatever Inspect raises after its own repeats.
    """
    for _ in range(_UNREADABLE_REPLIES):
        try:
            output = await model.generate(messages)
        except json.JSONDecodeError as error:
            why = f"a reply that is no JSON ({error})"
            continue
        if not output.empty:
            return output
        why = "a reply without a choice"
    raise BackendFailed(f"{model} gave {why}, {_UNREADABLE_REPLIES} times")


# What an answer depends on, of all that can be configured; waiting times and concurrency do not change it.
_DECISIVE = {
    "system_message",
    "max_tokens",
    "top_p",
    "temperature",
    "stop_seqs",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "top_k",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "reasoning_tokens",
    "response_schema",
    "extra_body",
}


def _messages(state: TaskState, uri: str) -> list[ChatMessage]:
    before = [message for message in state.messages if message.role == "system"]
    question = ChatMessageUser(content=[ContentImage(image=uri), ContentText(text=state.input_text)])
    return [*before, question]
