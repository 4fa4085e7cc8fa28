"""Inspect logs of small benchmark runs, written by Inspect itself with scripted models."""

import json

from inspect_ai import Task, eval  # noqa: A004 - Inspect's own name
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, scorer

from defake.bench.open_answers import open_answer

USAGE = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else tokens are counted over the network


def scripted(name, reply):
    """A mock model that answers `reply(text of the last message)`; an exception is raised."""

    def outputs(messages, tools, tool_choice, config):
        del tools, tool_choice, config
        found = reply(messages[-1].text)
        if isinstance(found, Exception):
            raise found
        output = ModelOutput.from_content(f"mockllm/{name}", found)
        output.usage = USAGE
        return output

    return get_model(f"mockllm/{name}", custom_outputs=outputs, memoize=False)


@scorer(metrics=[], name="verdict")
def plain_verdict():
    """What the verdict scorer logs: the answer is `fake 0.9`, `real`, or anything else (a refusal)."""

    async def score(state, target):
        del target
        word, _, p = state.output.completion.partition(" ")
        label = state.metadata["authenticity"]
        known = word in ("fake", "real")
        facts = {"outcome": "ok" if known else "refusal", "p_fake": float(p) if known and p else None}
        value = ("C" if word == label else "I") if known else "N"
        return Score(value=value, answer=word if known else None, metadata=facts)

    return score


@scorer(metrics=[], name="outcome")
def plain_outcome():
    """Outcome of an open question."""

    async def score(state, target):
        del state, target
        return Score(value="N", metadata={"outcome": "ok", "p_fake": None})

    return score


def detection_samples(count=6):
    """`count` fakes of two generators and as many photographs, one wording each in turn."""
    samples = []
    for i in range(2 * count):
        fake = i < count
        facts = {
            "task": "fakeclass", "authenticity": "fake" if fake else "real", "question": f"q{i}",
            "question_type": ["what", "fake_yn", "real_yn"][i % 3],
            "generator": ["dalle3", "Glide"][i % 2] if fake else None,
            "content": ["people"] if i % 2 else ["things", "photo"],
            "image_key": f"{i}.png", "file": f"{i}.png",
        }  # fmt: skip
        samples.append(Sample(id=f"{i}.png|q", input=f"q{i}", target=facts["authenticity"], metadata=facts))
    return samples


def open_samples(task, count=3):
    """Questions on edge and texture about `count` fakes and one photograph; references speak of their image."""
    samples = []
    for i in range(count + 1):
        for criterion in ("edge", "texture"):
            fake = i < count
            facts = {
                "task": task, "authenticity": "fake" if fake else "real", "question": f"How is the {criterion}?",
                "criterion": criterion if task == "fakeqa" else None, "generator": "SD" if fake else None,
                "content": ["things"],
                "image_key": f"{i}.png", "file": f"{i}.png", "clues": [criterion] if fake else [],
                "slot": f"Q{1 + (criterion == 'edge')}", "caption": f"picture {i}",
            }  # fmt: skip
            samples.append(Sample(id=f"{i}|{criterion}", input=f"{i} {criterion}", metadata=facts,
                                  target=f"The {criterion} of number {i} is jagged."))  # fmt: skip
    return samples


def write_log(folder, samples, reply, *, name="candidate", judge=None, opened=False, rounds=1):
    """Run samples under Inspect into `folder`; the log."""
    scorers = [plain_outcome(), open_answer(judge_rounds=rounds, similarity=False)] if opened else [plain_verdict()]
    (log,) = eval(
        Task(samples, scorer=scorers, name=samples[0].metadata["task"]), model=scripted(name, reply),
        log_dir=str(folder), model_roles={"judge": judge} if judge else None, fail_on_error=False, display="none",
    )  # fmt: skip
    return log


def strict_judge(name="referee"):
    """A judge that gives 2 where the reference is in the answer, else 0."""

    def reply(prompt):
        answer = prompt.split("<answer>")[1].split("</answer>")[0].strip()
        reference = prompt.split("<reference>")[1].split("</reference>")[0].strip()
        return json.dumps({"reason": "", "score": 2 if reference in answer else 0})

    return scripted(name, reply)
