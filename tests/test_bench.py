"""Whole runs over Inspect against a local server that misbehaves: outcomes, resume, budget, blindness."""

import asyncio
import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from openai_server import Server, behaviour, key_of
from PIL import Image

from defake.errors import BadConfig

inspect_log = pytest.importorskip("inspect_ai.log")

# Inspect and the OpenAI client leave sockets and event loops to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")
MODEL = "openai-api/local/stand-in"
PLAN = {"rate_limit": 0.05, "error": 0.04, "cut_json": 0.05, "down": 0.03, "refusal": 0.08, "filter": 0.08,
        "length": 0.08, "hedge": 0.08, "both": 0.08, "empty": 0.05}  # fmt: skip
EXPECTED = {"refusal": "refusal", "filter": "refusal", "length": "truncated", "hedge": "unparsed", "both": "ambiguous",
            "empty": "unparsed", "down": "infrastructure"}  # fmt: skip


@pytest.fixture
def serve(monkeypatch):
    """Start servers in a thread of their own; gives server and address."""
    monkeypatch.setenv("LOCAL_API_KEY", "unused")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    loops = []

    def start(plan, **options):
        server, ready, loop = Server(plan, **options), threading.Event(), asyncio.new_event_loop()
        port = []

        def run():
            asyncio.set_event_loop(loop)
            port.append(loop.run_until_complete(server.start()))
            ready.set()
            loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait()
        loops.append(loop)
        return server, f"http://127.0.0.1:{port[0]}/v1"

    yield start
    for loop in loops:
        loop.call_soon_threadsafe(loop.stop)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve fakes and twelve photographs, as a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    for label in ("fake", "real"):
        (folder / label).mkdir()
        for i in range(12):
            noise = np.random.default_rng(i + 100 * (label == "fake")).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / label / f"{i}.png")
    return folder


def settings(data, base_url, **changes):
    """Settings for quick runs."""
    from defake.bench.running import Settings

    quick = {"connections": 8, "max_retries": 2, "attempt_timeout_s": 60, "display": "none", "tasks": ("fakeclass",)}
    return Settings(model=MODEL, data=str(data), base_url=base_url, **{**quick, **changes})


def outcomes_of(log):
    """Sample id -> outcome, and the log's samples."""
    samples = log.samples
    return {
        s.id: "infrastructure" if s.error else next(iter(s.scores.values())).metadata["outcome"] for s in samples
    }, samples


def read(done, number=0):
    """The full log of a finished run."""
    return inspect_log.read_eval_log(str(done.logs[number]))


def server_key(sample, folder):
    """The server's name for a sample's question."""
    content = base64.b64encode((folder / sample.metadata["file"]).read_bytes()).decode()
    return key_of(sample.input, f"data:image/png;base64,{content}")


def test_every_question_ends_in_one_typed_outcome(serve, pictures, tmp_path):
    """429, 500 and cut JSON are survived; refusals, filters, cut-off answers are typed; a dead server is no answer.

    The server's log and ours agree question by question, resuming asks only what failed, and no model sees a file name.
    """
    from defake.bench.running import run_bench

    server, url = serve(PLAN)
    asked = settings(pictures, url, pairs=True)
    done = run_bench(asked, tmp_path / "run")
    log = read(done)
    ours, samples = outcomes_of(log)
    assert len(ours) == 48
    acts = {s.id: behaviour(server_key(s, pictures), PLAN) for s in samples}
    assert {"down", "refusal", "length"} <= set(acts.values())
    assert all(ours[i] == EXPECTED.get(act, "ok") for i, act in acts.items()), [(i, acts[i], ours[i]) for i in acts]
    delivered = Counter(entry["key"] for entry in server.log if entry["delivered"])
    assert delivered == {server_key(s, pictures): 1 for s in samples if not s.error}

    figures = {n: m.value for score in log.results.scores for n, m in score.metrics.items()}
    failed = sum(word == "infrastructure" for word in ours.values())
    assert (figures["n"], figures["n_ok"]) == (48 - failed, sum(word == "ok" for word in ours.values()))
    assert "flip_rate" in figures
    assert "auc" in figures

    before = len(server.log)
    again = run_bench(asked, tmp_path / "run")
    assert again.replayed == 48 - failed
    assert outcomes_of(read(again))[0] == ours
    assert {entry["act"] for entry in server.log[before:]} == {"down"}


def test_no_model_sees_a_file_name(serve, tmp_path):
    """What is sent holds the words and the bytes; names that give the label away stay here."""
    from defake.bench.running import run_bench

    seen = []

    class Listening(Server):
        async def _reply(self, request, writer):
            seen.append(json.dumps(request))
            await super()._reply(request, writer)

    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    for label in ("fake", "real"):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "x.png").rename(tmp_path / "set" / label / "midjourney-00001.png")
        Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    server, url = serve({})
    server.__class__ = Listening
    run_bench(settings(tmp_path / "set", url), tmp_path / "run")
    assert len(seen) == 2
    assert not any("midjourney" in request or str(tmp_path) in request for request in seen)


def test_kill_9_and_resume_asks_nothing_twice(serve, pictures, tmp_path):
    """After kill -9 the same run goes on: no answer in hand is asked for again, and none is missing."""
    from defake.bench.running import run_bench

    server, url = serve({}, latency_s=0.3)
    asked = settings(pictures, url, connections=2)
    script = (
        "from defake.bench.running import Settings, run_bench\n"
        f"run_bench(Settings(**{dataclasses.asdict(asked)!r}), {str(tmp_path / 'run')!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ}, cwd=Path(__file__).parents[1])
    journal = tmp_path / "run" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 5):
        assert child.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = journal.read_bytes().count(b"\n")
    done = run_bench(asked, tmp_path / "run")
    ours, samples = outcomes_of(read(done))
    assert (len(ours), done.replayed, set(ours.values())) == (24, kept, {"ok"})
    delivered = Counter(entry["key"] for entry in server.log if entry["delivered"])
    assert set(delivered) == {server_key(s, pictures) for s in samples}
    assert sum(delivered.values()) - 24 <= 2, "more was asked twice than was under way"


def test_max_cost_stops_cleanly_and_goes_on(serve, pictures, tmp_path):
    """A spent budget leaves the rest unasked; a larger one asks just that."""
    from defake.bench.running import run_bench

    prices = tmp_path / "prices.toml"
    prices.write_text(f'currency = "EUR"\n[models."{MODEL}"]\ninput = 1000\noutput = 0\n')  # 0.8 for each answer
    server, url = serve({})
    some = run_bench(settings(pictures, url, max_cost=4.0, prices=str(prices), connections=1), tmp_path / "run")
    asked = len(server.log)
    assert 5 <= asked <= 8
    assert some.unasked == 24 - asked
    rest = run_bench(settings(pictures, url, max_cost=1000.0, prices=str(prices)), tmp_path / "run")
    assert (rest.unasked, rest.replayed, len(server.log)) == (0, asked, 24)
    with pytest.raises(BadConfig, match="needs a price"):
        run_bench(settings(pictures, url, max_cost=1.0), tmp_path / "other")


def test_other_settings_need_another_folder(serve, pictures, tmp_path):
    """A folder holds one run: another prompt set is refused, another number of connections is not."""
    from defake.bench.running import run_bench

    _, url = serve({})
    run_bench(settings(pictures, url, limit=2), tmp_path / "run")
    with pytest.raises(BadConfig, match="prompts was 'paper' and is 'fixed'"):
        run_bench(settings(pictures, url, prompts="fixed"), tmp_path / "run")
    assert run_bench(settings(pictures, url, limit=4, connections=2), tmp_path / "run").replayed == 2
    with pytest.raises(BadConfig, match="unknown task detection"):
        settings(pictures, url, tasks=("detection",))


def test_inspect_finds_the_tasks_by_entry_point(pictures, tmp_path):
    """`inspect eval defake/fakeclass` works once the package is installed."""
    site = tmp_path / "site-packages"
    (site / "defake-0.1.0.dist-info").mkdir(parents=True)
    (site / "defake").symlink_to(Path(__file__).parents[1] / "src" / "defake")
    metadata = "Metadata-Version: 2.1\nName: defake\nVersion: 0.1.0\n"
    (site / "defake-0.1.0.dist-info" / "METADATA").write_text(metadata)
    (site / "defake-0.1.0.dist-info" / "entry_points.txt").write_text(
        "[inspect_ai]\ndefake = defake.bench.registration\n"
    )
    command = [sys.executable, "-m", "inspect_ai", "eval", "defake/fakeclass", "--model", "defake-scripted/statistics",
               "-T", f"data={pictures}", "-T", "pairs=true", "--display", "none",
               "--log-dir", str(tmp_path / "logs")]  # fmt: skip
    ran = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [path] = (tmp_path / "logs").glob("*.eval")
    log = inspect_log.read_eval_log(str(path))
    assert (log.eval.task_registry_name, len(log.samples)) == ("defake/fakeclass", 48)
    assert {s.scores["verdict"].metadata["outcome"] for s in log.samples} == {"ok"}


def test_the_demo_set_runs_all_four_abilities(tmp_path):
    """Offline, with the scripted stand-in: every question of the shipped set is answered and scored."""
    from defake.bench import running

    data = Path(running.__file__).parent / "demo_set"
    asked = running.Settings(("faultfinding", "inference", "fakeqa"), "defake-scripted/statistics", str(data),
                             prompts="fixed", reals=True, display="none", logprobs=0, limit=2)  # fmt: skip
    done = running.run_bench(asked, tmp_path / "run")
    assert len(done.logs) == 3
    for number in range(3):
        ours, _ = outcomes_of(read(done, number))
        assert set(ours.values()) == {"ok"}
    assert running.run_bench(asked, tmp_path / "run").replayed == 0  # finished logs are taken as they are
