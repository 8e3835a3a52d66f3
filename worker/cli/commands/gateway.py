"""``checkpoint gateway``: runs the HTTP endpoint."""

from __future__ import annotations

import click

from checkpoint_worker.worker.cli.commands.common import (
    DAY_S,
    FiniteRange,
    as_json,
    fail,
    read_settings,
    sentences,
)
from checkpoint_worker.worker.cli.console import output, output_json, status_line
from checkpoint_worker.worker.observability.stdio import make_streams_fail_safe

PORT = 8600


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65_535), help="0: any."
)
@click.option(
    "--grace",
    default=10.0,
    show_default=True,
    type=FiniteRange(0.0, DAY_S),
    help="Seconds for those who wait when it is asked to end; then 503.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
@as_json
def gateway(*, host: str, port: int, grace: float, until_stdin_closes: bool, as_json: bool) -> None:
    """Run the HTTP endpoint in this process, until Ctrl-C or SIGTERM.

    POST /v1/accounts/checkpoint submits a code and answers with its outcome; /openapi.json
    describes the rest. Callers send a key of CHECKPOINT_API_KEYS as X-API-KEY or as a bearer
    token. It keeps no state: run as many as you like behind one address, with TLS in front.

    \b
    Examples:
      export CHECKPOINT_API_KEYS=$(openssl rand -hex 32)
      checkpoint gateway
      checkpoint gateway --host 0.0.0.0 --port 80
    Then, in a second terminal:
      curl -H "X-API-KEY: $CHECKPOINT_API_KEYS" --json @code.json \\
        http://127.0.0.1:8600/v1/accounts/checkpoint
      with {"account_id": "acc_1", "provider": "LINKEDIN", "code": "123456"} in code.json
    """  # noqa: D301
    make_streams_fail_safe()
    with sentences(as_json=as_json):
        settings = read_settings()
        if until_stdin_closes:
            from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

            end_with_stdin()
        import structlog  # noqa: PLC0415

        from checkpoint_worker.tasks.gateway import NoKeysError  # noqa: PLC0415
        from checkpoint_worker.tasks.operations.foreign import foreign_variables  # noqa: PLC0415
        from checkpoint_worker.worker.gateway import ExposedError, serve  # noqa: PLC0415
        from checkpoint_worker.worker.observability import logs  # noqa: PLC0415
        from checkpoint_worker.worker.observability.hardening import keep_memory_private  # noqa: PLC0415

        logs.configure(settings)
        keep_memory_private()
        if foreign := foreign_variables():
            structlog.get_logger("checkpoint.gateway").warning(
                "environment.foreign", ignored=foreign
            )

        def announce(address: str) -> None:
            if as_json:
                output_json({"gateway": address})
            else:
                output(address)
                status_line("Ctrl-C stops it.")

        try:
            serve(settings, host=host, port=port, announce=announce, grace_s=grace)
        except NoKeysError as error:
            raise click.UsageError(str(error)) from None
        except ExposedError as error:
            fail(str(error))
        except (OSError, UnicodeError) as error:  # The second for a name that no host can have.
            why = getattr(error, "strerror", None) or "no name of a host"
            fail(f"cannot listen on {host} port {port} ({why}); take another --host or --port")
