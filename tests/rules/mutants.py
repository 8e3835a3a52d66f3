"""The rules with one guard removed: what the sequences and the walk must notice.

A mutant is the source of `tasks.rules` with one text replaced, compiled into a module of its
own. A text that is not there exactly once is an error, so a mutant cannot silently become the
original when the rules are edited.
"""

import types
from dataclasses import dataclass
from pathlib import Path

from checkpoint_worker.tasks import rules
from tests.rules.world import Decide

SOURCE = Path(rules.__file__).read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A name, the text taken out and the text put in; ``walk`` if the walk alone finds it."""

    name: str
    old: str
    new: str
    walk: bool = True

    def decide(self) -> Decide:
        """Return the mutated verb.

        Raises:
            ValueError: The text is not in the rules exactly once.
        """
        if SOURCE.count(self.old) != 1:
            msg = f"{self.name}: the rules hold its text {SOURCE.count(self.old)} times"
            raise ValueError(msg)
        module = types.ModuleType("tasks.mutated_rules")
        text = SOURCE.replace(self.old, self.new)
        exec(compile(text, "mutated_rules.py", "exec"), module.__dict__)  # noqa: S102  our own text
        mutated: Decide = module.decide
        return mutated


MUTANTS = (
    Mutant(
        name="> for >= at the kill",
        old="if failures >= freed.failures_max:",
        new="if failures > freed.failures_max:",
        walk=False,
    ),
    Mutant(
        name="killed one rejection too early",
        old="if failures >= freed.failures_max:",
        new="if failures >= freed.failures_max - 1:",
        walk=False,
    ),
    Mutant(
        name="no wire check before begin and claim",
        old="    if wire is not None:\n        return Decision(reply=DecisionStatus.WAIT)\n",
        new="",
    ),
    Mutant(
        name="a second attempt may claim beside its own",
        old="current.id != submission_id or intent.own_wire is not None:",
        new="current.id != submission_id:",
        walk=False,
    ),
    Mutant(
        name="anybody may claim",
        old="if current is None or current.id != submission_id or intent.own_wire is not None:",
        new="if current is None or intent.own_wire is not None:",
    ),
    Mutant(
        name="claim without owner token",
        old="wire.claim == event.claim and wire.phase is Phase.SENT",
        new="wire.phase is Phase.SENT",
    ),
    Mutant(
        name="superseded wire freed at once",
        old="        wire = _hang_up(wire, now_ms, limits, for_twin=twin is not None)",
        new="        wire = None",
    ),
    Mutant(
        name="superseded wire not drained",
        old="        wire = _hang_up(wire, now_ms, limits, for_twin=twin is not None)",
        new="        pass",
        walk=False,
    ),
    Mutant(
        name="superseded preparing wire kept",
        old="    if wire is None or wire.phase is Phase.PREPARING:\n        return None",
        new="    if wire is None:\n        return None",
    ),
    Mutant(
        name="drain prolonged by each newer code",
        old="    if earlier is not None and earlier <= drain_until_ms:",
        new="    if False:",
        walk=False,
    ),
    Mutant(
        name="superseded holder learns by signal only",
        old="    return drained and event.acked_ms > wire.drain_at_ms",
        new="    return drained",
        walk=False,
    ),
    Mutant(
        name="a heartbeat before the drain counts as heard",
        old="    return drained and event.acked_ms > wire.drain_at_ms",
        new="    return drained and event.acked_ms > wire.drain_at_ms - 2_000",
        walk=False,
    ),
    Mutant(
        name="drain ends without the margin",
        old="    drained = wire.drain_until_ms + limits.wire_margin_ms <= now_ms",
        new="    drained = wire.drain_until_ms <= now_ms",
        walk=False,
    ),
    Mutant(
        name="wire freed only by its holder",
        old="    if wire.until_ms + limits.wire_margin_ms <= now_ms:\n        return True",
        new="    if False:\n        return True",
    ),
    Mutant(
        name="verdict of an old generation accepted",
        old="    if intent.generation != event.generation or not _hears(intent, event):",
        new="    if not _hears(intent, event):",
    ),
    Mutant(
        name="killed intent reopened by a verdict",
        old="    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED"
        " and cleared)",
        new="    return intent.state is IntentState.OPEN or cleared",
        walk=False,
    ),
    Mutant(
        name="cleared ignored when expired",
        old="    return intent.state is IntentState.OPEN or (intent.state is IntentState.EXPIRED"
        " and cleared)",
        new="    return intent.state is IntentState.OPEN",
        walk=False,
    ),
    Mutant(
        name="cleared ignored when the wire was taken away",
        old="        case Cleared():\n            return _cleared(",
        new="        case Cleared() if holds:\n            return _cleared(",
        walk=False,
    ),
    Mutant(
        name="failure counted without holding the wire",
        old="        case _ if not holds:\n            return _ignored(intent, freed, event)\n",
        new="",
        walk=False,
    ),
    Mutant(
        name="an ignored verdict keeps the wire",
        old="    changed = freed is not intent\n",
        new="    changed = False\n",
        walk=False,
    ),
    Mutant(
        name="elder's next checkpoint leaves the newer one waiting",
        old="        settled=_settle(intent, Success.CHECKPOINT),",
        new="",
    ),
    Mutant(
        name="elder's success leaves the newer one to be sent",
        old="        intent=replace(freed, state=state, current=None, wire=wire),",
        new="        intent=replace(freed, state=state, wire=wire),",
    ),
    Mutant(
        name="double click is sent",
        old="    twin = _twin_of(intent, newer.digest)",
        new="    twin = None",
        walk=False,
    ),
    Mutant(
        name="double click does not take the verdict",
        old="    if own or twin:",
        new="    if own:",
        walk=False,
    ),
    Mutant(
        name="double click goes on when its exchange is lost",
        old="    if current.duplicate_of == wire.claim:\n        settled",
        new="    if False:\n        settled",
        walk=False,
    ),
    Mutant(
        name="twin of an old generation",
        old="wire.digest is None or wire.generation != intent.generation:",
        new="wire.digest is None:",
        walk=False,
    ),
    Mutant(
        name="another code does not drain a twin's exchange",
        old="or (wire is not None and wire.phase is Phase.DRAINING)",
        new="",
        walk=False,
    ),
    Mutant(
        name="lost worker's sent wire freed at once",
        old="            intent=_with_fault(replace(intent, current=None), limits),\n"
        "            settled=_settle(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED),\n"
        "            signals=_stop(current),",
        new="            intent=_with_fault(replace(intent, current=None, wire=None), limits),\n"
        "            settled=_settle(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED),\n"
        "            signals=_stop(current),",
    ),
    Mutant(
        name="lost worker's submission not settled",
        old="    if intent.claimed:\n        return Decision(",
        new="    if False:\n        return Decision(",
        walk=False,
    ),
    Mutant(
        name="reopen drops a sent wire",
        old="    wire = _hang_up(intent.wire, now_ms, limits) if intent else None",
        new="    wire = None",
    ),
    Mutant(
        name="reopen keeps a preparing wire",
        old="    wire = _hang_up(intent.wire, now_ms, limits) if intent else None",
        new="    wire = intent.wire if intent else None",
        walk=False,
    ),
    Mutant(
        name="reopen leaves the elder without outcome",
        old="    settled = _settle(intent, catalogue.CANCELED) if intent else ()",
        new="    settled = ()",
    ),
    Mutant(
        name="kill frees a sent wire",
        old="        wire = _draining(wire, now_ms, now_ms)",
        new="        wire = None",
    ),
    Mutant(
        name="cancel frees a sent wire",
        old="_hang_up(intent.wire, now_ms, limits) if _left_alone(intent) else intent.wire",
        new="None",
    ),
    Mutant(
        name="deadline frees a sent wire",
        old="        after = replace(after, wire=_hang_up(intent.wire, now_ms, limits))",
        new="        after = replace(after, wire=None)",
        walk=False,
    ),
    Mutant(
        name="run_id ignored",
        old="    return intent.current is None or intent.current.run_id == run_id",
        new="    return True",
        walk=False,
    ),
    Mutant(
        name="run_id ignored by the sweep",
        old="    if current is not None and current.run_id != event.run_id:",
        new="    if False:",
        walk=False,
    ),
    Mutant(
        name="what another Redis accepted is called unsent",
        old="        return _give_up(intent, sent=True)",
        new="        return _give_up(intent, sent=False)",
        walk=False,
    ),
    Mutant(
        name="an elder of another Redis is called unsent",
        old="    sent = None if _same_redis(intent, newer.run_id) else True",
        new="    sent = None",
        walk=False,
    ),
    Mutant(
        name="a repeated claim granted by another Redis",
        old="    if repeated and _same_redis(intent, event.run_id):\n"
        "        return Decision(reply=DecisionStatus.DONE)  # a repeat",
        new="    if repeated:\n        return Decision(reply=DecisionStatus.DONE)  # a repeat",
        walk=False,
    ),
    Mutant(
        name="no not_after in the claim",
        old="        running=started,\n        not_after_ms=_last_claim_ms(intent, limits),",
        new="        running=started,",
        walk=False,
    ),
    Mutant(
        name="claim at any time before the deadline",
        old="    if now_ms > _last_claim_ms(intent, limits):\n"
        "        return _give_up(intent, sent=False)\n",
        new="",
        walk=False,
    ),
    Mutant(
        name="claim leaves the code",
        old="        running=started,\n",
        new="",
    ),
    Mutant(
        name="deadline ignored",
        old="    elif current is not None and current.deadline_ms <= now_ms:",
        new="    elif False:",
    ),
    Mutant(
        name="superseded elder not settled",
        old="settled=_settle(intent, catalogue.CANCELED, sent=sent, superseded_by=newer.id),",
        new="",
    ),
    Mutant(
        name="superseded by nobody in particular",
        old="sent=sent, superseded_by=newer.id),",
        new="sent=sent),",
        walk=False,
    ),
    Mutant(
        name="a sent code called unsent",
        old="code_sent=intent.claimed if sent is None else sent,",
        new="code_sent=False,",
    ),
    Mutant(
        name="a code whose claim a failover lost called unsent",
        old="        intent = replace(intent, wire=replace(wire, phase=Phase.SENT))",
        new="        pass",
        walk=False,
    ),
    Mutant(
        name="elder's failure counted as a fault",
        old="    after = _with_fault(freed, limits) if own else freed",
        new="    after = _with_fault(freed, limits)",
        walk=False,
    ),
    Mutant(
        name="faults without a limit",
        old="    killed = faults >= limits.faults_max and intent.state is IntentState.OPEN",
        new="    killed = False",
        walk=False,
    ),
    Mutant(
        name="TRY_ANOTHER_WAY counted as a failure",
        old="    if event.kind is SolutionKind.ANOTHER_WAY:",
        new="    if False:",
        walk=False,
    ),
    Mutant(
        name="TRY_ANOTHER_WAY without a limit",
        old="and intent.ways >= limits.ways_max:",
        new="and False:",
        walk=False,
    ),
    Mutant(
        name="submissions for one opening without a limit",
        old="if intent.seq >= limits.submissions_max:",
        new="if False:",
        walk=False,
    ),
    Mutant(
        name="submissions for one account without a limit",
        old="if intent.hour_count >= limits.hourly_max:",
        new="if False:",
        walk=False,
    ),
    Mutant(
        name="opening again buys more guesses",
        old="        hour_count=intent.hour_count if intent else 0,",
        new="        hour_count=0,",
        walk=False,
    ),
    Mutant(
        name="an hour that never ends",
        old="    if now_ms < intent.hour_from_ms + HOUR_MS:",
        new="    if intent.hour_count:",
        walk=False,
    ),
    Mutant(
        name="someone else's login completes the intent",
        old="    if not expected:",
        new="    if False:",
        walk=False,
    ),
    Mutant(
        name="success told to nobody",
        old="        publish_intent=state is IntentState.COMPLETED and not settled,",
        new="        publish_intent=False,",
        walk=False,
    ),
    Mutant(
        name="expired while the wire is busy",
        old="    if expires and after.current is None and after.wire is None:",
        new="    if expires and after.current is None:",
        walk=False,
    ),
    Mutant(
        name="submission accepted after its intent's life",
        old="    if intent.state is IntentState.OPEN and now_ms < intent.expires_at_ms:",
        new="    if now_ms < intent.expires_at_ms:",
    ),
    Mutant(
        name="codes sent whatever ended in doubt",
        old="    if current.kind is SolutionKind.CODE and not intent.may_send_codes:",
        new="    if False:",
    ),
    Mutant(
        name="doubt not counted",
        old="    if verdict.in_doubt and event.kind is SolutionKind.CODE:",
        new="    if False:",
    ),
    Mutant(
        name="another way counted as a doubtful code",
        old="    if verdict.in_doubt and event.kind is SolutionKind.CODE:",
        new="    if verdict.in_doubt:",
        walk=False,
    ),
    Mutant(
        name="another way not sent after doubt",
        old="    if current.kind is SolutionKind.CODE and not intent.may_send_codes:",
        new="    if not intent.may_send_codes:",
        walk=False,
    ),
    Mutant(
        name="abort keeps the wire of a claim whose reply was lost",
        old="        return _answer(intent, _unsent(event), now_ms, limits)",
        new="        return Decision(reply=DecisionStatus.STOP)",
        walk=False,
    ),
)
