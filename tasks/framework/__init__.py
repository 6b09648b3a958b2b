"""The integration with Luigi."""


def install() -> None:
    """Install the hooks in Luigi: errors in one sentence, reasons for rebuilding, the end of worker processes."""
    from tasks.framework import messages, rebuild_reasons, worker_processes

    messages.install()
    worker_processes.install()
    rebuild_reasons.install()
