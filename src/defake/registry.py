"""Name -> "module:attr", extra, card: the three extension points and nothing else.

A plug-in is an entry point of the group `defake.<kind>` whose object is an `Entry`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from .errors import BadConfig, MissingExtra, UnknownName


@dataclass(frozen=True, slots=True)
class Card:
    """What a user must know before trusting a name."""

    summary: str
    paper: str = ""
    licence: str = ""
    weights: str = ""
    training: str = ""
    input_size: str = ""
    score: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered name: where its class lives, which extra it needs, its card."""

    name: str
    target: str
    card: Card
    extra: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """The object behind the entry.

        Raises: MissingExtra if a library of its extra is not installed; BadConfig if the target does not exist.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if self.extra and error.name and not error.name.startswith("defake"):
                raise MissingExtra(f"{self.name!r}", self.extra, error.name) from error
            raise BadConfig(f"{self.name!r} points to {self.target!r}, which cannot be imported: {error}") from error
        except AttributeError as error:
            raise BadConfig(f"{self.name!r} points to {self.target!r}, which does not exist: {error}") from error


class Registry:
    """The names of one kind: built in, and found through entry points on first use."""

    def __init__(self, kind: str, group: str, entries: list[Entry]) -> None:
        self.kind = kind
        self.group = group
        self.failures: dict[str, str] = {}  # plug-in name -> why it did not load; faces report it, the rest go on
        self._entries: dict[str, Entry] = {}
        self._scanned = False
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Register an entry.

        Raises: BadConfig if the name is taken.
        """
        if entry.name in self._entries:
            raise BadConfig(f"the {self.kind} name {entry.name!r} is taken by {self._entries[entry.name].target}")
        self._entries[entry.name] = entry

    def names(self) -> list[str]:
        """All names, sorted."""
        self._scan()
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The entry of a name.

        Raises: UnknownName, which lists the names there are.
        """
        self._scan()
        if name not in self._entries:
            raise UnknownName(self.kind, name, list(self._entries))
        return self._entries[name]

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        for point in metadata.entry_points(group=self.group):
            try:
                entry = point.load()
                if not isinstance(entry, Entry):
                    raise BadConfig(f"expected a defake.registry.Entry, got {type(entry).__name__}")  # noqa: TRY301
                self.add(entry)
            except Exception as error:  # noqa: BLE001 - a plug-in's fault is reported by name, and the rest go on
                self.failures[point.name] = f"{type(error).__name__}: {error}"


DETECTORS = Registry(
    "detector",
    "defake.detectors",
    [
        Entry(
            "default",
            "defake.detectors.default:EmbeddedDetector",
            Card(
                summary="Embedded general detector: seven blocks of CLIP ViT-B/16 on four tiles and the whole.",
                paper="ours; intermediate features after RINE (arXiv 2402.19091)",
                licence="Apache-2.0; initialised from OpenAI CLIP ViT-B/16 (MIT)",
                weights="in the package",
                training="probes fitted to 7,100 labelled crops and 599 whole images; see docs/cards/default.md",
                input_size="any; four 224 px tiles of the image reduced to 512 px, and its middle square at 224 px",
                score="calibrated probability that the image is generated, at equal priors",
            ),
            options={"weights": "default"},
        ),
        Entry(
            "fast",
            "defake.detectors.default:EmbeddedDetector",
            Card(
                summary="Embedded quick detector: four blocks on one tile; for a first pass, much weaker.",
                paper="ours; intermediate features after RINE (arXiv 2402.19091)",
                licence="Apache-2.0; initialised from OpenAI CLIP ViT-B/16 (MIT)",
                weights="in the package",
                training="as default; see docs/cards/fast.md",
                input_size="any; the middle 160 px tile of the image reduced to 512 px",
                score="calibrated probability that the image is generated, at equal priors",
            ),
            options={"weights": "fast"},
        ),
        Entry(
            "captioner",
            "defake.detectors.captioner:Captioner",
            Card(
                summary="Any captioning or chat model from a hub name or folder, scored by its label captions.",
                paper="VLM-DETECT, arXiv 2404.02726",
                licence="that of the model",
                weights="captioner:NAME_OR_FOLDER; adapters of `defake train captioner`",
                training="that of the model; untrained ones answer by their general knowledge",
                input_size="that of the model's own processor",
                score="probability of the caption 'fake' against 'real', not calibrated",
            ),
            extra="torch",
        ),
        Entry(
            "blip2",
            "defake.detectors.captioner:Captioner",
            Card(
                summary="BLIP-2 OPT-2.7B; give the paper's kind of adapter with adapter=FOLDER.",
                paper="VLM-DETECT, arXiv 2404.02726; BLIP-2, arXiv 2301.12597",
                licence="MIT",
                weights="Salesforce/blip2-opt-2.7b, fetched on first use (15 GB)",
                training="image captions; it knows nothing of generators until it is trained",
                input_size="224 px, whole image resized",
                score="probability of the caption 'fake' against 'real', not calibrated",
            ),
            extra="torch",
            options={"source": "Salesforce/blip2-opt-2.7b"},
        ),
        Entry(
            "vit-gpt2",
            "defake.detectors.captioner:Captioner",
            Card(
                summary="ViT-GPT2 image captioner, the second model of VLM-DETECT.",
                paper="VLM-DETECT, arXiv 2404.02726",
                licence="Apache-2.0",
                weights="nlpconnect/vit-gpt2-image-captioning, fetched on first use (1 GB)",
                training="image captions (COCO); it knows nothing of generators until it is trained",
                input_size="224 px, whole image resized",
                score="probability of the caption 'fake' against 'real', not calibrated",
            ),
            extra="torch",
            options={"source": "nlpconnect/vit-gpt2-image-captioning"},
        ),
        Entry(
            "classifier",
            "defake.detectors.classifier:Classifier",
            Card(
                summary="ResNet-50, DeiT, Xception or any image classifier with a class for fake.",
                paper="baselines of VLM-DETECT, arXiv 2404.02726",
                licence="that of the model",
                weights="classifier:NAME_OR_FOLDER; folders of `defake train`",
                training="that of the model; an ImageNet head is refused",
                input_size="that of the model's own processor",
                score="softmax probability of the classes that mean fake",
            ),
            extra="torch",
        ),
        Entry(
            "probe",
            "defake.detectors.probe:Probe",
            Card(
                summary="Logistic regression on frozen CLIP or BLIP-2 vision features.",
                paper="ours; after UnivFD (arXiv 2302.10174)",
                licence="that of the vision model",
                weights="probe:FOLDER, written by its training",
                training="your own images; seconds on a CPU once the features are there",
                input_size="that of the vision model's processor",
                score="probability of the logistic regression that the image is generated",
            ),
            extra="torch",
        ),
    ],
)
