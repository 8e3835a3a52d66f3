"""The rules with one guard removed: what the sequences and the walk must notice."""

from __future__ import annotations

from typing import Final

from tests.mutation.form import Edit


def _rule(old: str, new: str) -> Edit:
    return Edit(file="tasks/rules.py", old=old, new=new)


RULES: Final = {
    "> for >= at the kill": _rule(
        "if counted.failures >= counted.failures_max:",
        "if counted.failures > counted.failures_max:",
    ),
    "killed one rejection too early": _rule(
        "if counted.failures >= counted.failures_max:",
        "if counted.failures >= counted.failures_max - 1:",
    ),
    "no wire check before begin and claim": _rule(
        "    if intent.wire is not None:\n        return Decision(reply=DecisionStatus.WAIT)\n", ""
    ),
    "a second attempt may claim beside its own": _rule(
        "current.id != event.submission_id or intent.own_wire is not None:",
        "current.id != event.submission_id:",
    ),
    "anybody may claim": _rule(
        "if current is None or current.id != event.submission_id or intent.own_wire is not None:",
        "if current is None or intent.own_wire is not None:",
    ),
    "claim without owner token": _rule(
        "    if _holds(intent, event, Phase.SENT) and",
        "    if intent.own_wire and intent.own_wire.phase is Phase.SENT and",
    ),
    "superseded wire freed at once": _rule(
        "        wire = _start_drain("
        "wire, now_ms, limits.drain_ms, for_duplicate=duplicate is not None)",
        "        wire = None",
    ),
    "superseded wire not drained": _rule(
        "        wire = _start_drain("
        "wire, now_ms, limits.drain_ms, for_duplicate=duplicate is not None)",
        "        pass",
    ),
    "superseded preparing wire kept": _rule(
        "    if wire is None or wire.phase is Phase.PREPARING:\n        return None",
        "    if wire is None:\n        return None",
    ),
    "drain prolonged by each newer code": _rule(
        "    if for_duplicate or (earlier is not None and earlier <= until_ms):",
        "    if for_duplicate:",
    ),
    "superseded holder learns by signal only": _rule(
        "    return drained and event.acked_ms > wire.drain_at_ms", "    return drained"
    ),
    "a heartbeat before the drain counts as heard": _rule(
        "    return drained and event.acked_ms > wire.drain_at_ms",
        "    return drained and event.acked_ms > wire.drain_at_ms - 2_000",
    ),
    "drain ends without the margin": _rule(
        "    drained = wire.drain_until_ms + limits.wire_margin_ms <= now_ms",
        "    drained = wire.drain_until_ms <= now_ms",
    ),
    "wire freed only by its holder": _rule(
        "    if wire.until_ms + limits.wire_margin_ms <= now_ms:\n        return True",
        "    if False:\n        return True",
    ),
    "verdict of an old generation accepted": _rule(
        "    if intent.generation != event.generation or not _accepts_verdict(intent, event):",
        "    if not _accepts_verdict(intent, event):",
    ),
    "killed intent reopened by a verdict": _rule(
        "    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED"
        " and cleared)",
        "    return intent.state is IntentState.OPEN or cleared",
    ),
    "cleared ignored when expired": _rule(
        "    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED"
        " and cleared)",
        "    return intent.state is IntentState.OPEN",
    ),
    "cleared ignored when the wire was taken away": _rule(
        "        case Cleared():\n            return _cleared(",
        "        case Cleared() if held.holds:\n            return _cleared(",
    ),
    "failure counted without holding the wire": _rule(
        "        case _ if not held.holds:\n            return _ignored(held, event)\n", ""
    ),
    "an ignored verdict keeps the wire": _rule(
        "    if not held.holds:\n        return Decision(", "    if True:\n        return Decision("
    ),
    "previous one's next checkpoint leaves the newer one waiting": _rule(
        "    return _concluded(held, after, Success.CHECKPOINT)",
        "    return replace(_concluded(held, after, Success.CHECKPOINT), settled=())",
    ),
    "previous one's success leaves the newer one to be sent": _rule(
        "    return replace(ended, publish_intent=",
        "    return replace(ended, intent=after, publish_intent=",
    ),
    "double click is sent": _rule("_duplicate_of(intent, newer.digest)", "None"),
    "double click does not take the verdict": _rule(
        "    if held.own or held.intent.awaits_duplicate:", "    if held.own:"
    ),
    "double click goes on when its exchange is lost": _rule(
        "    if intent.awaits_duplicate:\n        settled", "    if False:\n        settled"
    ),
    "duplicate of an old generation": _rule(
        "wire.digest is None or wire.generation != intent.generation:", "wire.digest is None:"
    ),
    "another code does not drain a duplicate's exchange": _rule(
        "or (wire is not None and wire.phase is Phase.DRAINING)", ""
    ),
    "lost worker's sent wire freed at once": _rule(
        "        after = _with_fault(intent, limits)\n",
        "        after = _with_fault(replace(intent, wire=None), limits)\n",
    ),
    "lost worker's submission not settled": _rule(
        "    if intent.claimed:\n        after = ", "    if False:\n        after = "
    ),
    "reopen drops a sent wire": _rule(
        "    wire = _start_drain(intent.wire, now_ms, limits.drain_ms)\n    return _take_away",
        "    wire = None\n    return _take_away",
    ),
    "reopen keeps a preparing wire": _rule(
        "    wire = _start_drain(intent.wire, now_ms, limits.drain_ms)\n    return _take_away",
        "    wire = intent.wire\n    return _take_away",
    ),
    "reopen leaves the previous one without outcome": _rule(
        "    return _take_away(intent, replace(fresh, wire=wire), catalogue.CANCELED)",
        "    taken = _take_away(intent, replace(fresh, wire=wire), catalogue.CANCELED)\n"
        "    return replace(taken, settled=())",
    ),
    "kill frees a sent wire": _rule(
        "    wire = _start_drain(intent.wire, now_ms, 0)", "    wire = None"
    ),
    "cancel frees a sent wire": _rule(
        "_start_drain(intent.wire, now_ms, limits.drain_ms) if ends else intent.wire", "None"
    ),
    "deadline frees a sent wire": _rule(
        "        wire = _start_drain(wire, now_ms, limits.drain_ms)\n    after",
        "        wire = None\n    after",
    ),
    "run_id ignored": _rule(
        "    return intent.current is None or intent.current.is_of(run_id)", "    return True"
    ),
    "run_id ignored by the sweep": _rule(
        "    foreign = current is not None and not current.is_of(event.run_id)",
        "    foreign = False",
    ),
    "what another Redis accepted is called unsent": _rule(
        "        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=True)",
        "        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=False)",
    ),
    "a previous one of another Redis is called unsent": _rule(
        "    sent = intent.claimed or not _same_redis(intent, newer.run_id)",
        "    sent = intent.claimed",
    ),
    "a repeated claim granted by another Redis": _rule(
        "    if _holds(intent, event, Phase.SENT) and _same_redis(intent, event.run_id):",
        "    if _holds(intent, event, Phase.SENT):",
    ),
    "no not_after in the claim": _rule(
        "        running=started,\n        not_after_ms=started.last_claim_ms(limits.min_send_ms),",
        "        running=started,",
    ),
    "claim at any time before the deadline": _rule(
        "    if now_ms > current.last_claim_ms(limits.min_send_ms):\n"
        "        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_NOT_USED, sent=False)\n",
        "",
    ),
    "claim leaves the code": _rule("        running=started,\n", ""),
    "deadline ignored": _rule(
        "    if current is not None and (foreign or current.deadline_ms <= now_ms):",
        "    if foreign:",
    ),
    "superseded submission not settled": _rule(
        "settled=settle(previous, catalogue.CANCELED, sent=sent, superseded_by=newer.id),", ""
    ),
    "superseded by nobody in particular": _rule(
        "sent=sent, superseded_by=newer.id),", "sent=sent),"
    ),
    "a sent code called unsent": _rule(
        "settled=settle(intent.current, answer, detail, sent=sent),",
        "settled=settle(intent.current, answer, detail, sent=False),",
    ),
    "a code whose claim a failover lost called unsent": _rule(
        "        intent = replace(intent, wire=replace(wire, phase=Phase.SENT))", "        pass"
    ),
    "previous one's failure counted as a fault": _rule(
        "    after = _with_fault(held.freed, limits) if held.own else held.freed",
        "    after = _with_fault(held.freed, limits)",
    ),
    "faults without a limit": _rule(
        "    killed = faults >= limits.faults_max and intent.state is IntentState.OPEN",
        "    killed = False",
    ),
    "TRY_ANOTHER_WAY counted as a failure": _rule(
        "    if event.kind is SolutionKind.ANOTHER_WAY:", "    if False:"
    ),
    "TRY_ANOTHER_WAY without a limit": _rule("and intent.ways >= limits.ways_max:", "and False:"),
    "submissions for one opening without a limit": _rule(
        "if intent.seq >= limits.submissions_max:", "if False:"
    ),
    "submissions for one account without a limit": _rule(
        "if intent.hour_count >= limits.hourly_max:", "if False:"
    ),
    "opening again buys more guesses": _rule(
        "        hour_count=intent.hour_count,", "        hour_count=0,"
    ),
    "an hour that never ends": _rule(
        "        if now_ms >= intent.hour_from_ms + HOUR_MS:", "        if not intent.hour_count:"
    ),
    "someone else's login completes the intent": _rule("    if not expected:", "    if False:"),
    "success told to nobody": _rule(
        "publish_intent=state is IntentState.COMPLETED and not ended.settled)",
        "publish_intent=False)",
    ),
    "expired while the wire is busy": _rule(
        "    if expires and after.current is None and after.wire is None:",
        "    if expires and after.current is None:",
    ),
    "submission accepted after its intent's life": _rule(
        "    if intent.state is IntentState.OPEN and now_ms < intent.expires_at_ms:",
        "    if now_ms < intent.expires_at_ms:",
    ),
    "codes sent whatever ended in doubt": _rule(
        "    if current.kind is SolutionKind.CODE and not intent.may_send_codes:", "    if False:"
    ),
    "doubt not counted": _rule(
        "    if verdict.in_doubt and event.kind is SolutionKind.CODE:", "    if False:"
    ),
    "another way counted as a doubtful code": _rule(
        "    if verdict.in_doubt and event.kind is SolutionKind.CODE:", "    if verdict.in_doubt:"
    ),
    "another way not sent after doubt": _rule(
        "    if current.kind is SolutionKind.CODE and not intent.may_send_codes:",
        "    if not intent.may_send_codes:",
    ),
    "abort keeps the wire of a claim whose reply was lost": _rule(
        "        return _answer(intent, event.after_claim(), now_ms, limits)",
        "        return Decision(reply=DecisionStatus.STOP)",
    ),
}
"""By what is wrong then; the sequences notice each."""
UNSEEN_BY_WALKS: Final = frozenset(
    {
        "> for >= at the kill",
        "killed one rejection too early",
        "a second attempt may claim beside its own",
        "superseded wire not drained",
        "drain prolonged by each newer code",
        "superseded holder learns by signal only",
        "a heartbeat before the drain counts as heard",
        "drain ends without the margin",
        "killed intent reopened by a verdict",
        "cleared ignored when expired",
        "cleared ignored when the wire was taken away",
        "failure counted without holding the wire",
        "an ignored verdict keeps the wire",
        "double click is sent",
        "double click does not take the verdict",
        "double click goes on when its exchange is lost",
        "duplicate of an old generation",
        "another code does not drain a duplicate's exchange",
        "lost worker's submission not settled",
        "reopen keeps a preparing wire",
        "deadline frees a sent wire",
        "run_id ignored",
        "run_id ignored by the sweep",
        "what another Redis accepted is called unsent",
        "a previous one of another Redis is called unsent",
        "a repeated claim granted by another Redis",
        "no not_after in the claim",
        "claim at any time before the deadline",
        "superseded by nobody in particular",
        "a code whose claim a failover lost called unsent",
        "previous one's failure counted as a fault",
        "faults without a limit",
        "TRY_ANOTHER_WAY counted as a failure",
        "TRY_ANOTHER_WAY without a limit",
        "submissions for one opening without a limit",
        "submissions for one account without a limit",
        "opening again buys more guesses",
        "an hour that never ends",
        "someone else's login completes the intent",
        "success told to nobody",
        "expired while the wire is busy",
        "another way counted as a doubtful code",
        "another way not sent after doubt",
        "abort keeps the wire of a claim whose reply was lost",
    }
)
"""Walks at random need not come across these."""
