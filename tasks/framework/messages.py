"""One sentence for an error that the user can fix, where Luigi and Python would print a traceback."""

import logging
import sys
from types import TracebackType

from gbif_webdataset.errors import RepeatedError, explain

LOGGER = logging.getLogger("luigi-interface")


class OneSentence(logging.Filter):
    """Removes the traceback from the log record of an error that has a sentence."""

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
            record.msg, record.args, record.exc_info = f"{label}{sentence}", (), None
        return True


def install() -> None:
    """Print errors of this process as sentences, and one line after Ctrl-C."""
    LOGGER.addFilter(OneSentence())
    earlier_hook = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("Stopped. The same command continues from here.", file=sys.stderr)
        else:
            earlier_hook(kind, error, trace)

    sys.excepthook = end
