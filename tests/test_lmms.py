"""Local models as Inspect providers: detectors that answer, chat models that read each image once."""

import base64
import io
import math
import sys

import anyio
import numpy as np
import pytest
from inspect_ai import Task, eval  # noqa: A004 - Inspect's own name
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageTool,
    ChatMessageUser,
    ContentAudio,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)
from PIL import Image

import defake.lmms
from defake.detectors import Detector
from defake.errors import BadConfig, BadImage
from defake.lmms.answering import words_for
from defake.lmms.gathering import Gatherer
from defake.lmms.messages import image_bytes, read_messages
from defake.questions import asking
from defake.questions.forced import p_fake
from defake.records import Label
from defake.registry import DETECTORS, Card, Entry

# Inspect leaves its own streams to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed <MemoryObject:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Brightness(Detector):
    """Says that bright images are fake; a black one has no score. Counts what it looked at."""

    seen = 0

    def __init__(self, gain=1.0):
        self.gain = gain

    def score(self, images):
        """Mean brightness, NaN for black."""
        Brightness.seen += len(images)
        return np.array([math.nan if not image.any() else min(self.gain * image.mean() / 255, 1) for image in images])


@pytest.fixture(scope="module", autouse=True)
def brightness():
    """The scripted detector under its own name."""
    if "test-brightness" not in DETECTORS.names():
        DETECTORS.add(
            Entry(
                "test-brightness",
                f"{__name__}:Brightness",
                Card("scripted", score="mean brightness", licence="Apache-2.0"),
            )
        )
    sys.modules.setdefault(__name__, sys.modules[Brightness.__module__])


def uri(array):
    """An image as Inspect sends it."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def flat(level):
    """A grey image."""
    return uri(np.full((32, 32, 3), level, dtype=np.uint8))


def say(text, *images):
    """One user message, text first as many harnesses send it."""
    return [ChatMessageUser(content=[ContentText(text=text), *(ContentImage(image=i) for i in images)])]


def generate(model, asked, **config):
    """The outputs of several messages, asked at once; exceptions stay in their places."""
    found = [None] * len(asked)

    async def one(i):
        try:
            found[i] = await model.api.generate(asked[i], [], "none", GenerateConfig(**config))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found[i] = error

    async def all_of_them():
        async with anyio.create_task_group() as group:
            for i in range(len(asked)):
                group.start_soon(one, i)

    anyio.run(all_of_them)
    return found


# Detectors


@pytest.mark.parametrize("question_type", asking.QUESTION_TYPES)
@pytest.mark.parametrize("prompts", list(asking.Prompts))
@pytest.mark.parametrize("reasons_first", [False, True])
def test_a_detector_answers_every_wording(question_type, prompts, reasons_first):
    """Whatever the wording, the answer reads back as the detector's label, and P(fake) as its score."""
    question = asking.detection_question(question_type, prompts, reasons_first=reasons_first)
    model = get_model("defake/test-brightness", memoize=False)
    for level, label in ((204, Label.FAKE), (51, Label.REAL)):
        (output,) = generate(model, [say(question.prompt, flat(level))], logprobs=True, top_logprobs=20)
        reading = question.read(output.completion)
        assert reading.label is label
        tokens = output.choices[0].logprobs.content
        alternatives = [{t.token: t.logprob for t in place.top_logprobs} for place in tokens]
        assert p_fake(question, [t.token for t in tokens], alternatives, label) == pytest.approx(level / 255)


def test_a_detector_declines_what_it_cannot_answer():
    """Open questions, no image, two images and tools are refused with what to do; a NaN score is no verdict."""
    model = get_model("defake/test-brightness", memoize=False)
    open_one, none, two, black = generate(
        model,
        [
            say("How is the texture?", flat(9)),
            say(asking.PAPER_WHAT),
            say(asking.PAPER_WHAT, flat(1), flat(2)),
            say(asking.PAPER_WHAT, flat(0)),
        ],
    )
    assert isinstance(open_one, BadConfig)
    assert "for open questions take a chat model" in str(open_one)
    assert "one image" in str(none)
    assert "one image" in str(two)
    assert black.completion == "I cannot tell."
    assert black.choices[0].logprobs is None


def test_an_image_is_scored_once_for_all_wordings():
    """Six questions about two images cost two looks."""
    model = get_model("defake/test-brightness", memoize=False)
    Brightness.seen = 0
    asked = [say(text, flat(level)) for level in (10, 250)
             for text in (asking.PAPER_WHAT, asking.PAPER_FAKE_YN, asking.PAPER_REAL_YN)]  # fmt: skip
    answers = [output.completion for output in generate(model, asked)]
    assert Brightness.seen == 2
    assert answers == ["real", "no", "yes", "fake", "yes", "no"]


def test_threshold_and_detector_options():
    """The threshold moves the word, not P(fake); further options are the detector's; wrong ones are named."""
    (output,) = generate(get_model("defake/test-brightness", memoize=False, threshold=0.9, gain=1.0),
                         [say(asking.PAPER_WHAT, flat(204))], logprobs=True)  # fmt: skip
    assert output.completion == "real"
    assert math.exp(output.choices[0].logprobs.content[0].top_logprobs[0].logprob) == pytest.approx(0.8)
    with pytest.raises(BadConfig, match="threshold must lie in"):
        get_model("defake/test-brightness", memoize=False, threshold=2)
    with pytest.raises(BadConfig, match="does not take these options"):
        get_model("defake/test-brightness", memoize=False, gian=2)


def test_certainty_stays_finite():
    """A score of exactly 1 gives log-probabilities a JSON log can hold."""
    (output,) = generate(get_model("defake/test-brightness", memoize=False), [say(asking.PAPER_WHAT, flat(255))],
                         logprobs=True)  # fmt: skip
    assert all(math.isfinite(t.logprob) for t in output.choices[0].logprobs.content[0].top_logprobs)


def test_a_detector_runs_inside_an_evaluation(tmp_path):
    """Under Inspect itself: a broken image is that sample's error, the others are answered."""
    samples = [Sample(id=str(i), input=say(asking.PAPER_WHAT, image))
               for i, image in enumerate([flat(200), "data:image/png;base64,bm9uc2Vuc2U=", flat(20)])]  # fmt: skip
    (log,) = eval(Task(samples), model=get_model("defake/test-brightness", memoize=False), log_dir=str(tmp_path),
                  display="none", fail_on_error=False)  # fmt: skip
    by_id = {s.id: s for s in log.samples}
    assert [by_id[k].output.completion for k in "02"] == ["fake", "real"]
    assert "not_an_image" in str(by_id["1"].error.message) or "image" in str(by_id["1"].error.message)


def test_words_follow_the_side_that_is_asked():
    """Yes means what the question names first."""
    assert words_for("Is this a fake image, yes or no?") == {Label.FAKE: "yes", Label.REAL: "no"}
    assert words_for("Is this image real, that is, not generated? yes or no") == {Label.FAKE: "no", Label.REAL: "yes"}
    assert words_for("real or fake?") == {Label.FAKE: "fake", Label.REAL: "real"}
    for question in ("", "yes or no?", "Describe the fake.", "\u771f\u5047"):
        with pytest.raises(BadConfig):
            words_for(question)


# Messages


def test_odd_messages_are_refused_by_name():
    """Audio, tool results, network addresses, broken base64 and missing files each get their own sentence."""
    with pytest.raises(BadConfig, match="but got ContentAudio"):
        read_messages([ChatMessageUser(content=[ContentAudio(audio="x.wav", format="wav")])])
    with pytest.raises(BadConfig, match="but got 'tool'"):
        read_messages([ChatMessageTool(content="x")])
    with pytest.raises(BadConfig, match="fetches nothing"):
        image_bytes("https://example.org/a.png")
    with pytest.raises(BadImage, match="not base64"):
        image_bytes("data:image/png;base64,%%%")
    with pytest.raises(BadImage, match="cannot read the image"):
        image_bytes("/nowhere/a.png")


# Gathering


def test_questions_are_gathered_and_answered_in_order():
    """Forty jobs come in groups of at most eight, each gets its own result, a failing one its own exception."""
    groups = []

    def work(jobs):
        groups.append(len(jobs))
        return [ValueError(f"no {job}") if job == 13 else job * job for job in jobs]

    gatherer = Gatherer(work, 8)
    found = {}

    async def one(i):
        try:
            found[i] = await gatherer.ask(i)
        except ValueError as error:
            found[i] = str(error)

    async def all_of_them():
        async with anyio.create_task_group() as group:
            for i in range(40):
                group.start_soon(one, i)

    anyio.run(all_of_them)
    gatherer.close()
    gatherer.close()
    assert found == {i: "no 13" if i == 13 else i * i for i in range(40)}
    assert max(groups) <= 8
    assert len(groups) < 40


def test_work_that_breaks_fails_everyone_and_the_thread_goes_on():
    """An exception of the whole group reaches each who waits; the next job is answered."""

    def work(jobs):
        if "bad" in jobs:
            raise RuntimeError("broken")
        return list(jobs)

    gatherer = Gatherer(work, 4)
    with pytest.raises(RuntimeError, match="broken"):
        anyio.run(gatherer.ask, "bad")
    assert anyio.run(gatherer.ask, "good") == "good"
    gatherer.close()


def test_both_providers_are_registered(tmp_path):
    """Importing the package is what the entry point does; both names are then known to Inspect."""
    assert defake.lmms.detector_provider
    with pytest.raises(Exception, match="no usable model at"):
        get_model(f"defake-hf/{tmp_path}", memoize=False)
