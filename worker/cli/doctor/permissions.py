"""May this Redis user do the work? Asked for each command, with none of them run."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from checkpoint_worker.worker.cli.doctor.finding import DoctorTarget, Finding, failure, ok
from checkpoint_worker.worker.observability.required_commands import broker_forms, forms


def permissions(site: DoctorTarget) -> Finding:
    """Ask for each command whether this user may run it, without running it.

    Inside MULTI a command is judged when it is queued, on every version; DISCARD forgets them.
    """
    pool: Any = site.client.connection_pool
    wanted = list(forms(site.keys, site.role, clustered=bool(site.address.cluster)))
    if site.settings.broker_url is None and site.address.path is None:
        wanted += broker_forms(site.keys, site.role, site.address.db)
    refused = []
    connection = pool.get_connection()
    try:
        connection.send_command("MULTI")
        connection.read_response()
        for form in wanted:
            connection.send_command(*form)
            try:
                connection.read_response()
            except NoPermissionError:
                refused.append(" ".join(map(str, form[:2])))
            except ResponseError:
                continue  # For another reason, which another check tells.
        connection.send_command("DISCARD")
        connection.read_response()
    except NoPermissionError:
        refused.append("MULTI")
    finally:
        connection.disconnect()
        pool.release(connection)
    if refused:
        return failure(
            f"this Redis user may not do what a {site.role} does: {', '.join(refused)}",
            f"ACL SETUSER … +{'|'.join(sorted({each.split()[0].lower() for each in refused}))}"
            f" on ~{site.keys.prefix}* and &{site.keys.prefix}*, or deploy's ACL file",
        )
    return ok(f"this user may do what a {site.role} does")
