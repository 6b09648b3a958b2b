"""The integration with Luigi."""

from tasks.framework import memory, settings


def install() -> None:
    """Prepare Luigi for the tasks; called once, before they are imported."""
    memory.choose_arrow_pool()
    settings.check_syntax()
    # These import Luigi, which reads the files that the line above has checked.
    from tasks.framework import command_line, messages, rebuild_reasons, run_locking, shared_runs, worker_processes

    # The last hook is the first that a run passes: the lock comes before the reasons, and these before Luigi.
    hooks = (messages, worker_processes, shared_runs, rebuild_reasons, run_locking)
    command_line.install(*(hook.install for hook in hooks))
