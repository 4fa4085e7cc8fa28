"""The journal of a run: every answer is on disk the moment it was received, so that no question is asked twice.

Inspect's log keeps finished samples in blocks, and its sample buffer costs time for each event; after `kill -9` what
had been answered since the last block would be asked (and paid) again. The journal is one line for each answer, written
with a single append: the kernel keeps it when the process dies. A torn last line is cut off on opening.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from defake.errors import BadConfig

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self


def question_key(**facts: Any) -> str:
    """Identity of a question as asked: everything the answer depends on, as a hash."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


class Journal:
    """Answers by key, in one JSON Lines file that only one process at a time may hold.

    `replayed` counts the answers taken from it instead of being asked for again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.replayed = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._handle, path)
            self._read_places()
        except BaseException:
            os.close(self._handle)
            raise

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer of a key, or None if it was never received."""
        if key not in self._places:
            return None
        start, size = self._places[key]
        self.replayed += 1
        answer: dict[str, Any] = json.loads(os.pread(self._handle, size, start))["answer"]
        return answer

    def put(self, key: str, answer: dict[str, Any], *, question: str = "") -> None:
        """Keep an answer; `question` says for people what it belongs to.

        Raises: OSError if the disk is full, so that the answer is not taken for kept.
        """
        line = json.dumps({"key": key, "question": question, "answer": answer}, ensure_ascii=False).encode() + b"\n"
        start = os.lseek(self._handle, 0, os.SEEK_END)
        written = os.write(self._handle, line)
        if written != len(line):
            os.ftruncate(self._handle, start)
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes were written; is the disk full?")
        self._places[key] = (start, len(line))

    def answers(self) -> list[dict[str, Any]]:
        """All answers, oldest first; does not count as replaying."""
        return [
            json.loads(os.pread(self._handle, size, start))["answer"] for start, size in sorted(self._places.values())
        ]

    def close(self) -> None:
        """Make the file safe against a power cut too, and let go of it."""
        if self._handle >= 0:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _read_places(self) -> None:
        start = 0
        with os.fdopen(os.dup(self._handle), "rb") as lines:
            lines.seek(0)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                key = _key_of(line)
                if key is None:
                    raise BadConfig(f"{self.path} is no journal of answers: unreadable line at byte {start}")
                self._places[key] = (start, len(line))
                start += len(line)
        os.ftruncate(self._handle, start)


def _key_of(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    key = row.get("key") if isinstance(row, dict) else None
    return key if isinstance(key, str) and isinstance(row.get("answer"), dict) else None


def _lock(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has none; two runs in one folder are then the user's affair
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BadConfig(f"{path} is in use by another run; wait for it or choose another run folder") from error
