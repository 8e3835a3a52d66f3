"""A bridge and its library: the first step up to the intent, or what follows the session."""

# ruff: noqa: ANN001, ANN003, ANN201, D103  a script for the library's own Python

import asyncio
import importlib
import inspect
import sys

from support import ROOT, Person, name_patch, report, stopped

sys.path.append(str(ROOT / "deploy/docs/examples/bridges"))

person = Person()
if person.library in {"linkedin-messaging", "maufbapi", "mauigpapi"}:
    name_patch()
way = f"{person.library} {person.way}".replace(" handover", "")
example = importlib.import_module(f"login_{way.replace('-', '_').replace(' ', '_')}")


def keep(client, answer=None, **more):
    """Keep what an operator would save, and go on."""
    stopped(client, answer, library=person.library)
    return context_from(client, answer, **more)


context_from, example.bridge.context_from = example.bridge.context_from, keep


class Worker:
    """The part of `CheckpointClient` that the examples use."""

    def open_intent(self, **fields):
        report(**fields)

    def take_session(self, **_named):
        return person.session


def done(result):
    return asyncio.run(result) if inspect.iscoroutine(result) else result


if person.session:
    report(owner=done(example.go_on(Worker(), "acc_1")))
else:
    name = person.username if person.provider in {"LINKEDIN", "MESSENGER"} else person.handle
    done(example.begin(Worker(), "acc_1", name, person.password, person.source))
