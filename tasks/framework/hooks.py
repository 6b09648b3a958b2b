"""The hooks in Luigi."""

from tasks.framework import messages, rebuild_reasons, worker_processes


def install_hooks() -> None:
    """Install the hooks in Luigi: errors in one sentence, reasons for rebuilding, the end of worker processes."""
    messages.install()
    worker_processes.install(install_hooks)
    rebuild_reasons.install()
