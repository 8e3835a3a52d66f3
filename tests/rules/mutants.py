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
        old="if counted.failures >= counted.failures_max:",
        new="if counted.failures > counted.failures_max:",
        walk=False,
    ),
    Mutant(
        name="killed one rejection too early",
        old="if counted.failures >= counted.failures_max:",
        new="if counted.failures >= counted.failures_max - 1:",
        walk=False,
    ),
    Mutant(
        name="no wire check before begin and claim",
        old="    if intent.wire is not None:\n        return Decision(reply=DecisionStatus.WAIT)\n",
        new="",
    ),
    Mutant(
        name="a second attempt may claim beside its own",
        old="current.id != event.submission_id or intent.own_wire is not None:",
        new="current.id != event.submission_id:",
        walk=False,
    ),
    Mutant(
        name="anybody may claim",
        old="if current is None or current.id != event.submission_id"
        " or intent.own_wire is not None:",
        new="if current is None or intent.own_wire is not None:",
    ),
    Mutant(
        name="claim without owner token",
        old="    if _holds(intent, event, Phase.SENT) and",
        new="    if intent.own_wire and intent.own_wire.phase is Phase.SENT and",
    ),
    Mutant(
        name="superseded wire freed at once",
        old="        wire = _hang_up(wire, now_ms, limits.drain_ms, for_twin=twin is not None)",
        new="        wire = None",
    ),
    Mutant(
        name="superseded wire not drained",
        old="        wire = _hang_up(wire, now_ms, limits.drain_ms, for_twin=twin is not None)",
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
        old="    if for_twin or (earlier is not None and earlier <= until_ms):",
        new="    if for_twin:",
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
        new="        case Cleared() if held.holds:\n            return _cleared(",
        walk=False,
    ),
    Mutant(
        name="failure counted without holding the wire",
        old="        case _ if not held.holds:\n            return _ignored(held, event)\n",
        new="",
        walk=False,
    ),
    Mutant(
        name="an ignored verdict keeps the wire",
        old="    if not held.holds:\n        return Decision(",
        new="    if True:\n        return Decision(",
        walk=False,
    ),
    Mutant(
        name="elder's next checkpoint leaves the newer one waiting",
        old="    return _concluded(held, after, Success.CHECKPOINT)",
        new="    return replace(_concluded(held, after, Success.CHECKPOINT), settled=())",
    ),
    Mutant(
        name="elder's success leaves the newer one to be sent",
        old="    return replace(ended, publish_intent=",
        new="    return replace(ended, intent=after, publish_intent=",
    ),
    Mutant(
        name="double click is sent",
        old="_twin_of(intent, newer.digest)",
        new="None",
        walk=False,
    ),
    Mutant(
        name="double click does not take the verdict",
        old="    if held.own or held.intent.awaits_twin:",
        new="    if held.own:",
        walk=False,
    ),
    Mutant(
        name="double click goes on when its exchange is lost",
        old="    if intent.awaits_twin:\n        settled",
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
        old="        after = _with_fault(intent, limits)\n",
        new="        after = _with_fault(replace(intent, wire=None), limits)\n",
    ),
    Mutant(
        name="lost worker's submission not settled",
        old="    if intent.claimed:\n        after = ",
        new="    if False:\n        after = ",
        walk=False,
    ),
    Mutant(
        name="reopen drops a sent wire",
        old="    wire = _hang_up(intent.wire, now_ms, limits.drain_ms)\n    return _take_away",
        new="    wire = None\n    return _take_away",
    ),
    Mutant(
        name="reopen keeps a preparing wire",
        old="    wire = _hang_up(intent.wire, now_ms, limits.drain_ms)\n    return _take_away",
        new="    wire = intent.wire\n    return _take_away",
        walk=False,
    ),
    Mutant(
        name="reopen leaves the elder without outcome",
        old="    return _take_away(intent, replace(fresh, wire=wire), catalogue.CANCELED)",
        new="    taken = _take_away(intent, replace(fresh, wire=wire), catalogue.CANCELED)\n"
        "    return replace(taken, settled=())",
    ),
    Mutant(
        name="kill frees a sent wire",
        old="    wire = _hang_up(intent.wire, now_ms, 0)",
        new="    wire = None",
    ),
    Mutant(
        name="cancel frees a sent wire",
        old="_hang_up(intent.wire, now_ms, limits.drain_ms) if left else intent.wire",
        new="None",
    ),
    Mutant(
        name="deadline frees a sent wire",
        old="        wire = _hang_up(wire, now_ms, limits.drain_ms)\n    after",
        new="        wire = None\n    after",
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
        old="    foreign = current is not None and current.run_id != event.run_id",
        new="    foreign = False",
        walk=False,
    ),
    Mutant(
        name="what another Redis accepted is called unsent",
        old="        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=True)",
        new="        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_MAYBE_USED, sent=False)",
        walk=False,
    ),
    Mutant(
        name="an elder of another Redis is called unsent",
        old="    sent = intent.claimed or not _same_redis(intent, newer.run_id)",
        new="    sent = intent.claimed",
        walk=False,
    ),
    Mutant(
        name="a repeated claim granted by another Redis",
        old="    if _holds(intent, event, Phase.SENT) and _same_redis(intent, event.run_id):",
        new="    if _holds(intent, event, Phase.SENT):",
        walk=False,
    ),
    Mutant(
        name="no not_after in the claim",
        old="        running=started,\n"
        "        not_after_ms=started.last_claim_ms(limits.min_send_ms),",
        new="        running=started,",
        walk=False,
    ),
    Mutant(
        name="claim at any time before the deadline",
        old="    if now_ms > current.last_claim_ms(limits.min_send_ms):\n"
        "        return _give_up(intent, catalogue.TIMED_OUT, DETAIL_NOT_USED, sent=False)\n",
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
        old="    if current is not None and (foreign or current.deadline_ms <= now_ms):",
        new="    if foreign:",
    ),
    Mutant(
        name="superseded elder not settled",
        old="settled=settle(elder, catalogue.CANCELED, sent=sent, superseded_by=newer.id),",
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
        old="settled=settle(intent.current, answer, detail, sent=sent),",
        new="settled=settle(intent.current, answer, detail, sent=False),",
    ),
    Mutant(
        name="a code whose claim a failover lost called unsent",
        old="        intent = replace(intent, wire=replace(wire, phase=Phase.SENT))",
        new="        pass",
        walk=False,
    ),
    Mutant(
        name="elder's failure counted as a fault",
        old="    after = _with_fault(held.freed, limits) if held.own else held.freed",
        new="    after = _with_fault(held.freed, limits)",
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
        old="        hour_count=intent.hour_count,",
        new="        hour_count=0,",
        walk=False,
    ),
    Mutant(
        name="an hour that never ends",
        old="        if now_ms >= intent.hour_from_ms + HOUR_MS:",
        new="        if not intent.hour_count:",
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
        old="publish_intent=state is IntentState.COMPLETED and not ended.settled)",
        new="publish_intent=False)",
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
        old="        return _answer(intent, event.after_claim(), now_ms, limits)",
        new="        return Decision(reply=DecisionStatus.STOP)",
        walk=False,
    ),
)
