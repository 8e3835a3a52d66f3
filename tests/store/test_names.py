"""Names of claims and commands: two that are alike would take one's effect for the other's."""

import os

from tasks.names import new_name


def test_names_differ_and_are_short_words() -> None:
    """They stand in the ledger and in a message's delivery tag."""
    names = [new_name() for _ in range(10_000)]
    assert len(set(names)) == len(names)
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in names)


def test_a_forked_process_makes_other_names_than_its_parent() -> None:
    """A server that forks its processes would have them take each other's commands for repeats."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, new_name().encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reader, 64).decode()
    os.close(reader)
    os.close(writer)
    assert told not in {new_name() for _ in range(3)}
    assert len(told) == 16
