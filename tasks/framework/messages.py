"""One sentence for an error that the user can fix, where Luigi and Python would print a traceback."""

import logging
import sys
import traceback
from types import TracebackType

from gbif_webdataset.errors import RepeatedError, escape_text, explain

LOGGER = logging.getLogger("luigi-interface")


def print_text(text: str) -> None:
    """Print a text, such as a table, on stdout. No character of an archive, a host or a file acts on the terminal."""
    print(escape_text(text, keep="\n"), flush=True)


def print_note(sentence: str) -> None:
    """Print a sentence on stderr, in one line, as `print_text` does."""
    print(escape_text(sentence), file=sys.stderr, flush=True)


class OneSentence(logging.Filter):
    """Removes the traceback from the log record of an error that has a sentence, and escapes all others."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record. Drop it only if its sentence was printed before."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RepeatedError):
            return False
        sentence = explain(error) if error else None
        if sentence is None and error is not None and type(error).__module__ == "luigi.parameter":
            sentence = str(error)
        if sentence is not None:
            task = record.args[-1] if isinstance(record.args, tuple) and record.args else None
            label = f"{task.label}: " if hasattr(task, "label") else ""
            record.msg, record.args, record.exc_info = escape_text(f"{label}{sentence}"), (), None
            return True
        record.msg, record.args = escape_text(record.getMessage(), keep="\n"), ()
        if error is not None:
            record.exc_text = _format_traceback(error)
        return True


def _format_traceback(error: BaseException) -> str:
    return escape_text("".join(traceback.format_exception(error)).rstrip("\n"), keep="\n")


def install() -> None:
    """Print errors of this process as sentences, and one line after Ctrl-C."""
    LOGGER.addFilter(OneSentence())

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("Stopped. The same command continues from here.", file=sys.stderr)
        else:
            print(_format_traceback(error), file=sys.stderr, flush=True)

    sys.excepthook = end
