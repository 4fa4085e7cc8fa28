"""The exception tree: every text answers what, expected, got, do this."""

from __future__ import annotations


class DefakeError(Exception):
    """Anything a user can mend; faces print it in one line.

    `code` is a stable word for machines (JSON rows, HTTP answers).
    """

    code = "error"


class BadImage(DefakeError):  # noqa: N818 - the house names errors by what is wrong
    """A file or array that cannot be scored; `code` says which of the documented reasons it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadDataset(DefakeError):  # noqa: N818
    """A manifest, folder or label that cannot be trusted."""

    code = "bad_dataset"


class BadConfig(DefakeError):  # noqa: N818
    """Options that contradict each other or lie outside their range."""

    code = "bad_config"


class UnknownName(DefakeError):  # noqa: N818
    """A name no registry holds."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(sorted(known)) or 'none'}")
        self.kind, self.name, self.known = kind, name, known


class MissingExtra(DefakeError):  # noqa: N818
    """A library that an optional feature needs is not installed."""

    code = "missing_extra"

    def __init__(self, what: str, extra: str, module: str) -> None:
        super().__init__(f"{what} needs the module {module!r}; install it: pip install 'defake[{extra}]'")
        self.extra = extra


class WeightsMismatch(DefakeError):  # noqa: N818
    """Weights that are missing, corrupted or made for something else; nothing is scored with them."""

    code = "weights_mismatch"


class BackendFailed(DefakeError):  # noqa: N818
    """A library, device or service under us gave up; the text carries its own words."""

    code = "backend_failed"
