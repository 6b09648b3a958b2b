"""The integration with Luigi."""

from tasks.framework import memory, settings


def install() -> None:
    """Prepare Luigi for the tasks; called once, before they are imported."""
    memory.choose_arrow_pool()
    settings.check_syntax()
    # These import Luigi, which reads the files that the line above has checked.
    from tasks.framework import command_line, messages, rebuild_reasons, worker_processes

    command_line.install(messages.install, worker_processes.install, rebuild_reasons.install)
