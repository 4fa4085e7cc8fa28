"""Overlap metrics: against slow twins, by hand, and on text nobody expects."""

import math
from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from defake.metrics.text import average, overlap, signatures, words


def slow_bleu(answer, references, order):
    """Sentence BLEU straight from the definition: clipped precisions, exponential smoothing, brevity penalty."""
    tokens = Tokenizer13a()(answer.lower()).split()
    refs = [Tokenizer13a()(r.lower()).split() for r in references]
    nearest = min((len(r) for r in refs), key=lambda n: (abs(n - len(tokens)), n))
    precisions, misses = [], 0
    for n in range(1, order + 1):
        grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        if not grams:
            break
        most = Counter()
        for r in refs:
            most |= Counter(tuple(r[i : i + n]) for i in range(len(r) - n + 1))
        hits = sum(min(count, most[gram]) for gram, count in grams.items())
        if n == 1 and not hits:
            return 0.0
        misses += not hits
        precisions.append(hits / grams.total() if hits else 1 / (2**misses * grams.total()))
    penalty = 1.0 if len(tokens) >= nearest else math.exp(1 - nearest / len(tokens))
    return penalty * math.prod(precisions) ** (1 / len(precisions))


def slow_rouge(answer, reference):
    """ROUGE-L F-measure with the longest common subsequence by recursion over a table."""
    a, b = words(answer), words(reference)
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    common = table[-1][-1]
    return 0.0 if not common else 2 * common / (len(a) + len(b))


def sentence(rng):
    """A random sentence over a small vocabulary, so that n-grams meet."""
    vocabulary = ["the", "texture", "edge", "is", "too", "smooth", "Blurred", "light,", "AI-generated", "and", "a"]
    return " ".join(rng.choice(vocabulary, rng.integers(1, 14))) + rng.choice(["", ".", "!"])


def test_overlap_equals_its_slow_twins():
    """BLEU-1, BLEU-2 and ROUGE-L agree with the definitions on 300 random sentences with one or two references."""
    rng = np.random.default_rng(7)
    for _ in range(300):
        answer, references = sentence(rng), [sentence(rng) for _ in range(rng.integers(1, 3))]
        found = overlap(answer, references)
        assert found.bleu1 == pytest.approx(slow_bleu(answer, references, 1)), (answer, references)
        assert found.bleu2 == pytest.approx(slow_bleu(answer, references, 2)), (answer, references)
        assert found.rouge_l == pytest.approx(max(slow_rouge(answer, r) for r in references))


def test_a_case_by_hand():
    """The cat sat, against the cat sat down: precisions 1 and 1, brevity e^(1-4/3), LCS 3 of 3 and 4."""
    found = overlap("the cat sat", ["The cat sat down"])
    assert found.bleu1 == pytest.approx(math.exp(-1 / 3))
    assert found.bleu2 == pytest.approx(math.exp(-1 / 3))
    assert found.rouge_l == pytest.approx(6 / 7)


def test_on_plain_english_rouge_is_the_library_default():
    """Our words are rouge_score's own tokens on ASCII text, so the usual figure comes out."""
    rng = np.random.default_rng(3)
    theirs = RougeScorer(["rougeL"])
    for _ in range(50):
        a, b = sentence(rng), sentence(rng)
        assert overlap(a, [b]).rouge_l == pytest.approx(theirs.score(b, a)["rougeL"].fmeasure)


@pytest.mark.parametrize(
    "text",
    [
        "这张图片的纹理太光滑了。",
        "この画像は偽物です",
        "이 이미지는 가짜입니다",
        "Die Schärfe fällt ab",
        "Тени неверны",
    ],
)
def test_other_languages_count(text):
    """An answer equal to its reference scores 1 in every script, and 0 against unrelated text."""
    same = overlap(text, [text])
    assert (same.bleu1, same.bleu2, same.rouge_l) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    other = overlap("nothing shared here", [text])
    assert (other.bleu1, other.bleu2, other.rouge_l) == (0, 0, 0)


def test_part_of_a_chinese_sentence_is_part_of_the_score():
    """Characters are words: five of six shared give five sixths, not zero."""
    assert overlap("这是假的图像", ["这是假的图片"]).bleu1 == pytest.approx(5 / 6)


def test_empty_answers_and_missing_references():
    """No words score 0; no reference makes the score undefined, never 0."""
    for nothing in ("", "   ", "...", "\n"):
        found = overlap(nothing, ["a reference"])
        assert (found.bleu1, found.bleu2, found.rouge_l) == (0, 0, 0)
        assert overlap("an answer", [nothing]) is None
    assert overlap("an answer", []) is None


def test_average_leaves_out_what_is_undefined():
    """A mean is over the answers that have the metric, with their number; over none it is None."""
    rows = [{"bleu1": 0.5, "sim": None}, {"bleu1": 0.1, "sim": None}, {"bleu1": None, "sim": None}]
    assert average(rows) == {"bleu1": (pytest.approx(0.3), 2), "sim": (None, 0)}


def test_signatures_tell_how_to_repeat_a_score():
    """Each metric prints its library version, case and tokens."""
    found = signatures()
    assert set(found) == {"bleu1", "bleu2", "rougeL"}
    assert "case:lc|eff:yes|tok:13a|smooth:exp|version:" in found["bleu1"]
    assert "rouge_score:" in found["rougeL"]
