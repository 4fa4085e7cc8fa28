"""Clue coverage: which criteria a text speaks of and which it calls faulty."""

import pytest

from defake.errors import BadConfig
from defake.metrics.clues import coverage, faulted, has_fault, mentioned
from defake.questions.criteria import CRITERIA, CRITERION_IDS


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.id)
def test_every_criterion_is_known_by_its_name(criterion):
    """A text that names a criterion mentions it."""
    assert criterion.id in mentioned(f"Consider the {criterion.name} of this image.")


FAULTS = {
    "The shadows are inconsistent with the light source.": {"light_shadow"},
    "The texture is natural, but the edges are jagged": {"edge"},
    "Skin looks overly smooth and waxy.": {"texture"},
    "Fingers are missing.": {"content_deficiency"},
    "**Text** is garbled and illegible": {"distortion"},
    "The colours are over-saturated.": {"overall_tone"},
    "The reflection doesn't match the scene.": {"reflection"},
    "The contours are blurred.": {"edge", "clarity"},
}


@pytest.mark.parametrize(("text", "criteria"), FAULTS.items())
def test_a_claimed_fault_is_found(text, criteria):
    """A criterion is faulted where its own clause says something is wrong."""
    assert faulted(text) == criteria


@pytest.mark.parametrize(
    "text",
    [
        "No distortion is visible and the texture looks natural.",
        "There are no unnatural edges or warped shapes.",
        "This is a real photograph. The lighting is consistent and the edges are sharp.",
        "Nothing unusual about the colours.",
        "The overall tone is warm.",
        "The background blur is typical of a shallow depth of field.",
        "It isn't AI-generated.",
        "",
        "图像的纹理很自然",
    ],
)
def test_a_denied_fault_is_none(text):
    """Negated faults, praise, other languages and nothing at all claim no fault."""
    assert not has_fault(text)
    assert faulted(text) == frozenset()


def test_coverage_by_hand():
    """Three criteria mentioned, two of the four golden ones among them: precision 2/3, recall 1/2."""
    found = coverage(
        "Edges are jagged, shadows are wrong, and the theme is odd.", ["edge", "theme", "shape", "symmetry"]
    )
    assert found.mentioned == {"edge", "light_shadow", "theme"}
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(1 / 2))


def test_undefined_coverage_is_none():
    """Nothing mentioned has no precision, and no golden clue leaves neither defined."""
    assert (coverage("A picture.", ["edge"]).precision, coverage("A picture.", ["edge"]).recall) == (None, 0.0)
    assert (coverage("The edge.", []).precision, coverage("The edge.", []).recall) == (None, None)


def test_an_unknown_golden_criterion_is_refused():
    """A typing error in the golden clues is said, with the names there are."""
    with pytest.raises(BadConfig, match="unknown criteria edges; known: texture"):
        coverage("x", ["edges"])


def test_the_lexicon_covers_the_14_criteria():
    """Its order and names are those of the questions."""
    assert len(CRITERION_IDS) == 14
