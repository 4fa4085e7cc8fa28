"""Ask all 53,971 released FakeBench questions of a misbehaving local server, kill -9 and resume, check the books.

    python benchmarks/fakebench_full.py --queries ../shared/fakebench --work /tmp/fakebench-full
    python benchmarks/fakebench_full.py --queries ../shared/fakebench --work /tmp/fakebench-rate --rate 3000

The images are absent from the release, so tiny generated PNG files stand in, one of its own for each name. Checked:
every question ends in exactly one typed outcome; every answer in our logs was given by the server; no question was
asked again once its answer had been received; what is counted as infrastructure error was never answered.
"""

# ruff: noqa: ANN001, ANN201, ANN202, D103 - a script that is read from top to bottom

import argparse
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

ABILITIES = ("fakeclass", "faultfinding", "inference", "fakeqa")
MODEL = "openai-api/local/stand-in"
TOTAL = 53_971


def stand_in(number):
    """An 8x8 PNG that no other number has."""
    noise = random.Random(number).randbytes(192)
    rows = b"".join(b"\0" + noise[24 * y : 24 * y + 24] for y in range(8))

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def lay_out(queries, work):
    """Copy the query files and make the stand-ins, fakes and reals in folders of their own."""
    folder = work / "fakebench"
    for name in ("FakeClass.json", "FakeClue.json", "FakeQA.json"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(queries / name, folder / name)
    for number, row in enumerate(json.loads((folder / "FakeClass.json").read_text())):
        place = folder / ("real_images" if row["authenticity"] else "fake_images")
        place.mkdir(exist_ok=True)
        (place / row["image_id"]).write_bytes(stand_in(number))
    return folder


def start_server(work, plan, latency, stall):
    """A server process; gives it and its port."""
    command = [sys.executable, str(TESTS / "openai_server.py"), "--plan", plan, "--latency", str(latency),
               "--stall", str(stall), "--log", str(work / "server.jsonl")]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return server, int(server.stdout.readline())


def ask_all(options) -> None:
    """The run itself, in a process of its own: what a user's `defake bench run` does."""
    from defake.bench.running import Settings, run_bench

    started = time.perf_counter()
    settings = Settings(
        tuple(options.tasks),
        MODEL,
        str(options.work / "fakebench"),
        base_url=f"http://127.0.0.1:{options.port}/v1",
        connections=options.connections,
        max_retries=options.retries,
        attempt_timeout_s=options.attempt_timeout,
        limit=options.limit,
        display="none",
    )
    done = run_bench(settings, options.work / "run")
    print(
        json.dumps({"replayed": done.replayed, "wall_s": time.perf_counter() - started, "cpu_s": time.process_time()})
    )


def run_child(options, port, kill_at):
    """Start the run; kill -9 once the journal holds `kill_at` answers, if that is given."""
    command = [sys.executable, __file__, "--child", "--work", str(options.work), "--port", str(port), "--connections",
               str(options.connections), "--retries", str(options.retries), "--attempt-timeout",
               str(options.attempt_timeout), "--tasks", *options.tasks]  # fmt: skip
    if options.limit:
        command += ["--limit", str(options.limit)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOCAL_API_KEY": "unused", "NO_PROXY": "127.0.0.1"},
    )
    journal = options.work / "run" / "journal.jsonl"
    while child.poll() is None:
        time.sleep(0.2)
        if kill_at and journal.is_file() and lines_of(journal) >= kill_at:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return {"killed_at": lines_of(journal)}
    if child.returncode:
        raise SystemExit(f"the run ended with {child.returncode}")
    return json.loads(child.stdout.read().strip().splitlines()[-1])


def lines_of(path):
    """Complete lines of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def check_books(work, tasks, kills, connections):
    """Compare our logs, the journal and the server's log; gives the figures or stops."""
    import base64

    from inspect_ai.log import list_eval_logs, read_eval_log
    from openai_server import key_of

    newest = {}
    for place in list_eval_logs(str(work / "run" / "logs")):
        newest.setdefault(read_eval_log(place, header_only=True).eval.task, place)
    images = {path.name: path for path in (work / "fakebench").rglob("*") if path.parent.name.endswith("_images")}
    uris = {
        name: f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" for name, path in images.items()
    }
    outcomes, ours, failed, seen, said = Counter(), Counter(), set(), Counter(), {}
    for task in tasks:
        for sample in read_eval_log(newest[task]).samples:
            seen[task, sample.id] += 1
            key = key_of(sample.input, uris[sample.metadata["file"]])
            if sample.error or not sample.scores:
                outcomes["infrastructure"] += 1
                failed.add(key)
                continue
            [first, *_] = sample.scores.values()
            outcomes[first.metadata["outcome"]] += 1
            ours[key] += 1
            said[key] = sample.output.completion
    return settle(work, outcomes, ours, failed, seen, said, kills * connections)


def settle(work, outcomes, ours, failed, seen, said, allowance):  # noqa: PLR0917 - the columns of one table
    """The checks proper; every one can fail."""
    from openai_server import MILD, behaviour
    from openai_server import said as words

    delivered, requests, acts = Counter(), 0, Counter()
    for line in (work / "server.jsonl").open():
        entry = json.loads(line)
        requests += 1
        acts[entry["act"], entry["delivered"]] += 1
        delivered[entry["key"]] += entry["delivered"]
    journal = [json.loads(line)["key"] for line in (work / "run" / "journal.jsonl").open()]
    doubled = sum((delivered - ours).values())
    checks = {
        "each question has one outcome": all(n == 1 for n in seen.values()) and sum(outcomes.values()) == len(seen),
        "each answer of ours was given by the server": not ours - delivered,
        "no answer was kept twice": len(journal) == len(set(journal)) == sum(ours.values()),
        "given but not kept: at most what was under way when killed": doubled <= allowance,
        "an infrastructure error was never answered": not any(delivered[key] for key in failed - set(ours)),
        "only a failing server makes infrastructure errors": all(behaviour(k, MILD) == "down" for k in failed),
        "our texts are the server's": all(text == words("", key, behaviour(key, MILD)) for key, text in said.items()
                                          if behaviour(key, MILD) in ("refusal", "hedge", "both", "length")),
    }  # fmt: skip
    figures = {"questions": len(seen), "outcomes": dict(outcomes), "requests": requests, "asked twice": doubled,
               "server": {f"{a} {'answered' if d else 'failed'}": n for (a, d), n in sorted(acts.items())}}  # fmt: skip
    return figures, checks


def measure_rate(options) -> None:
    """Questions a second against a well-behaved server, as a share of connections / latency."""
    server, port = start_server(options.work, "none", options.latency, 0)
    try:
        options.limit, options.tasks = options.rate, ["fakeclass"]
        done = run_child(options, port, None)
    finally:
        server.terminate()
    times = [json.loads(line) for line in (options.work / "server.jsonl").open()]
    ideal = options.connections / options.latency
    rate = options.rate / done["wall_s"]
    cpu_ms = 1000 * done["cpu_s"] / options.rate
    figures = {
        "questions": len(times),
        "rate_per_s": round(rate, 1),
        "ideal_per_s": ideal,
        "share_of_ideal": round(rate / ideal, 3),
        "cpu_ms_per_question": round(cpu_ms, 2),
        "cpu_cores_used": round(done["cpu_s"] / done["wall_s"], 2),
        "rate_if_one_core_were_ours": round(1000 / cpu_ms, 1),
        "load_average": os.getloadavg(),
    }
    print(json.dumps(figures, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--queries", type=Path, help="folder of the released FakeClass.json, FakeClue.json, FakeQA.json"
    )
    parser.add_argument("--work", type=Path, required=True, help="an empty folder to work in")
    parser.add_argument("--tasks", nargs="+", default=list(ABILITIES), choices=ABILITIES)
    parser.add_argument(
        "--kills", type=int, nargs="*", default=[1_000, 6_000, 20_000], help="answers after which to kill -9"
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--stall", type=float, default=60)
    parser.add_argument("--attempt-timeout", type=int, default=30)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--limit", type=int, help="questions for each task, all by default")
    parser.add_argument("--rate", type=int, help="measure the rate on this many questions instead")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return ask_all(options)
    options.work.mkdir(parents=True, exist_ok=True)
    lay_out(options.queries, options.work)
    if options.rate:
        return measure_rate(options)
    server, port = start_server(options.work, "mild", options.latency, options.stall)
    started, history = time.perf_counter(), []
    try:
        for kill_at in [*options.kills, None]:
            history.append(run_child(options, port, kill_at))
            print(json.dumps(history[-1]), flush=True)
    finally:
        server.terminate()
    figures, checks = check_books(options.work, options.tasks, len(options.kills), options.connections)
    print(json.dumps({**figures, "wall_s": round(time.perf_counter() - started), "history": history}, indent=1))
    for claim, holds in checks.items():
        print("ok  " if holds else "FAIL", claim)
    expected = TOTAL if set(options.tasks) == set(ABILITIES) and not options.limit else figures["questions"]
    return 0 if all(checks.values()) and figures["questions"] == expected else 1


if __name__ == "__main__":
    sys.exit(main())
