"""The journal: what was received is kept, whatever happens to the process."""

import json
import os
import signal
import subprocess
import sys

import pytest

from defake.bench.journal import Journal, question_key
from defake.errors import BadConfig


def test_answers_come_back(tmp_path):
    """What was put is there after opening again, and counts as replayed when taken."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.put("a", {"completion": "假的"}, question="q1")
        journal.put("b", {"completion": "No"})
    with Journal(tmp_path / "j.jsonl") as journal:
        assert (len(journal), "a" in journal, journal.get("c")) == (2, True, None)
        assert journal.get("a") == {"completion": "假的"}
        assert journal.replayed == 1
        assert [a["completion"] for a in journal.answers()] == ["假的", "No"]


def test_a_torn_last_line_is_cut_off(tmp_path):
    """Half an answer, written when the power went, is dropped; the next one starts on a clean line."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"x": 1})
    with path.open("a") as file:
        file.write('{"key": "b", "ans')
    with Journal(path) as journal:
        assert (len(journal), journal.get("b")) == (1, None)
        journal.put("b", {"x": 2})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_kill_9_loses_nothing(tmp_path):
    """A process killed without warning leaves every answer it had put."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom defake.bench.journal import Journal\n"
        f"journal = Journal(Path({str(tmp_path / 'j.jsonl')!r}))\n"
        "i = 0\nwhile True:\n    journal.put(str(i), {'n': i})\n    print(i, flush=True)\n    i += 1\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    last = [process.stdout.readline() for _ in range(50)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Journal(tmp_path / "j.jsonl") as journal:
        assert all(journal.get(str(i)) == {"n": i} for i in range(int(last) + 1))


def test_one_run_at_a_time(tmp_path):
    """A second run in the same folder is refused."""
    with Journal(tmp_path / "j.jsonl"), pytest.raises(BadConfig, match="in use by another run"):
        Journal(tmp_path / "j.jsonl")


def test_another_file_is_not_taken_for_a_journal(tmp_path):
    """A file that holds something else is left alone."""
    path = tmp_path / "j.jsonl"
    path.write_text('{"some": "thing"}\n')
    with pytest.raises(BadConfig, match="is no journal"):
        Journal(path)
    assert path.read_text() == '{"some": "thing"}\n'


def test_a_key_depends_on_every_fact():
    """Another model, image, prompt or setting is another question; the order of the facts is not."""
    base = {"model": "m", "image": "x", "config": {"temperature": 0.0}}
    keys = {question_key(**base), question_key(**{**base, "model": "n"}), question_key(**{**base, "config": {}})}
    assert len(keys) == 3
    assert question_key(a=1, b=2) == question_key(b=2, a=1)
