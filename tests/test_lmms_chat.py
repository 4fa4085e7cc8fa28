"""Chat models: batches equal single calls, an image is encoded once, tokens are counted offline."""

import math

import anyio
import numpy as np
import pytest
import tiny_models
import torch
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    get_model,
)
from test_lmms import generate, say, uri

import defake.lmms  # noqa: F401 - registers the providers
from defake.errors import BadConfig
from defake.lmms.generation import Recorder
from defake.lmms.messages import read_messages

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:transformers"),
]
QUESTIONS = [
    "How is the texture?",
    "How is the light & shadow regarding the authenticity of this image?",
    "fake or real?",
]
REUSING = ["llava", "idefics3"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny random models, built on first use, by name."""
    made = {}

    def get(name, **options):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            tiny_models.SAVERS[name](folder)
            made[name] = folder
        return get_model(f"defake-hf/{made[name]}", memoize=False, device="cpu", **options)

    return get


@pytest.fixture(scope="module")
def images():
    """Three images of different sizes."""
    return [uri(a) for a in tiny_models.noise_images(np.random.default_rng(0), 3)]


def tokens_of(output):
    """The log-probability of each generated token."""
    return [t.logprob for t in output.choices[0].logprobs.content]


@pytest.mark.parametrize("name", [*REUSING, "blip2", "blip2-t5"])
def test_batches_say_what_single_calls_say(models, images, name):
    """Nine questions at once, three images: the same words and log-probabilities as one whole call each."""
    asked = [say(question, image) for image in images for question in QUESTIONS]
    together = generate(models(name, batch_size=4), asked, max_tokens=6, logprobs=True, top_logprobs=3)
    single = models(name, batch_size=1)
    single.api.prompter.reuses = False
    for one, output in zip(asked, together, strict=True):
        (alone,) = generate(single, [one], max_tokens=6, logprobs=True, top_logprobs=3)
        assert output.completion == alone.completion
        assert tokens_of(output) == pytest.approx(tokens_of(alone), abs=1e-3)
        assert output.usage.input_tokens == alone.usage.input_tokens


@pytest.mark.parametrize("name", REUSING)
def test_an_image_is_encoded_once_for_all_its_questions(models, images, name):
    """Nine questions about three images encode three, and one more for the check that going on is exact."""
    model = models(name)
    generate(model, [say(q, image) for image in images for q in QUESTIONS], max_tokens=2)
    assert model.api.prompter.reuses
    assert model.api.prompter.encoded == 4
    generate(model, [say("And the edges?", images[2])], max_tokens=2)
    assert model.api.prompter.encoded == 4  # still in memory


def test_a_model_that_cannot_go_on_is_found_out(models, images, monkeypatch, caplog):
    """If the two readings of the first question differ, a warning is logged and every question is read whole."""
    model = models("llava")
    prompter = model.api.prompter
    right = prompter._going_on

    def wrong(group):
        batch = right(group)
        for layer in batch.inputs["past_key_values"].layers:
            layer.values = torch.zeros_like(layer.values)
        return batch

    monkeypatch.setattr(prompter, "_going_on", wrong)
    (output,) = generate(model, [say(QUESTIONS[0], images[0])], max_tokens=4)
    assert not prompter.reuses
    assert "every question is read whole" in caplog.text
    (alone,) = generate(models("llava"), [say(QUESTIONS[0], images[0])], max_tokens=4)
    assert output.completion == alone.completion


def test_log_probabilities_are_what_the_model_says(models, images):
    """The first token's alternatives equal a plain forward pass, and the token taken is the likeliest (greedy)."""
    model = models("llava")
    (output,) = generate(model, [say(QUESTIONS[2], images[0])], max_tokens=1, logprobs=True, top_logprobs=5)
    api = model.api
    batch = api.prompter.whole([api._asked(read_messages(say(QUESTIONS[2], images[0])), {})])
    with torch.inference_mode():
        expected = api.prompter.model(**batch.inputs).logits[0, -1].log_softmax(-1).topk(5).values.tolist()
    (place,) = output.choices[0].logprobs.content
    assert [t.logprob for t in place.top_logprobs] == pytest.approx(expected, abs=1e-4)
    assert place.logprob == pytest.approx(expected[0], abs=1e-4)
    assert place.token == place.top_logprobs[0].token


def test_the_recorder_keeps_what_was_taken():
    """Two steps by hand: the taken token's log-probability even where it is not among the likeliest."""
    recorder = Recorder(1)
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    recorder(torch.tensor([[9]]), logits)
    recorder(torch.tensor([[9, 2]]), logits)
    recorder.finish(torch.tensor([[9, 2, 0]]))
    assert [math.exp(t.item()) for t in recorder.taken] == pytest.approx([0.1, 0.7])
    assert [math.exp(v.item()) for v, _ in recorder.top] == pytest.approx([0.7, 0.7])


def test_tokens_are_counted_offline(models, images):
    """Text by the tokenizer, an image by the processor: no more than what generation reports."""
    model = models("llava")

    async def count():
        text = await model.api.count_text_tokens("fake or real?")
        image = await model.api.count_media_tokens(ContentImage(image=images[0]))
        whole = await model.api.count_tokens(say("fake or real?", images[0]))
        return text, image, whole

    text, image, whole = anyio.run(count)
    assert text == len(model.api.prompter.tokenizer("fake or real?")["input_ids"])
    assert image == (32 // 8) ** 2
    assert whole >= text + image


def test_lengths_stops_and_sampling(models, images):
    """A cut reply says so; stop sequences end one; a seed repeats a sampled one; greedy is the default."""
    model = models("llava")
    (cut,) = generate(model, [say(QUESTIONS[0], images[0])], max_tokens=3)
    assert cut.stop_reason == "max_tokens"
    assert cut.usage.output_tokens == 3
    (again,) = generate(model, [say(QUESTIONS[0], images[0])], max_tokens=3)
    assert again.completion == cut.completion
    sampled = [generate(model, [say(QUESTIONS[0], images[0])], max_tokens=8, temperature=2.0, seed=s)[0].completion
               for s in (1, 1, 2)]  # fmt: skip
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_bad_image_is_one_questions_problem(models, images):
    """Of three questions asked together the broken one fails, the others are answered."""
    good, bad, other = generate(
        models("llava"),
        [say("a?", images[0]), say("b?", "data:image/png;base64,bm8="), say("c?", images[1])],
        max_tokens=2,
    )
    assert "not" in str(bad)
    assert isinstance(bad, Exception)
    assert good.choices
    assert other.choices


def test_conversations_systems_and_text_alone(models, images):
    """A system message, an earlier answer, several images and no image at all are all answered."""
    model = models("idefics3")
    turns = [
        ChatMessageSystem(content="Be brief."),
        ChatMessageUser(content=[ContentImage(image=images[0]), ContentText(text="One?")]),
        ChatMessageAssistant(content="Yes."),
        ChatMessageUser(content=[ContentImage(image=images[1]), ContentText(text="Two?")]),
    ]
    found = generate(model, [turns, say("No image?"), say("Both?", *images[:2])], max_tokens=2)
    assert all(output.choices for output in found)


def test_a_captioner_takes_no_question(models):
    """ViT-GPT2 has no place for a question; that is said at once, not answered with a caption."""
    with pytest.raises(BadConfig, match="only captions and takes no question"):
        models("vit-gpt2")
