"""The captioner detector: any captioning or chat model, read by the probability of its label captions."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from defake.detectors.base import Detector, Examination
from defake.detectors.hardware import Batches, inference
from defake.detectors.weights import add_adapter, hash_weights, read_adapter_config
from defake.errors import BadConfig
from defake.metrics.calibration import Calibration
from defake.records import Reason

from .families import Loaded, load_captioner, make_reader
from .labels import LabelCaptions, Length, tokenise_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from defake.detectors.base import RGB


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, as it said it, and the fake_score it was read as: 1, 0 or NaN where it is no label."""

    text: str
    fake_score: float


class Captioner(Detector):
    """A captioning or chat model as a detector.

    One batched forward pass over image and prompt gives the log-probability of every label caption;
    `fake_score = P(fake) = softmax over labels`, then the calibration. Captions that go on after the token where they
    part are read to their end from the cached keys and values, so that the image is encoded once. How captions of
    several tokens compare is told in `LabelCaptions`.

    Options:
        source: hub name or folder of a `Blip2ForConditionalGeneration`, a `VisionEncoderDecoderModel` or any
            `AutoModelForImageTextToText`; or folder of a peft adapter that names its base; or a `Loaded` model.
        adapter: folder of a LoRA adapter for that model; `merge` adds it into the weights, `check_base=False` accepts
            an adapter that names its base differently.
        prompt: the question; None takes the family's own (nothing for BLIP-2 and ViT-GPT2, a question for chat models).
        fake, real: a caption, or several that mean the same.
        end_token, length: see `LabelCaptions`.
        read: `score`, or `generate` for the paper's reading: the reply itself, matched with the captions after
            stripping spaces, case and punctuation; any other reply is undecided (NaN), its text kept in `examine` and
            `replies`.
        max_new_tokens: length of a generated reply; None takes the longest caption and an end token.
        batch_size: images at once; halved, with a warning in the log, when memory runs out.
        device: auto, cpu, cuda, cuda:1, mps. dtype: auto, float32, bfloat16, float16. quantize: None, 8bit, 4bit.
        calibration: fields of `Calibration`.

    Raises: WeightsMismatch for missing weights or an adapter of another base; BadConfig for captions the tokenizer
    cannot tell apart; MissingExtra.

    Source: VLM-DETECT (arXiv 2404.02726) for the idea; the reading by probability is ours.
    """

    name = "captioner"

    def __init__(
        self,
        source: str | Loaded,
        *,
        adapter: str | None = None,
        merge: bool = False,
        check_base: bool = True,
        prompt: str | None = None,
        fake: str | Sequence[str] = "fake",
        real: str | Sequence[str] = "real",
        end_token: bool = False,
        length: Length = "sum",
        read: Literal["score", "generate"] = "score",
        max_new_tokens: int | None = None,
        batch_size: int = 16,
        device: str = "auto",
        dtype: str = "auto",
        quantize: str | None = None,
        calibration: Mapping[str, float] | None = None,
    ) -> None:
        if read not in ("score", "generate"):
            raise BadConfig(f"read must be 'score' or 'generate', but got {read!r}")
        self.loaded = _load(
            source, adapter, merge=merge, check_base=check_base, device=device, dtype=dtype, quantize=quantize
        )
        self.reader = make_reader(self.loaded, prompt)
        self.read = read
        end = self.reader.end_id if end_token else None
        encode = self.reader.prompt.answer_ids
        self.labels: LabelCaptions = tokenise_labels(_several(fake), _several(real), encode, end, length)
        self.max_new_tokens = max_new_tokens or max(map(len, self.labels.tokens)) + (not end_token)
        self.calibration = Calibration(**(calibration or {}))
        self._batches = Batches(batch_size)

    def log_probabilities(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """Log-probability of each caption of `labels.captions`, `(n, captions)`, before any calibration."""
        return _stack(self._batches.run(list(images), self._read_batch), len(self.labels.captions))

    @inference
    def _read_batch(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        rows = self.labels.rows
        started = self.reader.start(self._inputs(images), self.labels.shared, go_on=bool(rows))
        # In float32 whatever the model computes in: bfloat16 keeps three digits.
        start = started.logits.float().log_softmax(dim=-1)
        after = self.reader.go_on(started, rows).float().log_softmax(dim=-1) if rows else start[:, None]
        sums = [
            torch.stack([(start if row is None else after[:, row])[:, at, token] for row, at, token in steps]).sum(
                dim=0
            )
            for steps in self.labels.steps
        ]
        return self.labels.of_steps(torch.stack(sums, dim=1).double().cpu().numpy())

    def _inputs(self, images: Sequence[RGB]) -> dict[str, torch.Tensor]:
        return self.reader.prompt.inputs([Image.fromarray(image) for image in images])

    def score(self, images: Sequence[RGB]) -> NDArray[np.float64]:
        """See `Detector.score`."""
        if self.read == "generate":
            return np.array([reply.fake_score for reply in self.replies(images)], dtype=np.float64)
        return self.calibration.score(self.labels.fake_logit(self.log_probabilities(images)))

    def examine(self, images: Sequence[RGB]) -> list[Examination]:
        """Scores; with `read="generate"` each with its reply as a reason (criterion `reply`)."""
        if self.read == "score":
            return super().examine(images)
        return [
            Examination(reply.fake_score, (Reason("reply", reply.text, reply.fake_score),))
            for reply in self.replies(images)
        ]

    def replies(self, images: Sequence[RGB]) -> list[Reply]:
        """What the model generates for each image (greedy, `max_new_tokens`) and how that is read."""
        batches = self._batches.run(list(images), self._reply_batch)
        return [Reply(text, self._match(text)) for batch in batches for text in batch]

    @inference
    def _reply_batch(self, images: Sequence[RGB]) -> list[str]:
        return self.reader.generate(self._inputs(images), self.max_new_tokens)

    def _match(self, text: str) -> float:
        said = _bare(text)
        for caption, is_fake in zip(self.labels.captions, self.labels.is_fake, strict=True):
            if said == _bare(caption):
                return float(is_fake)
        return float("nan")

    def weights_hash(self) -> str:
        """SHA-256 of weights, prompt, captions and reading."""
        labels = [list(self.labels.captions), list(self.labels.is_fake), [list(t) for t in self.labels.tokens]]
        return hash_weights(self.loaded.model, self.reader.prompt.text, labels, self.labels.length, self.read)


def _load(source: str | Loaded, adapter: str | None, *, merge: bool, check_base: bool, **options: Any) -> Loaded:
    if isinstance(source, Loaded):
        loaded = source
    else:
        source, adapter, processor = _resolve(source, adapter)
        loaded = load_captioner(source, processor=processor, **options)
    if adapter is None:
        return loaded
    model = add_adapter(loaded.model, adapter, loaded.source, merge=merge, check_base=check_base)
    return replace(loaded, model=model)


def _resolve(source: str, adapter: str | None) -> tuple[str, str | None, str]:
    """Model, adapter and where the processor lies, from a source that may itself be an adapter's folder."""
    folder = Path(source)
    if not (folder / "adapter_config.json").is_file():
        return source, adapter, source
    if adapter is not None:
        raise BadConfig(f"the source {source!r} is an adapter itself; give its base as source and one adapter")
    base = read_adapter_config(source).get("base_model_name_or_path")
    if not base:
        raise BadConfig(f"the adapter in {source!r} names no base; give the base as source and this folder as adapter")
    base = str(folder / base) if (folder / base).is_dir() else str(base)
    own = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    return base, source, source if own else base


def _several(captions: str | Sequence[str]) -> tuple[str, ...]:
    return (captions,) if isinstance(captions, str) else tuple(captions)


def _bare(text: str) -> str:
    return text.strip().strip(string.punctuation + string.whitespace).casefold()


def _stack(batches: list[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.concatenate(batches) if batches else np.empty((0, width))
