"""``das doctor``: what this machine can do, and what would make it do more."""

from __future__ import annotations

from das.commands import options as o


def doctor(json: o.Json = False) -> None:
    """List versions, devices and runtimes, what is missing, and the command that fixes it.

    Example: [bold]das doctor[/]
    """
    from das.render_inspect import print_health
    from das.terminal import print_json
    from exporters.health import check_health

    found = check_health()
    print_json(found) if json else print_health(found)
