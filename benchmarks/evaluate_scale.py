"""How long 100,000 stored scores take, and how much memory a manifest of 1,000,000 rows.

    python benchmarks/evaluate_scale.py

Made scores, 20 generators, 12 sources, a tenth of the rows for validation; all figures with their intervals (1,000
resamples). Each figure is measured in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from defake.datasets.manifest import read_manifest
from defake.evaluate import evaluate_scores
from defake.store import Scores, read_scores, write_scores

SECONDS, GIGABYTES = 20.0, 2.0


def make(n: int) -> Scores:
    """Scores of n images, half of them fakes."""
    rng = np.random.default_rng(0)
    fake = np.arange(n) < n // 2
    words = [np.array([f"{prefix}{i}" for i in range(k)], dtype=object) for prefix, k in (("g", 20), ("s", 12))]
    return Scores(
        path=np.array([f"images/{i:08d}.jpg" for i in range(n)], dtype=object),
        is_fake=fake,
        generator=np.where(fake, words[0][rng.integers(0, 20, n)], None),
        source=words[1][rng.integers(0, 12, n)],
        split=np.where(rng.random(n) < 0.1, "val", "test").astype(object),
        fake_score=1 / (1 + np.exp(-rng.normal(np.where(fake, 1.0, -1.0), 1.5))),
        error=np.full(n, None, dtype=object),
    )


def write_csv(scores: Scores, path: Path) -> None:
    """The manifest of the same rows."""
    with path.open("w", encoding="utf-8") as file:
        file.write("path,label,generator,source,split\n")
        rows = zip(scores.path, scores.is_fake, scores.generator, scores.source, scores.split, strict=True)
        file.writelines(f"{p},{'fake' if f else 'real'},{g or ''},{s},{t}\n" for p, f, g, s, t in rows)


def measure(folder: Path) -> None:
    """Read the manifest if there is one, read the scores, evaluate; print seconds and peak memory."""
    start, cpu = time.perf_counter(), time.process_time()
    if (folder / "manifest.csv").is_file():
        manifest = read_manifest(folder / "manifest.csv")
        manifest.sha256()
        rows = f"manifest of {len(manifest):,} rows read, "
    else:
        rows = ""
    scores = read_scores(folder / "scores.parquet")
    auc = evaluate_scores(scores).overall.figures["auc"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, busy = time.perf_counter() - start, time.process_time() - cpu
    print(
        f"{rows}{len(scores):,} stored scores evaluated: {seconds:.1f} s ({busy:.1f} s of CPU), "
        f"peak memory {peak:.2f} GB, AUC {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})"
    )


def main() -> None:
    """Make the files, then measure each in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        for n, with_manifest in ((100_000, False), (1_000_000, True)):
            folder = Path(name) / str(n)
            folder.mkdir()
            scores = make(n)
            write_scores(scores, folder / "scores.parquet")
            if with_manifest:
                write_csv(scores, folder / "manifest.csv")
            del scores
            subprocess.run([sys.executable, __file__, str(folder)], check=True)
    print(f"promised: 100,000 scores under {SECONDS:g} s; 1,000,000 rows under {GIGABYTES:g} GB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        main()
