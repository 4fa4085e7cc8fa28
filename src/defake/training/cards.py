"""The model card of a trained detector: what it is, what it saw, how well it did, how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .figures import percent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from defake.metrics.intervals import Estimate

FIGURES = {
    "accuracy": "accuracy at fake_score 0.5",
    "recall": "fakes called fake",
    "fpr": "photographs called fake",
    "f1": "F1 of the fakes",
    "auc": "AUC",
    "answered": "images with an answer",
}


def write_card(
    path: Path, config: Mapping[str, Any], results: Mapping[str, Any], metrics: Mapping[str, Estimate]
) -> None:
    """Write the card as Markdown; every figure comes from `results` and `metrics`, none from memory."""
    kind = config["kind"]
    lines = [
        f"# {kind} trained with defake",
        "",
        f"`{config['model']}` trained to tell generated images from photographs.",
        "",
        "```",
        f"defake check photo.jpg --detector {path.parent.name}",
        "```",
        "",
        "## Figures on the validation images",
        "",
        *_metric_lines(metrics, config["data"]["val"]),
        "",
        *[f"**Note.** {note}." for note in results["notes"]],
        "",
        "The validation images choose the kept weights, so on them the figures lean to the good side; they say nothing",
        "of other generators. Measure on sets of your own with `defake evaluate`.",
        "",
        "## Data",
        "",
        *_data_lines(config["data"]),
        "",
        "## Recipe",
        "",
        *_table(("setting", "value"), _settings(config, results)),
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        "",
        f"Weights: SHA-256 `{results['weights_sha256']}`" if results["weights_sha256"] else "",
    ]
    if (path.parent / "loss.png").is_file():
        lines += ["", "![Loss curve](loss.png)"]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _metric_lines(metrics: Mapping[str, Estimate], val: Mapping[str, Any] | None) -> list[str]:
    if val is None:
        return ["None: nothing was held out."]
    head = f"{val['images']} images, {val['fake']} of them fake; 95 % intervals, in percent."
    rows = [(text, percent(metrics[name])) for name, text in FIGURES.items() if name in metrics]
    return [head, "", *_table(("figure", "value"), rows)]


def _data_lines(parts: Mapping[str, Any]) -> list[str]:
    rows = []
    for name in ("train", "val"):
        part = parts[name]
        if part is not None:
            generators = ", ".join(part["generators"]) or "not named"
            rows.append((name, part["images"], part["fake"], generators, f"`{part['sha256']}`"))
    head = ("part", "images", "fake", "generators", "SHA-256 of all contents and labels")
    return _table(head, rows)


def _settings(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    fixed = ("kind", "data", "recipe", "schema", "versions")
    settings = [(key, value) for key, value in config.items() if key not in fixed and value is not None]
    recipe: Mapping[str, Any] = config["recipe"]
    hidden = {"device_batch_size", "save_minutes"} | {
        k for k in recipe if k.startswith("lora") and recipe["tune"] == "full"
    }
    settings += [(key, value) for key, value in recipe.items() if key not in hidden]
    facts = ("device_batch_size", "accumulation", "processes", "kept_epoch", "features")
    settings += [(key, results[key]) for key in facts if key in results]
    return [(key.replace("_", " "), "none" if value in (None, [], "") else value) for key, value in settings]


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in ([*head], ["---"] * len(head), *cells)]
