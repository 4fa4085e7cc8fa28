"""A local OpenAI-compatible chat server that misbehaves by a deterministic plan and logs every question.

What happens to a question depends on its words and its image alone: a hash in [0, 1) picks a line of the plan. Faults
that pass (stall, 429, 500, cut JSON) happen on the first attempts and are then answered; `down` never is. The log has
one JSON line for each request: key, attempt, what was done, and `delivered` once the answer was written to the socket.

Run it: `python tests/openai_server.py --log requests.jsonl --latency 0.2`; it prints its port.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import sys
from collections import Counter
from pathlib import Path

# Share of questions for each behaviour; the rest is answered plainly.
MILD = {"stall": 0.002, "rate_limit": 0.004, "error": 0.004, "cut_json": 0.004, "down": 0.001, "refusal": 0.02,
        "filter": 0.005, "length": 0.01, "hedge": 0.01, "both": 0.01, "empty": 0.005}  # fmt: skip
HARSH = dict.fromkeys(MILD, 0.07)
PASSING = {"stall": 1, "rate_limit": 2, "error": 1, "cut_json": 1}  # attempts that go wrong
OPEN = "The texture is waxy and the edges bleed into the background, which points to a generated image."
SAID = {
    "refusal": "I'm sorry, but I can't assist with that.",
    "hedge": "A picture of something on a table.",
    "both": "It is fake and real.",
    "length": "The image shows a number of details that",
    "filter": "",
    "empty": "",
}


class Server:
    """Answers on a loopback port; `log` collects one dict for each request, and goes to a file if one is given."""

    def __init__(self, plan=None, *, latency_s=0.0, stall_s=30.0, log_path=None):
        self.plan = MILD if plan is None else plan
        self.latency_s, self.stall_s = latency_s, stall_s
        self.log = []
        self.attempts = Counter()
        self.in_flight = self.most_in_flight = 0
        self._file = Path(log_path).open("a", buffering=1) if log_path else None  # noqa: SIM115 - closed by stop
        self._server = None

    async def start(self, port=0):
        """Listen; gives the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**24)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Stop listening."""
        self._server.close()
        if self._file:
            self._file.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                             if line.lower().startswith(b"content-length:")), 0)  # fmt: skip
                body = await reader.readexactly(size)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self._reply(json.loads(body), writer)
                finally:
                    self.in_flight -= 1
        writer.close()

    async def _reply(self, request, writer):
        prompt, image = question_of(request)
        key = key_of(prompt, image)
        self.attempts[key] += 1
        attempt = self.attempts[key]
        act = behaviour(key, self.plan)
        # A passing fault hits the first attempts at each question; repeats of a question count on.
        faulty = act == "down" or attempt <= PASSING.get(act, 0)
        entry = {"key": key, "attempt": attempt, "act": act, "delivered": False}
        await asyncio.sleep(self.stall_s if faulty and act == "stall" else self.latency_s)
        if faulty:
            status, headers, payload = fault(act)
        else:
            status, headers, payload = 200, "", answer(request, prompt, key, act)
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}"
                     f"Content-Length: {len(payload)}\r\n\r\n".encode() + payload)  # fmt: skip
        try:
            await writer.drain()
            entry["delivered"] = not faulty and not writer.is_closing()
        finally:
            self.log.append(entry)
            if self._file:
                self._file.write(json.dumps(entry) + "\n")


def question_of(request):
    """Words and image of a request; the model sees nothing else."""
    content = request["messages"][-1]["content"]
    if isinstance(content, str):
        return content, ""
    words = "".join(part["text"] for part in content if part["type"] == "text")
    images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return words, "".join(images)


def key_of(prompt, image):
    """Identity of a question on the server's side: its words and the image's data URI."""
    return hashlib.sha256(f"{prompt}\0{image}".encode()).hexdigest()


def unit(key):
    """A number in [0, 1) that depends on the key alone."""
    return int(key[:12], 16) / 16**12


def behaviour(key, plan):
    """The line of the plan a question falls on."""
    place = unit(key)
    for name, share in plan.items():
        if place < share:
            return name
        place -= share
    return "answer"


def fault(act):
    """Status, headers and body of a failed request."""
    if act == "rate_limit":
        return 429, "Retry-After: 0\r\n", b'{"error": {"message": "slow down", "type": "rate_limit"}}'
    if act == "cut_json":
        return 200, "", b'{"id": "x", "object": "chat.completion", "choices": [{"index": 0, "mess'
    return 500, "", b'{"error": {"message": "internal", "type": "server_error"}}'


def said(prompt, key, act):
    """What is answered: words that fit the question, chosen by the key."""
    if act in SAID:
        return SAID[act]
    first = int(key[-1], 16) % 2 == 0
    if "yes or no" in prompt:
        return ("No", "no.", "Yes", "Yes, it is.")[int(key[-2:], 16) % 4]
    if "fake or real" in prompt:
        return "Unrealistic lighting, so fake" if first else "**Real**"
    return OPEN


def answer(request, prompt, key, act):
    """The body of an answer, with log-probabilities if they were asked for."""
    text = said(prompt, key, act)
    stop = {"length": "length", "filter": "content_filter"}.get(act, "stop")
    choice = {"index": 0, "finish_reason": stop, "message": {"role": "assistant", "content": text}}
    if request.get("logprobs") and act == "answer" and text != OPEN:
        words = text.replace("*", "").split() or [""]
        share = 0.5 + unit(key) / 2
        other = {"yes": "no", "no": "yes", "fake": "real", "real": "fake"}
        rest = math.log(1 - share + 1e-9)
        choice["logprobs"] = {"content": [
            {"token": word, "logprob": math.log(share), "bytes": None, "top_logprobs": [
                {"token": word, "logprob": math.log(share), "bytes": None},
                {"token": other.get(word.strip(".,").lower(), "x"), "logprob": rest, "bytes": None}]}
            for word in words]}  # fmt: skip
    usage = {"prompt_tokens": 800, "completion_tokens": 5, "total_tokens": 805}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request.get("model", "m"),
            "choices": [choice], "usage": usage}  # fmt: skip
    return json.dumps(body).encode()


async def _run(options):
    plan = {"mild": MILD, "harsh": HARSH, "none": {}}[options.plan]
    server = Server(plan, latency_s=options.latency, stall_s=options.stall, log_path=options.log)
    print(await server.start(options.port), flush=True)  # noqa: T201 - who starts it reads the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--stall", type=float, default=30.0, help="seconds a stalled answer takes")
    parser.add_argument("--plan", choices=["mild", "harsh", "none"], default="mild")
    parser.add_argument("--log", help="JSON Lines file for the requests")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(_run(parser.parse_args())))
