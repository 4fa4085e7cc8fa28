"""From the text of an answer to a verdict, or to the reason why there is none."""

# ruff: noqa: RUF001, E501 - the punctuation of other scripts is the subject, and a pattern is one piece

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from defake.records import Label

from .answers import Outcome, Reading
from .wording import (
    FAKE_WORDS,
    FAKE_ZH,
    NEGATION,
    NEGATION_ZH,
    NO,
    NO_ZH,
    NOT_ASSERTED,
    PHOTO_NOUN,
    REAL_WORDS,
    REAL_ZH,
    REFUSAL,
    YES,
    YES_ZH,
)

_OPPOSITE = {Label.FAKE: Label.REAL, Label.REAL: Label.FAKE}
_UNPARSED = Reading(Outcome.UNPARSED)
_TRUNCATED_STOPS = ("max_tokens", "model_length", "length")

_REACH = 160  # characters; what stands farther from a word does not negate or assert it, and time stays linear
_HEAD, _TAIL = 4_000, 12_000  # characters read of a longer answer: verdicts stand at its ends

_THOUGHT_ENDS = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.IGNORECASE)
_THOUGHT_BEGINS = re.compile(r"<(?:think|thinking|reasoning|thought)>", re.IGNORECASE)
_MARKUP = re.compile(r"[*_`#>|~\"“”„«»「」『』【】]+")
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]+)\}")
_JSON = re.compile(r"\{[^{}]*\}")
_JSON_PAIR = re.compile(r'"(verdict|answer|label|judg(?:e?)ment|authenticity|conclusion|result)"\s*:\s*"([^"]+)"')
_JSON_KEYS = ("verdict", "answer", "final_answer", "label", "judgment", "judgement", "authenticity", "conclusion",
              "result", "prediction", "classification")  # fmt: skip
_ANNOUNCED = re.compile(
    r"(?:^|[\n.!?。] ?|\b)(?:(?:my |the )?(?:final |overall |binari[sz]ed )*(?:answer|verdict|conclusion|judge?ment|decision|classification)"
    r"(?: is| would be)?(?: that)?|结论|答案|判断|最终判断)[ ]?(?:[:：\-–—=]|(?<= is)|(?<=be)|是|为)[ ]?([^\n]+)"
)
_LEAD = re.compile(
    rf"^(?:(?P<yes>{YES})|(?P<no>{NO}))(?=$|[\s]*[,.;:!\n\-–—()\]]|\s+(?:it|this|the|that|i|because|there|a|an)\b)"
)
_LEAD_ZH = re.compile(rf"^(?:(?P<no>{NO_ZH})|(?P<yes>{YES_ZH}))(?=$|[\s,.;:!。，；：！])")
_ALONE = re.compile(rf"^(?:(?P<yes>{YES}|{YES_ZH})|(?P<no>{NO}|{NO_ZH}))[\s.!。]*$")
_WORD = re.compile(
    rf"(?<![\w-])(?P<fake>{FAKE_WORDS})(?![\w])|(?<![\w-])(?P<real>{REAL_WORDS})(?![\w])"
    rf"|\b(?:is|'s|it's|be|as) (?:\w+ly |just |indeed )*(?:an? )(?P<noun>{PHOTO_NOUN})\b(?! of an? (?:screen|painting))"
    rf"|(?P<fake_zh>{FAKE_ZH})|(?P<real_zh>{REAL_ZH})"
)
_NEGATED = re.compile(rf"(?:\b{NEGATION}|n't)\b(?:[^\S\n]+(?!but\b)[\w'-]+){{0,6}}[^\S\n]*$")
_NEGATED_ZH = re.compile(rf"{NEGATION_ZH}[^，。,.!！?？\n]{{0,4}}$")
_COPULA = re.compile(
    r"(?:\b(?:is|isn't|was|are|be|as|it's|that's|looks?|seems?|appears?|likely|probably|definitely|clearly|considered|say|therefore|so|hence"
    r"|conclude|classified)\b[\w' -]{0,40}|[,:→] ?|是[^，。,.]{0,8}|属于[^，。,.]{0,4}|为)$"
)
# A sentence that opens with the word asserts it only if it says little more: "Fake.", "A real photo, because …".
_OPENING = re.compile(r"^\W*(?:(?:this is|an?|the) )?(?:not )?$")
_LITTLE_MORE = re.compile(
    r"^\W*(?:(?:image|photo|picture|photograph|one)\b)?\s*(?:$|[.,;:!\n()—–-]|(?:because|since|due|as)\b)"
)
# "A fake plant" is about the plant: before another noun the word asserts nothing about the image.
_OF_ANOTHER_NOUN = re.compile(
    r"^ (?!(?:[\w-]+ ){0,3}(?:image|photo|picture|photograph|one|artwork|art|painting|illustration|render\w*|work|scene)s?\b)"
    r"(?!(?:and|or|but|because|since|due|as|in|with|rather|not|based|given|for|to|than|so|if|by|at|on|from|when|while"
    r"|which|that|this|it|i|the|despite|though|although|judging|overall|using|through|without|after|considering|is|nor)\b)\w"
)
_SENTENCE = re.compile(
    r"(?:(?!\b(?:but|however)\b)[^.!?;\n。！？；]|^(?:but|however))+(?:[.!?;\n。！？；]+|$|(?=but|however))|\b(?:but|however)\b"
)
_ABBREVIATION = re.compile(r"\ba\.i\.")


def tidy(text: str) -> str:
    """The answer without thoughts and markup, in one spelling: NFKC, lower case, straight apostrophes."""
    plain = unicodedata.normalize("NFKC", without_thoughts(text)).lower().replace("’", "'").replace("‘", "'")
    plain = _BOXED.sub(r"\nanswer: \1\n", plain)
    plain = _ABBREVIATION.sub("ai", _MARKUP.sub(" ", plain))
    return re.sub(r"[^\S\n]+", " ", plain).strip()


def without_thoughts(text: str) -> str:
    """The answer without its `<think>` part, and of a very long one the two ends.

    Some chat templates open the thought themselves, so that only its end shows: what follows the last end counts.
    """
    said = _THOUGHT_BEGINS.split(_THOUGHT_ENDS.split(text)[-1], maxsplit=1)[0]
    return said if len(said) <= _HEAD + _TAIL else f"{said[:_HEAD]}\n{said[-_TAIL:]}"


def read_verdict(  # noqa: PLR0911 - each rule that decides returns
    text: str, *, yes_means: Label | None = None, prompt: str = "", stop_reason: str = "stop"
) -> Reading:
    """Read fake or real out of an answer.

    `yes_means` is what "yes" says about the image, None if the question is not a yes-or-no question; `prompt` is taken
    off when the answer repeats it. Rules in order: a JSON answer; an announced one ("Answer: …"); a leading yes or no;
    asserted words with their negations, of which the last sentence decides. A cut-off answer counts only if one of the
    first three found a verdict.

    Source: ours (the paper says "exact keyword matching" and its list is not public).
    """
    if stop_reason == "content_filter":
        return Reading(Outcome.REFUSAL, rule="content filter")
    plain = tidy(text)
    echo = tidy(prompt)
    if echo and plain.startswith(echo):
        plain = plain[len(echo) :].lstrip(" \n:")
    cut = stop_reason in _TRUNCATED_STOPS
    found = _structured(text, yes_means) or _announced(plain, yes_means)
    if found:
        return found
    words = _by_words(plain)
    if re.match(r"yes and no\b", plain):
        return Reading(Outcome.AMBIGUOUS, rule="yes and no")
    lead = None if yes_means is None else _yes_or_no(plain, yes_means)
    if lead is not None:
        if words.label not in (None, lead) and words.rule == "asserted words":
            return Reading(Outcome.AMBIGUOUS, rule="yes or no against the words")
        return Reading(Outcome.OK, lead, "yes or no")
    if cut:
        return Reading(Outcome.TRUNCATED, rule="cut off before a verdict")
    if words.outcome is Outcome.OK and words.rule == "asserted words":
        return words
    if REFUSAL.search(plain):
        return Reading(Outcome.REFUSAL, rule="declines or cannot tell")
    return words


def read_open(text: str, *, stop_reason: str = "stop") -> Reading:
    """Read an open answer: OK if there is one, else why not; an open answer has no verdict.

    Source: ours.
    """
    plain = tidy(text)
    if stop_reason == "content_filter":
        return Reading(Outcome.REFUSAL, rule="content filter")
    if stop_reason in _TRUNCATED_STOPS:
        return Reading(Outcome.TRUNCATED, rule="cut off")
    if not re.search(r"\w", plain):
        return Reading(Outcome.UNPARSED, rule="empty")
    first = plain[:160]
    declined = re.search(
        r"^(?:i'?m|i am) (?:sorry|unable|not able)|^(?:sorry|unfortunately)\b|\bi (?:can ?not|can't|won't|am unable to|'m unable to) "
        r"(?:\w+ )?(?:help|assist|provide|answer|analy[sz]e|view|see|determine|comment|comply)|^(?:抱歉|对不起)|^as an? (?:ai|language model)",
        first,
    )
    return Reading(Outcome.REFUSAL, rule="declines") if declined else Reading(Outcome.OK, rule="open")


_NO_FAULTS = re.compile(
    r"^\W*(?:none|no|nothing|n/a)\W*$|^\W*none\b"
    r"|\b(?:no|(?:not|n't)(?: \w+){0,2} any|without(?: any)?) (?:\w+ ){0,4}?(?:signs?|faults?|artifacts?|artefacts?|evidence|indications?|clues?|anomal\w+|inconsistenc\w+)"
    r"|没有(?:明显)?(?:的)?(?:迹象|瑕疵|异常|问题)"
)


def read_faults(text: str, *, stop_reason: str = "stop") -> Reading:
    """Read whether an answer names faults (FAKE) or finds none or objects that the image is real (REAL).

    Source: ours; the paper asks for faults on fake images only.
    """
    reading = read_open(text, stop_reason=stop_reason)
    if reading.outcome is not Outcome.OK:
        return reading
    plain = tidy(text)
    words = _by_words(plain)
    if words.rule == "asserted words" and words.label is not None:
        return Reading(Outcome.OK, words.label, "says so")
    if _NO_FAULTS.search(plain[:200]):
        return Reading(Outcome.OK, Label.REAL, "no faults named")
    return Reading(Outcome.OK, Label.FAKE, "faults named")


def _structured(text: str, yes_means: Label | None) -> Reading | None:
    """The verdict of a JSON object in the answer, whole or cut off."""
    lowered = unicodedata.normalize("NFKC", without_thoughts(text)).lower()
    for found in reversed(_JSON.findall(lowered)):
        try:
            fields = json.loads(found)
        except ValueError:
            continue
        label = _from_fields(fields, yes_means)
        if label is not None:
            return Reading(Outcome.OK, label, "JSON")
    for _, value in reversed(_JSON_PAIR.findall(lowered)):
        label = _one_phrase(value, yes_means)
        if label is not None:
            return Reading(Outcome.OK, label, "JSON")
    return None


def _from_fields(fields: dict[str, Any], yes_means: Label | None) -> Label | None:
    for key in _JSON_KEYS:
        if isinstance(fields.get(key), str):
            return _one_phrase(fields[key], yes_means)
    for label in Label:
        for key in (f"is_{label}", str(label)):
            said = fields.get(key)
            if isinstance(said, bool):
                return label if said else _OPPOSITE[label]
    fake, real = fields.get("fake"), fields.get("real")
    if isinstance(fake, (int, float)) and isinstance(real, (int, float)) and fake != real:
        return Label.FAKE if fake > real else Label.REAL
    return None


def _one_phrase(phrase: str, yes_means: Label | None) -> Label | None:
    """The verdict of a short phrase that is nothing but the answer."""
    plain = tidy(phrase)
    alone = None if yes_means is None else _yes_or_no(plain, yes_means)
    return alone if alone is not None else _by_words(plain).label


def _announced(plain: str, yes_means: Label | None) -> Reading | None:
    for phrase in reversed(_ANNOUNCED.findall(plain)):
        label = _one_phrase(phrase, yes_means)
        if label is not None:
            return Reading(Outcome.OK, label, "announced answer")
    return None


def _yes_or_no(plain: str, yes_means: Label) -> Label | None:
    """The verdict of a leading yes or no, or of one that stands alone on the last line."""
    start = re.sub(r"^(?:a|answer|ans|答)\s?[:：]\s?", "", plain.lstrip(" .,-–:\n([{"))
    last = plain.rsplit("\n", 1)[-1].strip()
    last_sentence = re.split(r"[.!?。]\s+", last)[-1]
    found = _LEAD.match(start) or _LEAD_ZH.match(start) or _ALONE.match(last) or _ALONE.match(last_sentence)
    if not found:
        return None
    return yes_means if found.group("yes") else _OPPOSITE[yes_means]


def _by_words(plain: str) -> Reading:
    """The verdict of the words for fake and real: asserted ones before mere mentions, the last sentence decides."""
    asserted: list[set[Label]] = []
    mentioned: set[Label] = set()
    blanked = NOT_ASSERTED.sub(lambda m: " " * len(m.group()), plain)
    for sentence in _SENTENCE.findall(_LEAD.sub("", blanked.lstrip(" (["))):
        if sentence.rstrip().endswith(("?", "？")):
            continue
        here: set[Label] = set()
        for match in _WORD.finditer(sentence):
            label = _meaning(match, sentence)
            mentioned.add(label)
            if match.group("noun") or _is_asserted(match, sentence):
                here.add(label)
        if here:
            asserted.append(here)
    if asserted:
        if len(asserted[-1]) == 1:
            return Reading(Outcome.OK, next(iter(asserted[-1])), "asserted words")
        return Reading(Outcome.AMBIGUOUS, rule="fake and real in one sentence")
    if len(mentioned) == 1:
        return Reading(Outcome.OK, next(iter(mentioned)), "mentioned words")
    return Reading(Outcome.AMBIGUOUS, rule="fake and real mentioned") if mentioned else _UNPARSED


def _is_asserted(match: re.Match[str], sentence: str) -> bool:
    after = sentence[match.end() : match.end() + _REACH]
    if _OF_ANOTHER_NOUN.match(after):
        return False
    if _COPULA.search(_before(match, sentence)):
        return True
    opens = match.start() < _REACH and _OPENING.match(sentence[: match.start()])
    return bool(opens and _LITTLE_MORE.match(after))


def _meaning(match: re.Match[str], sentence: str) -> Label:
    """What a word says once its negation is counted; a comma ends the reach of a negation: "not fake, real"."""
    chinese = match.group("fake_zh") or match.group("real_zh")
    said = Label.FAKE if match.group("fake") or match.group("fake_zh") else Label.REAL
    clause = re.split(r"[,，:：]| yet ", _before(match, sentence))[-1]
    return _OPPOSITE[said] if (_NEGATED_ZH if chinese else _NEGATED).search(clause) else said


def _before(match: re.Match[str], sentence: str) -> str:
    return sentence[max(0, match.start() - _REACH) : match.start()]
