"""What people and machines get to see of a command: text or JSON, warnings in plain words, exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

__all__ = ["EXIT_CODES", "USER_ERRORS", "Outcome", "UsageError", "explain", "listening", "logging_to"]

DONE, MISTAKE, USAGE, BROKEN, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130

EXIT_CODES = {
    DONE: "done",
    MISTAKE: "the data, the configuration or a file is not as it should be, or a run of a sweep failed",
    USAGE: "the command line cannot be understood: an unknown command, option or key",
    BROKEN: "training broke down; the run folder has the last good weights",
    BUG: "an error in manyview itself; please report it with what was printed",
    INTERRUPTED: "interrupted by Ctrl-C; a run that was training has its best weights so far",
}
"""What the program's exit status says."""

USER_ERRORS = (ValueError, OSError, ImportError)
"""Errors that a user can mend. The message of each says how, so that a traceback would add nothing."""

logger = logging.getLogger("manyview")


@final
class UsageError(ValueError):
    """A command line that cannot be understood."""


@final
@dataclass(frozen=True)
class Outcome:
    """What a command has to say.

    Parameters
    ----------
    result : dict
        What ``--json`` prints.
    text : str
        What people read.
    code : int, default 0
        The exit status.
    """

    result: Mapping[str, Any]
    text: str
    code: int = DONE


def explain(error: BaseException) -> str:
    """An error in one paragraph; that of the operating system by its file and reason."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    message = " ".join(str(error).split())
    mendable = isinstance(error, (*USER_ERRORS, ArithmeticError)) and message
    return message if mendable else f"{type(error).__name__}: {message}"


@contextmanager
def listening(*, show: bool) -> Iterator[list[str]]:
    """Collect the library's warnings; `show` prints them to stderr at once."""
    heard: list[str] = []

    def hear(record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno == logging.WARNING and message not in heard:  # errors are reported when they are caught
            heard.append(message)
            if show:
                sys.stderr.write(f"manyview: warning: {message}\n")

    with _handler(_Listener(hear)):
        yield heard


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write what the library logs, and all warnings, to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with _handler(handler), closing(handler):
        try:
            yield
        except Exception as error:
            logger.error("%s", explain(error))
            raise


@contextmanager
def _handler(handler: logging.Handler) -> Iterator[None]:
    """A handler of the library's messages; warnings are among them."""

    def log(message: Warning | str, *_: Any, **__: Any) -> None:
        logger.warning("%s", " ".join(str(message).split()))

    level, propagate = logger.level, logger.propagate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # these are for programmers
        warnings.showwarning = log
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # or a root logger would print it a second time
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@final
class _Listener(logging.Handler):
    """Hands records on to a function."""

    def __init__(self, hear: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self.hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(record)
