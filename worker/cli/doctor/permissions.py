"""Checks that the Redis user may run each required command, without running any."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from checkpoint_worker.worker.cli.doctor.finding import DoctorTarget, Finding, failure, ok
from checkpoint_worker.worker.observability.required_commands import broker_forms, forms


def permissions(target: DoctorTarget) -> Finding:
    """Check the permission for each command without running it.

    Inside MULTI every version of Redis checks a command when it is queued; DISCARD drops the queue.
    """
    pool: Any = target.client.connection_pool
    wanted = list(forms(target.keys, target.role, clustered=bool(target.address.cluster)))
    if target.settings.broker_url is None and target.address.path is None:
        wanted += broker_forms(target.keys, target.role, target.address.db)
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
                continue  # Another error, which another check reports.
        connection.send_command("DISCARD")
        connection.read_response()
    except NoPermissionError:
        refused.append("MULTI")
    finally:
        connection.disconnect()
        pool.release(connection)
    if refused:
        return failure(
            f"this Redis user may not do what a {target.role} does: {', '.join(refused)}",
            f"ACL SETUSER … +{'|'.join(sorted({each.split()[0].lower() for each in refused}))}"
            f" on ~{target.keys.prefix}* and &{target.keys.prefix}*, or deploy's ACL file",
        )
    return ok(f"this user may do what a {target.role} does")
