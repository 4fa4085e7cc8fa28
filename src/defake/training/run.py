"""The folder of a training run: which settings it holds, whether it is finished, and what is in it at the end."""

from __future__ import annotations

import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "training.json"
DETECTOR = "detector.json"
RESULTS = "results.json"  # written last: a run that has it is finished
SCHEMA = 1
# They change how a run is carried out, not what it computes: a killed run may go on with other values.
HOW_ONLY = ("device_batch_size", "save_minutes")
LIBRARIES = ("accelerate", "defake", "numpy", "peft", "pillow", "scikit-learn", "torch", "transformers")


def open_run(folder: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Claim a folder for a run of these settings; True if it already holds that run, finished.

    A folder that holds the same settings unfinished is gone on with. `overwrite` starts afresh in a folder of ours.

    Raises: BadConfig if the folder holds other settings (every difference is named) or something that is no run.
    """
    record = folder / CONFIG
    wanted = _plain(config)
    if folder.exists() and not folder.is_dir():
        raise BadConfig(f"{folder} is a file; --out must name a folder")
    if record.is_file():
        if not overwrite:
            _require_same(folder, _read(record), wanted)
            return (folder / RESULTS).is_file()
        shutil.rmtree(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        raise BadConfig(f"{folder} is not empty and holds no training run (no {CONFIG}); name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, {"schema": SCHEMA, **wanted, "versions": versions()})
    return False


def _read(record: Path) -> dict[str, Any]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError("it is no object")  # noqa: TRY301 - told in one place
    except (OSError, ValueError, TypeError) as error:
        raise BadConfig(f"{record} cannot be read ({error}); name another folder or pass --overwrite") from error
    return found


def _require_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    there, here = _flat({k: found.get(k) for k in wanted}), _flat(wanted)
    unlike = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    unlike = [key for key in unlike if key.rpartition(".")[2] not in HOW_ONLY]
    if unlike:
        named = "; ".join(f"{key} is {there.get(key)!r} there and {here.get(key)!r} here" for key in unlike[:6])
        raise BadConfig(f"{folder} holds a run with other settings: {named}. Name another folder or pass --overwrite")


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object so that a reader sees the old file or the new one, never a part."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def versions() -> dict[str, str]:
    """Versions of the libraries the result depends on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
