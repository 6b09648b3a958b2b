"""One sentence for an error that the user can mend, where Luigi would print a traceback."""

import logging

from tasks.core.errors import sentence

LOGGER = logging.getLogger("luigi-interface")


def explanation(error: BaseException) -> str | None:
    """The sentence for an error, or for the one that it was raised from; None for a defect of ours."""
    told = sentence(error)
    if told is None and error.__cause__ is not None:
        return explanation(error.__cause__)
    return told


class OneSentence(logging.Filter):
    """Takes the traceback from the log record of an error that has a sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; never drop it."""
        error = record.exc_info[1] if record.exc_info else None
        told = explanation(error) if error else None
        if told is None and error is not None and type(error).__module__ == "luigi.parameter":
            told = str(error)
        if told is not None:
            task = record.args[-1] if isinstance(record.args, tuple) and record.args else None
            label = f"{task.label}: " if hasattr(task, "label") else ""
            record.msg, record.args, record.exc_info = f"{label}{told}", (), None
        return True


def install() -> None:
    """Have Luigi's log speak in sentences."""
    if not any(isinstance(present, OneSentence) for present in LOGGER.filters):
        LOGGER.addFilter(OneSentence())
