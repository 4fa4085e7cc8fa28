"""The words by which an answer says fake, real, yes, no, or nothing: tables for the parser.

Source: ours, after the specification of what a FakeClass answer may look like.
"""

# ruff: noqa: RUF001, E501 - the punctuation of other scripts is the subject, and a pattern is one piece

from __future__ import annotations

import re

FAKE_WORDS = (
    r"(?:fake[sd]?|deep ?-?fake[sd]?|synthetic(?:ally)?|fabricated|inauthentic|non-?authentic|artificial"
    r"|(?:ai|a\.i\.|computer|machine|digitally|artificially|algorithmically|synthetically)[ -]?"
    r"(?:generated|created|made|produced|rendered|synthesi[sz]ed)"
    r"|(?:generated|created|made|produced|rendered|synthesi[sz]ed) (?:by|with|using|through) "
    r"(?:an? )?(?:ai|a\.i\.|artificial intelligence|computer|machine|generative|diffusion|gan|neural|algorithm)\w*"
    r"|cgi|ai[ -](?:art|image|picture|photo|creation)|computer graphics)"
)
# "real-world", "real life" and "real time" say nothing about the image; "unreal", "unrealistic" are no whole word "real".
REAL_WORDS = (
    r"(?:real(?![ -](?:world|life|time|estate)|-(?:looking|ish))|authentic|genuine"
    r"|(?:taken|captured|shot) (?:by|with|using|on) (?:an? )?(?:\w+ )?(?:camera|phone|smartphone|person|photographer)"
    r"|camera-captured|non-?(?:ai|fake)(?:[ -]generated)?)"
)
# A bare noun counts only straight after a copula: "it is a photograph", but not "a fake photograph".
PHOTO_NOUN = r"(?:photo|photograph|snapshot|natural (?:image|photo))"

YES = r"(?:yes|yeah|yep|yup|correct|true|indeed|certainly|definitely|absolutely)"
NO = r"(?:no|nope|nah|incorrect|false|negative)"
YES_ZH = r"(?:是的|是|对的|对|正确)"
NO_ZH = r"(?:不是|否|不|没有|错误|不对)"

FAKE_ZH = (
    r"(?:虚假|伪造|假的|假图|假|合成|(?:由|是)?(?:ai|人工智能|电脑|计算机|机器)(?:所)?(?:生成|合成|制作|创作)|生成的)"
)
REAL_ZH = r"(?:真实|真的|真图|真|实拍|拍摄的)"
NEGATION_ZH = r"(?:不是|并不是|并非|不像是|不太像|不像|不属于|没有被|没有|非|不)"

NEGATION = (
    r"(?:not|n't|never|neither|nor|no|hardly|scarcely|rather than|instead of|without|unlikely|isnt|wasnt|doesnt|lacks?"
    r"|far from|anything but|as opposed to)"
)

# Clauses in which the words stand without being asserted; blanked before words are counted.
_OPTIONS = r"(?:fake|real|synthetic|authentic|genuine|ai[ -]?generated|yes|no|a photograph|photograph)"
_FILLER = r"(?:(?:an?|the|image|photo|picture|photograph|one) )*"
NOT_ASSERTED = re.compile(
    "|".join(
        [
            # "fake or real", "real/fake", "either real or AI-generated": the choice, not the answer
            rf"\b(?:either )?{_FILLER}{_OPTIONS}(?: {_FILLER}|)(?:,? ?\bor\b ?|\s?/\s?|,? and/or )(?:not|{_FILLER}{_OPTIONS})\b",
            rf"\bbetween {_FILLER}{_OPTIONS} and {_FILLER}{_OPTIONS}\b",
            r"\b(?:if|whether|unless)\b[^.,;!?\n]*",
            (
                r"\b(?:can ?not|can't|could ?not|couldn't|unable to|not able to|not possible to|impossible to|hard to"
                r"|difficult to|do not|don't|would not|won't|will not|cannot|challenging to|not easy to)"
                r" (?:\w+ ){0,2}?(?:confirm|determine|say|tell|verify|judge|know|ascertain|conclude|decide|assess|be sure"
                r"|be certain|identify|comment|distinguish|establish)\b[^.,;!?\n]*"
            ),
            r"\bnot necessarily [^.,;!?\n]*",
            (
                r"\b(?:as|like|than|unlike|expected|typical|seen|found|present|common) (?:in|of|for|with) (?:an? )?(?:most )?"
                r"(?:real|fake|authentic|genuine|ai[ -]?generated|synthetic)\b"
            ),
            # "a real photo would show grain": a foil, not a verdict
            r"\b(?:real|fake|authentic|genuine|ai[ -]?generated|synthetic)(?: \w+){0,3} (?:would|should|might|typically|usually|often|tend|generally)\b",
            r"\b(?:question|asked|asks?|task|prompt)\b[^.!?\n]*\?",
            (
                r"真假|真伪|真实性|(?:真|真实|真的)(?:的)?(?:还是|或|/)(?:是)?(?:假|虚假|假的|伪造|ai生成|合成)的?"
                r"|(?:假|虚假|假的|伪造|合成)(?:的)?(?:还是|或|/)(?:是)?(?:真|真实|真的)的?|是否[^。,，!！?？\n]*"
            ),
        ]
    )
)

REFUSAL = re.compile(
    r"\b(?:i'?m|i am|we are|we're) (?:very |so |really )?(?:sorry|afraid|unable|not able|not sure|unsure|uncertain|not certain|not comfortable)"
    r"|\b(?:i|we|one) (?:can ?not|can't|could ?not|couldn't|won't|will not|would not|wouldn't|am not able to|do not know|don't know|do not have|don't have)\b"
    r"|\b(?:can ?not|can't|could not|couldn't|unable to|not able to|not possible to|impossible to|hard to|difficult to|challenging to) "
    r"(?:\w+ ){0,2}?(?:be )?(?:confirm|determine|determined|say|tell|verify|verified|judge|know|ascertain|conclude|decide|assess|sure|certain|identify|distinguish)"
    r"|\bas an? (?:ai|artificial intelligence|language model|large language model|text-based)"
    r"|\b(?:unsure|uncertain|inconclusive|indeterminate|undetermined|unknown|cannot tell|no comment|n/a|not applicable|refuse|decline)\b"
    r"|\bagainst (?:my|our|the) (?:policy|policies|guidelines)|\bcontent policy"
    r"|无法|不能(?:确定|判断|回答|提供)|不确定|不清楚|抱歉|对不起|难以|不知道"
)
