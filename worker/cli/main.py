"""``checkpoint``: the command line of the worker.

Data goes to stdout, messages to stderr; with ``--json`` the data is one JSON value per line. Exit
status 0: success, 1: failure, 2: wrong usage. A code is never an argument, because arguments show
in ``ps`` and stay in a shell's history. The module of a command is imported when the command is
called, and imports heavy modules when it runs, so that ``--help``, ``version`` and ``health``
answer at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Final

import click

from checkpoint_worker.tasks.operations.foreign import forget_foreign
from checkpoint_worker.worker.cli.console import drop_unwritten, status_line, wants_no_colour
from checkpoint_worker.worker.observability.stdio import make_streams_fail_safe

COMMANDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "One machine": {
        "demo": ("local.commands:demo", "Watch every kind of outcome happen; needs nothing else."),
        "up": (
            "local.commands:up",
            "Run all of it on this machine, with a page to try it, until Ctrl-C.",
        ),
        "sandbox": (
            "local.commands:sandbox",
            "Run simulated providers, with a page that shows the codes.",
        ),
    },
    "Services": {
        "worker": ("worker:worker", "Run a worker in this process, or one for each core."),
        "gateway": ("gateway:gateway", "Run the HTTP endpoint in this process."),
        "health": ("health:health", "Say whether the worker of this machine is alive and ready."),
    },
    "Submissions": {
        "open": ("intents:open_", "Open an intent: a login that has stopped at a checkpoint."),
        "session": ("session:session", "Hold a login in a browser, and type the codes there."),
        "submit": ("submissions:submit", "Submit a code and print its outcome."),
        "result": ("submissions:result", "Print the record of a submission."),
        "watch": ("submissions:watch", "Print outcomes as they arrive, until Ctrl-C."),
        "show": (
            "submissions:show",
            "Tell the story of a submission: what happened when, and why.",
        ),
        "intent": ("intents:intent", "Print the intent of an account: its state, the tries left."),
        "cancel": ("submissions:cancel", "Take a submission back."),
        "kill": ("intents:kill", "End an intent for good."),
    },
    "Operations": {
        "status": ("status:status", "Say whether all is well, what is stuck, whose fault it is."),
        "doctor": ("doctor:doctor", "Check the set-up; say what to mend and how."),
        "config": ("config:config", "Print every setting: its value, its source, what it means."),
        "bench": ("bench:bench", "Measure throughput and latency on this machine."),
        "version": ("version:version", "Print the version."),
    },
}
"""Maps a section of the help to its commands: name -> (place of the function, line in the help). A
place without a dot is in `worker.cli.commands`, others are in `worker`."""


class Commands(click.Group):
    """A group that imports a command when it is called, not when it is listed."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # click's own
        for section in COMMANDS.values():
            for name, (_, line) in section.items():
                self.add_command(click.Command(name, short_help=line))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, ``None`` if there is none of that name."""
        for section in COMMANDS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name][0].partition(":")
                place = "" if "." in module else "cli.commands."
                try:
                    found = importlib.import_module(f"checkpoint_worker.worker.{place}{module}")
                except ModuleNotFoundError as error:
                    if place or error.name != "checkpoint_worker.worker.local":
                        raise
                    msg = (
                        f"this build leaves out `{cmd_name}`: pip install 'checkpoint-worker[demo]'"
                    )
                    raise click.ClickException(msg) from None
                command = getattr(found, attribute)
                assert isinstance(command, click.Command)
                return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; end without a message on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            status_line()
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the commands in the order of `COMMANDS`."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the lists of commands, one per section."""
        width = max(map(len, self.commands))
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:{width}}", line) for name, (_, line) in section.items()]
                )


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="""\b
Everything an operator can turn is a variable CHECKPOINT_*: `checkpoint config` lists them.
Completion in bash, and alike in zsh and fish:
  eval "$(_CHECKPOINT_COMPLETE=bash_source checkpoint)"
""",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Clear login checkpoints: one code in, exactly one outcome out.

    \b
    See it work, with nothing set up:
      checkpoint demo
    Try it yourself, in two terminals of one directory:
      checkpoint up
      set -a; . .run/env; set +a
      checkpoint open --sandbox http://127.0.0.1:8700 --provider LINKEDIN
      checkpoint submit acc_linkedin_1 --provider LINKEDIN
    Run it:
      export CHECKPOINT_REDIS_URL=redis://127.0.0.1:6379/0
      export CHECKPOINT_SECRET_KEYS=$(openssl rand -base64 32)
      checkpoint worker
    """  # noqa: D301  click's own mark
    if wants_no_colour():
        ctx.color = False


def main() -> None:
    """Run the command line; the entry point of the console script ``checkpoint``."""
    # Messages are for a person who may have gone; what a command prints on stdout is its result.
    make_streams_fail_safe("stderr")
    forget_foreign()  # Before a command imports what would read them.
    try:
        cli(prog_name="checkpoint")
    except OSError as error:
        # Every command writes, ``--help`` too; inside `sentences` the commands handle it alike.
        from checkpoint_worker.worker.cli.commands.common import disk_sentence  # noqa: PLC0415

        if (sentence := disk_sentence(error)) is None:
            raise
        status_line(f"Error: {sentence}")
        sys.exit(1)
    finally:
        drop_unwritten()


if __name__ == "__main__":
    main()
