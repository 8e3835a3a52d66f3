"""The guards the two promises rest on, and how each of them is removed.

A mutant is the product with one guard taken out: texts replaced in a copy of the tree. Beside it
stands the one test that must fail without the guard. A text that is not in its file exactly once
is an error, so a mutant cannot silently become the original when the product is edited.

Names are those of the list of mistakes that were made, by others and in drafts; a name may stand
here more than once where a promise has more than one guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.mutants.form import Edit
from tests.mutants.rules import RULES
from tests.mutants.scripts import SCRIPTS

NAMES: Final = (
    "claim not required before the first byte",
    "claim before the wire",
    "code returned by the claim's script",
    "wire freed only by its holder",
    "lost worker's wire freed at once",
    "superseded holder learns by signal only",
    "no `not_after` in the commit",
    "final record leaves the code",
    "verdict accepted without holding the wire",
    "elder's next checkpoint leaves the newer one waiting",
    "reopen drops a sent wire",
    "workers judged right after a Redis gap",
    "`run_id` ignored",
    "no clock check between claim and first byte",
    "*cleared* ignored when expired",
    "claim after the send",
    "claim without owner token",
    "claim lifetime shorter than a redelivery",
    'record written without "if absent"',
    "publish outside the commit",
    "supersede checked outside the commit",
    "sweeper that sends again",
    "sweeper that overwrites",
    "failure counted before the settle",
    "`>` for `>=` at the kill",
    "deadline by the host's clock",
    "a client retry on the code request",
    "redirects followed",
    "HTTP session shared between accounts",
    "`str(exc)` of a client library in a record",
    "code in argsrepr",
    "no ledger entry by the producer",
    "version check removed from commit.lua",
    "killed intent that reopens",
    "late verdict of an old generation accepted",
    "registration believed without a proof",
    "stranger's message believed by a session",
    "secret left out of a request's keys",
    "sealed code not bound to its request",
    "captured request typed again",
    "request begun after its deadline",
    "context outlives its intent",
    "names shared by forked processes",
    "a fork told by its pid alone",
    "a parent's session token and reader kept",
    "cancels lost while a command is sent",
    "a refused id forgotten with its record",
    "an hour's count that ends with a record",
    "values in what an error reporter keeps",
    "memory filled by what is new",
    "one account stores without end",
    "one key takes everything",
    "a key reaches every account",
    "work before sizes",
    "connection held open for ever",
    "one unreadable record stops its readers",
    "stop unheard while it starts",
    "error that ends as a good end",
    "expired code sent",
    "another queue served",
    "code in a trace",
    "events of another deployment heard",
    "broker taken from a stranger's variable",
    "connections that stay with a demoted master",
    "keys of a cluster that nobody finds again",
    "half a commit while keys move",
    "records read from a replica",
    "one person's trouble is everybody's",
    "a job's exception keeps the frames it went through",
    "garbage without a bound",
    "a verdict that cannot be told",
    "doubt that lets guess",
    "a login thrown away with its answer",
    "a code that is not what was typed",
    "a header of ours overridden",
    "a person's number in a sentence",
    "an answer unpacked without a bound",
    "a session thrown away",
    "an unknown answer that ends a login",
    "a code where an address is asked for",
    "two codes sent as one",
    "INSTAGRAM: a finished login thrown away",
    "INSTAGRAM: words believed before structure",
    "INSTAGRAM: a login ended by what nobody knows",
    "a revoked login handed over",
    "a page judged by what stands around its form",
    "a number with two meanings read as one",
    "a stored field renamed",
    "a living hub taken for a dead one",
    "the report of an outcome holds a copy of the tracer's stack",
)
"""What a suite for this product must catch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A guard removed, and the test that must notice.

    Attributes:
        name: One of `NAMES`.
        guard: What is taken out, in a few words.
        edits: How.
        test: The pytest node that must pass with the guard and fail without it.
    """

    name: str
    guard: str
    edits: tuple[Edit, ...]
    test: str

    @property
    def files(self) -> str:
        """The files the guard stands in."""
        return ", ".join(dict.fromkeys(edit.file for edit in self.edits))


def _rule(name: str) -> Edit:
    return RULES[name]


def _script(name: str) -> Edit:
    return SCRIPTS[name].edit


def _sequence(name: str) -> str:
    return f"tests/rules/test_sequences.py::test_sequence_ends_as_told[{name}]"


SIM: Final = "tests/sim/test_sim.py::test_every_promise_is_kept_whatever_the_weather"
TRANSPORT: Final = "tests/providers/test_transport.py::"
GARBAGE: Final = "tests/behaviour/test_pool_garbage.py::"
BRANCHES: Final = "tests/store/test_attempt_branches.py::"
LIVE: Final = "tests/behaviour/test_live_session.py::"
SAYINGS: Final = "tests/providers/test_conformance.py::test_what_the_provider_says_has_its_pair"
TWITTER: Final = "tests/providers/test_twitter.py::"
ATTACKS: Final = "tests/ops/test_live_attacks.py::"
CLUSTER: Final = "tests/store/test_cluster.py::"

IG: Final = "tests/providers/test_instagram_reports.py::"

LIMITS: Final = "tests/behaviour/test_gateway_limits.py::"

MUTANTS: Final = (
    Mutant(
        name="claim not required before the first byte",
        guard="the code is opened only after an acknowledged claim",
        edits=(
            Edit(
                file="tasks/execution/attempt.py",
                old="            self._stage = _Stage.CLAIMING\n",
                new="            self._stage = _Stage.CLAIMED\n"
                "            end_s = time.monotonic() + 1\n"
                "            return ClaimTicket(code=ledger.open_code(), send_before=end_s)\n",
            ),
        ),
        test=f"{SIM}[0-5]",
    ),
    Mutant(
        name="claim before the wire",
        guard="a busy wire is waited for",
        edits=(_rule("no wire check before begin and claim"),),
        test=_sequence("superseded_holder_that_hears_no_signal"),
    ),
    Mutant(
        name="code returned by the claim's script",
        guard="the sealed code is read before the claim, so its repeat needs none",
        edits=(
            Edit(
                file="tasks/storage/scripts/commit.lua",
                old="if plan.del[1] then\n  redis.call('DEL', unpack(plan.del))\nend\n",
                new="local held = plan.del[1] and redis.call('GET', plan.del[1]) or ''\n"
                "if plan.del[1] then\n  redis.call('DEL', unpack(plan.del))\nend\n",
            ),
            Edit(
                file="tasks/storage/scripts/commit.lua",
                old="return reply('done', #written)\n",
                new="return {'done', string.format('%.0f', now_ms), #written, held}\n",
            ),
            Edit(
                file="tasks/storage/store.py",
                old="        code, now_ms, written = yield ScriptCall(",
                new="        code, now_ms, written, *HELD[:] = yield ScriptCall(",
            ),
            Edit(
                file="tasks/storage/store.py",
                old="COMMIT_ROUNDS: Final = 64\n",
                new="COMMIT_ROUNDS = 64\nHELD = []\n",
            ),
            Edit(
                file="tasks/execution/ledger.py",
                old="        return self._access.vault.open(name, self._solution_text).decode()\n",
                new="        from checkpoint_worker.tasks.storage.store import HELD\n"
                "        return self._access.vault.open(name, ''.join(HELD)).decode()\n",
            ),
        ),
        test=f"{BRANCHES}test_a_claim_whose_reply_was_lost_is_repeated_and_sent_once",
    ),
    Mutant(
        name="wire freed only by its holder",
        guard="a wire ends by its own limit",
        edits=(_rule("wire freed only by its holder"),),
        test=_sequence("lost_holder_of_a_sent_wire"),
    ),
    Mutant(
        name="lost worker's wire freed at once",
        guard="hanging up does not un-send",
        edits=(_rule("lost worker's sent wire freed at once"),),
        test=_sequence("lost_holder_of_a_sent_wire"),
    ),
    Mutant(
        name="superseded holder learns by signal only",
        guard="only an answered heartbeat frees a draining wire",
        edits=(_rule("superseded holder learns by signal only"),),
        test=_sequence("superseded_holder_that_hears_no_signal"),
    ),
    Mutant(
        name="superseded holder learns by signal only",
        guard="the heartbeat's answer lists the exchanges to close",
        edits=(
            Edit(
                file="tasks/execution/sweeper.py",
                old="in answer.drains.items():\n",
                new="in ():\n",
            ),
        ),
        test=f"{BRANCHES}test_a_heartbeat_s_answer_tells_the_holder_to_hang_up",
    ),
    Mutant(
        name="no `not_after` in the commit",
        guard="the script refuses what comes too late",
        edits=(_script("no `not_after` in the commit"),),
        test="tests/store/test_commit.py::"
        "test_a_claim_decided_in_time_and_committed_late_is_refused",
    ),
    Mutant(
        name="no `not_after` in the commit",
        guard="a claim says until when it holds",
        edits=(_rule("no not_after in the claim"),),
        test=_sequence("claim_decided_before_and_committed_after_the_deadline"),
    ),
    Mutant(
        name="final record leaves the code",
        guard="whatever makes a record final deletes its code",
        edits=(_script("final record leaves the code"),),
        test="tests/store/test_secrets.py::"
        "test_the_code_is_sealed_in_redis_only_until_it_is_claimed_or_final",
    ),
    Mutant(
        name="verdict accepted without holding the wire",
        guard="who lost the wire is not heard",
        edits=(_rule("failure counted without holding the wire"),),
        test=_sequence("rejection_without_the_wire_counts_nothing"),
    ),
    Mutant(
        name="elder's next checkpoint leaves the newer one waiting",
        guard="a further step answers who waits with 202",
        edits=(_rule("elder's next checkpoint leaves the newer one waiting"),),
        test=_sequence("elders_next_checkpoint"),
    ),
    Mutant(
        name="reopen drops a sent wire",
        guard="an exchange outlives its generation",
        edits=(_rule("reopen drops a sent wire"),),
        test=_sequence("reopen_during_an_exchange"),
    ),
    Mutant(
        name="workers judged right after a Redis gap",
        guard="who has not beaten steadily judges nobody",
        edits=(
            Edit(
                file="tasks/execution/sweeper.py",
                old="        return now_s - self.steady_since_s >= settings.lost_after_s"
                " + JUDGE_AFTER_S\n",
                new="        return True\n",
            ),
        ),
        test="tests/behaviour/test_attempt.py::test_who_has_not_beaten_steadily_judges_nobody",
    ),
    Mutant(
        name="`run_id` ignored",
        guard="what another Redis accepted is not begun",
        edits=(_rule("run_id ignored"),),
        test=_sequence("failover_that_loses_the_claim"),
    ),
    Mutant(
        name="`run_id` ignored",
        guard="the script compares the identity itself",
        edits=(_script("`run_id` ignored"),),
        test="tests/store/test_commit.py::test_a_commit_on_another_redis_than_it_read_is_refused",
    ),
    Mutant(
        name="no clock check between claim and first byte",
        guard="the transport looks at the clock last",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="        if time.monotonic() > ticket.send_before:\n",
                new="        if False:\n",
            ),
        ),
        test=f"{TRANSPORT}test_nothing_is_sent_when_the_ticket_has_run_out",
    ),
    Mutant(
        name="no clock check between claim and first byte",
        guard="the second counts from the claim's command, not from its reply",
        edits=(
            Edit(
                file="tasks/execution/attempt.py",
                old="send_before=asked_s + FIRST_BYTE_S)",
                new="send_before=time.monotonic() + FIRST_BYTE_S)",
            ),
        ),
        test=f"{BRANCHES}test_a_claim_whose_answer_takes_too_long_is_not_sent",
    ),
    Mutant(
        name="*cleared* ignored when expired",
        guard="a success that was received completes an expired intent",
        edits=(_rule("cleared ignored when expired"),),
        test=_sequence("success_after_expiry_still_counts"),
    ),
    Mutant(
        name="claim after the send",
        guard="the claim is acknowledged before there is a body",
        edits=(
            Edit(
                file="tasks/execution/attempt.py",
                old="        assert self._limit is not None\n",
                new="        if not hasattr(self, '_owed'):\n"
                "            self._owed, end_s = ledger, time.monotonic() + 1\n"
                "            return ClaimTicket(code=ledger.open_code(), send_before=end_s)\n"
                "        self._limit = asyncio.timeout(None)\n"
                "        await self._limit.__aenter__()\n",
            ),
            Edit(
                file="tasks/execution/attempt.py",
                old="            ended = await self._verify(ledger, prepared)\n",
                new="            ended = await self._verify(ledger, prepared)\n"
                "            if hasattr(self, '_owed'):\n"
                "                await self._claim(self._owed)\n",
            ),
        ),
        test=f"{SIM}[0-5]",
    ),
    Mutant(
        name="claim without owner token",
        guard="a repeat is granted to the claim that was made",
        edits=(_rule("claim without owner token"),),
        test=_sequence("repeated_claim_of_its_owner"),
    ),
    Mutant(
        name="claim lifetime shorter than a redelivery",
        guard="a used id is remembered for a day",
        edits=(
            Edit(
                file="tasks/storage/store.py",
                old="SEEN_TTL_MS: Final = 24 * 3600 * 1000\n",
                new="SEEN_TTL_MS: Final = 60 * 1000\n",
            ),
        ),
        test=f"{BRANCHES}test_a_used_id_is_remembered_longer_than_any_redelivery",
    ),
    Mutant(
        name='record written without "if absent"',
        guard="a final record is written once",
        edits=(_script('record written without "if absent"'),),
        test="tests/store/test_commit.py::test_an_orphan_s_final_record_is_written_once",
    ),
    Mutant(
        name="publish outside the commit",
        guard="a record is published by the commit that wrote it, after its checks",
        edits=(
            _script("publish outside the commit"),
            Edit(
                file="tasks/storage/scripts/commit.lua",
                old="local plan = cjson.decode(ARGV[1])\n",
                new="local plan = cjson.decode(ARGV[1])\n"
                "for _, record in ipairs(plan.records) do\n"
                "  if record[4] == 1 then\n"
                "    redis.call('PUBLISH', record[5], record[2])\n"
                "  end\n"
                "end\n",
            ),
        ),
        test="tests/store/test_races.py::test_every_interleaving_of_submissions_is_answered_once",
    ),
    Mutant(
        name="supersede checked outside the commit",
        guard="a newer submission is compared like any other change",
        edits=(
            Edit(
                file="tasks/storage/scripts/commit.lua",
                old="if version ~= plan.version then\n",
                new="if version ~= plan.version and not plan.requeue then\n",
            ),
        ),
        test="tests/store/test_races.py::test_every_interleaving_of_submissions_is_answered_once",
    ),
    Mutant(
        name="sweeper that sends again",
        guard="a claimed submission of a lost worker is settled, its code gone",
        edits=(
            Edit(
                file="tasks/rules.py",
                old="        after = _with_fault(intent, limits)\n",
                new="        return _go_on(replace(intent, wire=None))\n",
            ),
            _rule("claim leaves the code"),
        ),
        test=f"{SIM}[0-5]",
    ),
    Mutant(
        name="sweeper that overwrites",
        guard="what is final stays, whoever sweeps",
        edits=(
            Edit(
                file="tasks/execution/sweeper.py",
                old="            self.attempts.observer.swept(provider)\n",
                new="            from checkpoint_worker.tasks.catalogue import CANCELED\n"
                "            from checkpoint_worker.tasks.operations import validation\n"
                "            from checkpoint_worker.tasks.model import Settlement\n"
                "            one = validation.unknown_submission(\n"
                "                record.submission_id, result.now_ms\n"
                "            )\n"
                "            again = Settlement(submission=one, answer=CANCELED, code_sent=True)\n"
                "            runner = self.attempts\n"
                "            await runner.door.run(runner.store.settle_orphan(*intent, again))\n",
            ),
            _script('record written without "if absent"'),
        ),
        test=f"{BRANCHES}test_two_sweeps_settle_once_and_change_nothing_final",
    ),
    Mutant(
        name="failure counted before the settle",
        guard="a failure is a verdict, not an attempt",
        edits=(
            Edit(
                file="tasks/rules.py",
                old="        intent=replace(intent, current=started, wire=wire),\n"
                "        running=started,\n",
                new="        intent=replace(intent, current=started, wire=wire,"
                " failures=intent.failures + 1),\n"
                "        running=started,\n",
            ),
            Edit(
                file="tasks/rules.py",
                old="failures=held.freed.failures + 1)\n",
                new="failures=held.freed.failures)\n",
            ),
        ),
        test=_sequence("deadline_of_a_running_one"),
    ),
    Mutant(
        name="`>` for `>=` at the kill",
        guard="the third refusal kills",
        edits=(_rule("> for >= at the kill"),),
        test=_sequence("third_rejection_kills"),
    ),
    Mutant(
        name="deadline by the host's clock",
        guard="time is the server's",
        edits=(
            Edit(
                file="tasks/storage/base.py",
                old="        return Snapshot(\n            now_ms=int(now_ms),\n",
                new="        import time\n"
                "        return Snapshot(\n"
                "            now_ms=time.time_ns() // 1_000_000,\n",
            ),
        ),
        test=f"{BRANCHES}test_a_host_whose_clock_is_wrong_changes_no_deadline",
    ),
    Mutant(
        name="a client retry on the code request",
        guard="a lost connection is told, not mended",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="            return await self._answered(line, draft, data)\n",
                new="            try:\n"
                "                return await self._answered(line, draft, data)\n"
                "            except ProviderTimeoutError:\n"
                "                line = await self._connected(draft)\n"
                "                return await self._answered(line, draft, data)\n",
            ),
        ),
        test=f"{TRANSPORT}test_a_dropped_connection_is_not_tried_again[PUT]",
    ),
    Mutant(
        name="a client retry on the code request",
        guard="one exchange, one code request, whatever comes of it",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="        self._code_request_made = True\n"
                "        return await self._converse(request)\n",
                new="        self._code_request_made = True\n"
                "        try:\n"
                "            return await self._converse(request)\n"
                "        except ProviderTimeoutError:\n"
                "            return await self._converse(request)\n",
            ),
        ),
        test=f"{TRANSPORT}test_a_dropped_connection_is_not_tried_again[POST]",
    ),
    Mutant(
        name="redirects followed",
        guard="a redirect is an answer",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="            return reply\n",
                new="            if 'location' in reply.headers:\n"
                "                draft.target = checked_target(reply.headers['location'])\n"
                "                line = await self._connected(draft)\n"
                "                return await self._answered(line, draft, data)\n"
                "            return reply\n",
            ),
        ),
        test=f"{TRANSPORT}test_redirects_are_answers_not_orders[307 X]",
    ),
    Mutant(
        name="HTTP session shared between accounts",
        guard="every request has a connection of its own",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="        try:\n"
                "            async with asyncio.timeout(self._connect_timeout_s):\n",
                new="        shared = globals().setdefault('SHARED', {})\n"
                "        line = shared.get(asyncio.get_running_loop())\n"
                "        if line is not None and line.is_alive:\n"
                "            return line\n"
                "        try:\n"
                "            async with asyncio.timeout(self._connect_timeout_s):\n",
            ),
            Edit(
                file="providers/http/exchange.py",
                old="            line.cut()\n",
                new="            shared = globals().setdefault('SHARED', {})\n"
                "            shared[asyncio.get_running_loop()] = line\n",
            ),
        ),
        test="tests/providers/test_hostile_peers.py::"
        "test_a_connection_that_is_kept_open_is_not_used_again",
    ),
    Mutant(
        name="`str(exc)` of a client library in a record",
        guard="a failure speaks in our words",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old='        return UnreadableAnswerError("The provider\'s answer is not HTTP.")\n',
                new="        return UnreadableAnswerError(str(error))\n",
            ),
        ),
        test=f"{TRANSPORT}test_every_library_error_becomes_a_failure_in_our_words[ValueError]",
    ),
    Mutant(
        name="`str(exc)` of a client library in a record",
        guard="a crash is told by class and place",
        edits=(
            Edit(
                file="tasks/execution/report.py",
                old='        why = str(error) if isinstance(error, InvalidVerdictError) else ""\n',
                new="        why = str(error)\n",
            ),
            Edit(
                file="tasks/execution/attempt.py",
                old="UNEXPECTED, sent=sent, in_doubt=sent)\n",
                new="UNEXPECTED, sent=sent, detail=crash.why)\n",
            ),
        ),
        test="tests/behaviour/test_attempt.py::"
        "test_an_adapter_s_bug_is_500_and_tells_no_value[True]",
    ),
    Mutant(
        name="code in argsrepr",
        guard="the code is taken out before Celery sees arguments",
        edits=(
            Edit(
                file="tasks/celery_task/sanitize.py",
                old="for name, value in kept.items()})\n",
                new="for name, value in given.items()})\n",
            ),
        ),
        test="tests/behaviour/test_strategy.py::test_a_message_put_back_keeps_its_sealed_code",
    ),
    Mutant(
        name="no ledger entry by the producer",
        guard="the submission is in the ledger before anybody is woken",
        edits=(
            Edit(
                file="tasks/client/blocking.py",
                old="        submitted = self._run(self._core.submit(request, new,"
                " checkpoint_step), TAKEN, new)\n",
                new="        kwargs = {'account_id': account_id, 'provider': provider,"
                " 'code': request.code}\n"
                "        self._producer.send_task('checkpoint.solve', task_id=new,"
                " kwargs=kwargs)\n"
                "        return Submitted(id=new, outcome=None, accepted=True)\n",
            ),
        ),
        test="tests/store/test_client.py::"
        "test_polling_tells_unknown_queued_running_and_final_apart[sync]",
    ),
    Mutant(
        name="version check removed from commit.lua",
        guard="a decision is written over the version it was made on",
        edits=(_script("version check removed from commit.lua"),),
        test="tests/store/test_commit.py::test_a_commit_over_another_version_is_refused",
    ),
    Mutant(
        name="killed intent that reopens",
        guard="killed hears no verdict",
        edits=(_rule("killed intent reopened by a verdict"),),
        test=_sequence("killed_stays_killed"),
    ),
    Mutant(
        name="late verdict of an old generation accepted",
        guard="a verdict counts in its own generation",
        edits=(_rule("verdict of an old generation accepted"),),
        test=_sequence("success_of_an_old_generation_is_lost"),
    ),
    Mutant(
        name="registration believed without a proof",
        guard="a code is claimed for a registration that the login's secret proves",
        edits=(
            Edit(
                file="providers/live_session/sealing.py",
                old="    if not keys.proves(registration):\n",
                new="    if False:\n",
            ),
        ),
        test=f"{ATTACKS}test_a_key_in_the_session_s_place_gets_no_code",
    ),
    Mutant(
        name="stranger's message believed by a session",
        guard="requests and cancels without the secret's proof are passed over",
        edits=(
            Edit(
                file="providers/live_session/sealing.py",
                old="message is not None and keys.proves(message)",
                new="message is not None",
            ),
        ),
        test=f"{ATTACKS}test_a_stranger_cancels_nothing",
    ),
    Mutant(
        name="secret left out of a request's keys",
        guard="without the secret a request's key pairs open nothing",
        edits=(
            Edit(
                file="providers/live_session/sealing.py",
                old="_derive(self._secret + shared, ",
                new="_derive(shared, ",
            ),
        ),
        test="tests/providers/test_live_session.py::test_only_the_asked_session_can_answer",
    ),
    Mutant(
        name="sealed code not bound to its request",
        guard="login, submission, request and deadline are associated data",
        edits=(
            Edit(
                file="providers/live_session/sealing.py",
                old="        bound = (self._provider, self._account_id, *request.bound())\n",
                new="        bound = ()\n",
            ),
        ),
        test="tests/providers/test_live_session.py::"
        "test_only_the_session_opens_the_code_and_only_for_its_request",
    ),
    Mutant(
        name="captured request typed again",
        guard="what was begun is remembered until its deadline",
        edits=(
            Edit(
                file="tasks/live_session/host.py",
                old=" if deadline_ms <= now_ms]",
                new="]",
            ),
            Edit(
                file="tasks/live_session/host.py",
                old="        if ask.deadline_ms <= max(now_ms, self._forgotten_ms):\n",
                new="        if ask.deadline_ms <= now_ms:\n",
            ),
        ),
        test=f"{LIVE}test_a_request_is_remembered_until_a_clock_refuses_it",
    ),
    Mutant(
        name="captured request typed again",
        guard="nothing is forgotten for room",
        edits=(
            Edit(
                file="tasks/live_session/host.py",
                old="            self._known[ask.request_id] = ask.deadline_ms\n"
                "            return True\n",
                new="            self._known[ask.request_id] = ask.deadline_ms\n"
                "        return True\n",
            ),
        ),
        test=f"{LIVE}test_a_session_that_remembers_all_it_can_drops_nothing",
    ),
    Mutant(
        name="captured request typed again",
        guard="a clock that is set back begins nothing that was forgotten",
        edits=(
            Edit(
                file="tasks/live_session/host.py",
                old="max(now_ms, self._forgotten_ms)",
                new="now_ms",
            ),
        ),
        test=f"{LIVE}test_a_request_is_remembered_until_a_clock_refuses_it",
    ),
    Mutant(
        name="request begun after its deadline",
        guard="a session asks Redis for the time before it begins",
        edits=(
            Edit(
                file="tasks/live_session/host.py",
                old="max(now_ms, self._forgotten_ms)",
                new="self._forgotten_ms",
            ),
        ),
        test=f"{LIVE}test_a_question_after_its_deadline_is_not_begun",
    ),
    Mutant(
        name="context outlives its intent",
        guard="the commit that ends an intent deletes its context",
        edits=(
            Edit(
                file="tasks/storage/plan.py",
                old="        if self.after is None or self.after.state is IntentState.OPEN:\n",
                new="        if True:\n",
            ),
        ),
        test="tests/store/test_context_ends.py::"
        "test_the_commit_that_ends_an_intent_takes_its_context[killed]",
    ),
    Mutant(
        name="names shared by forked processes",
        guard="each name asks which process it is",
        edits=(
            Edit(
                file="tasks/storage/ids.py",
                old="    if _page[0] and process.pid == pid:\n",
                new="    if process is not None:\n",
            ),
        ),
        test="tests/store/test_names.py::"
        "test_a_forked_process_makes_other_names_than_its_parent[C's]",
    ),
    Mutant(
        name="a fork told by its pid alone",
        guard="memory that the kernel clears in a fork",
        edits=(
            Edit(
                file="tasks/storage/ids.py",
                old="    if _page[0] and process.pid == pid:\n",
                new="    if process.pid == pid:\n",
            ),
        ),
        test="tests/store/test_names.py::test_a_forked_process_is_told_by_more_than_its_pid",
    ),
    Mutant(
        name="a parent's session token and reader kept",
        guard="who takes a session or reads for a group is a process",
        edits=(
            Edit(
                file="tasks/client/base.py",
                old="        self._core.forget_token()\n",
                new="",
            ),
        ),
        test="tests/store/test_client_waiting.py::"
        "test_a_client_made_before_the_fork_works_in_every_process[ctypes.PyDLL(None).fork]",
    ),
    Mutant(
        name="a refused id forgotten with its record",
        guard="a refused plain producer's id is remembered as any other",
        edits=(
            Edit(
                file="tasks/storage/store.py",
                old="                put=((seen_key, self.keys.member(provider, account_id),"
                " SEEN_TTL_MS),),\n",
                new="",
            ),
        ),
        test="tests/store/test_intake.py::"
        "test_a_refused_raw_submission_s_id_is_remembered_as_any_other[acc_1]",
    ),
    Mutant(
        name="an hour's count that ends with a record",
        guard="an intent lives as long as the hour it counts",
        edits=(
            Edit(
                file="tasks/storage/base.py",
                old="        return max(self.result_ttl_ms, HOUR_MS)\n",
                new="        return self.result_ttl_ms\n",
            ),
        ),
        test="tests/store/test_submission_limits.py::"
        "test_the_hour_s_count_lives_as_long_as_its_hour",
    ),
    Mutant(
        name="values in what an error reporter keeps",
        guard="an error leaves without the frames it came past",
        edits=(
            Edit(
                file="tasks/tracebacks.py",
                old="            trace.tb_next = None\n",
                new="            pass\n",
            ),
        ),
        test="tests/behaviour/test_error_reports.py::test_a_backend_s_reports_hold_no_secret",
    ),
    Mutant(
        name="values in what an error reporter keeps",
        guard="whoever is given a code drops its own name for it",
        edits=(
            Edit(
                file="tasks/client/blocking.py",
                old="            user_id=user_id,\n        )\n        del context, proxy\n"
                "        return self._run(steps, OPENED)\n",
                new="            user_id=user_id,\n        )\n"
                "        return self._run(steps, OPENED)\n",
            ),
        ),
        test="tests/behaviour/test_error_reports.py::test_a_backend_s_reports_hold_no_secret",
    ),
    Mutant(
        name="memory filled by what is new",
        guard="nothing new is taken in near maxmemory",
        edits=(
            Edit(
                file="tasks/operations/acceptance.py",
                old="    if snapshot.filled >= store.room.filled_max:\n",
                new="    if False:\n",
            ),
        ),
        test="tests/store/test_door.py::test_a_nearly_full_redis_takes_nothing_new_in",
    ),
    Mutant(
        name="memory filled by what is new",
        guard="a full Redis lets through what is under way",
        edits=(
            Edit(
                file="tasks/storage/scripts/commit.lua",
                old="if not plan.intake then\n",
                new="if false then\n",
            ),
        ),
        test="tests/store/test_door.py::"
        "test_in_a_full_redis_what_is_under_way_goes_on_to_its_outcome",
    ),
    Mutant(
        name="one account stores without end",
        guard="what is done for an account is counted by the hour",
        edits=(
            Edit(
                file="tasks/operations/acceptance.py",
                old="        if count >= self._most:\n",
                new="        if False:\n",
            ),
        ),
        test="tests/store/test_submission_limits.py::"
        "test_what_no_open_login_takes_is_stored_so_often_in_an_hour",
    ),
    Mutant(
        name="one key takes everything",
        guard="a key has so many bytes stored at a time",
        edits=(
            Edit(
                file="tasks/gateway/keys.py",
                old="        if size <= self._left:\n",
                new="        if True:\n",
            ),
        ),
        test=f"{LIMITS}test_one_key_has_stored_so_much_and_another_goes_on[intents]",
    ),
    Mutant(
        name="one key takes everything",
        guard="a key has so many requests under way",
        edits=(
            Edit(
                file="tasks/gateway/middleware.py",
                old="        if key.under_way >= REQUESTS_MAX:\n",
                new="        if False:\n",
            ),
        ),
        test=f"{LIMITS}test_one_key_has_so_many_requests_under_way",
    ),
    Mutant(
        name="a key reaches every account",
        guard="a key with a prefix names the accounts that begin so",
        edits=(
            Edit(
                file="tasks/gateway/access.py",
                old="    if not key.may_name(account_id):\n",
                new="    if False:\n",
            ),
        ),
        test=f"{LIMITS}test_a_key_of_some_accounts_knows_of_no_other",
    ),
    Mutant(
        name="work before sizes",
        guard="the size of a context is looked at before its model looks",
        edits=(
            Edit(
                file="tasks/operations/validation.py",
                old="    _check_size(context)\n",
                new="",
            ),
        ),
        test="tests/store/test_intake.py::"
        "test_a_context_is_refused_by_its_size_before_its_model_looks",
    ),
    Mutant(
        name="connection held open for ever",
        guard="each phase of a connection has its longest time",
        edits=(
            Edit(
                file="worker/gateway.py",
                old="        elif now_s - self._since_s >= seen[0].longest_s:\n",
                new="        elif False:\n",
            ),
        ),
        test=f"{LIMITS}test_whoever_dribbles_is_hung_up_on[a body after a 401]",
    ),
    Mutant(
        name="connection held open for ever",
        guard="the eldest connection without a key makes room",
        edits=(
            Edit(
                file="worker/gateway.py",
                old="        if len(self._strangers) > STRANGERS_MAX:\n",
                new="        if False:\n",
            ),
        ),
        test=f"{LIMITS}test_strangers_crowd_out_each_other_alone",
    ),
    Mutant(
        name="one unreadable record stops its readers",
        guard="what cannot be read is passed over",
        edits=(
            Edit(
                file="tasks/records.py",
                old="    except ValidationError as error:\n",
                new="    except ZeroDivisionError as error:\n",
            ),
        ),
        test="tests/store/test_strange_records.py::test_a_group_passes_over_what_it_cannot_read",
    ),
    Mutant(
        name="stop unheard while it starts",
        guard="the first import hears SIGTERM, also as process 1",
        edits=(
            Edit(
                file="worker/runtime/stop_signals.py",
                old="install(signals_of(sys.argv, sys.orig_argv))\n",
                new="",
            ),
        ),
        test="tests/ops/test_stop_signals.py::test_the_first_import_of_ours_hears",
    ),
    Mutant(
        name="error that ends as a good end",
        guard="Celery's exit status is that of `checkpoint worker`",
        edits=(
            Edit(
                file="worker/cli/commands/worker.py",
                old="    return status or 0\n",
                new="    return 0\n",
            ),
        ),
        test="tests/ops/test_exit_status.py::"
        "test_an_address_that_is_taken_is_status_1[checkpoint worker]",
    ),
    Mutant(
        name="expired code sent",
        guard="what expired in the queue is refused",
        edits=(
            Edit(
                file="tasks/celery_task/message_options.py",
                old='    return ("expired", None) if expires_s <= now_s else',
                new="    return (None, None) if expires_s <= now_s else",
            ),
        ),
        test="tests/behaviour/test_message_options.py::test_an_expired_code_is_not_sent",
    ),
    Mutant(
        name="expired code sent",
        guard="no claim once the sender has given it up",
        edits=(
            Edit(
                file="tasks/model.py",
                old="        return last_ms if self.send_by_ms is None"
                " else min(last_ms, self.send_by_ms)\n",
                new="        return last_ms\n",
            ),
        ),
        test="tests/behaviour/test_message_options.py::"
        "test_a_code_that_expires_while_it_waits_is_not_sent",
    ),
    Mutant(
        name="another queue served",
        guard="a queue that is not the deployment's is refused",
        edits=(
            Edit(
                file="worker/runtime/celery_options.py",
                old="    return list(value) == [ctx.obj.app.conf.task_default_queue]\n",
                new="    return bool(value)\n",
            ),
        ),
        test="tests/ops/test_celery_options.py::test_a_refused_option_is_a_sentence[queues]",
    ),
    Mutant(
        name="code in a trace",
        guard="a header that holds the code is dropped",
        edits=(
            Edit(
                file="tasks/celery_task/message_options.py",
                old=" and not (hidden and hidden in ",
                new=" and not (False and hidden in ",
            ),
        ),
        test="tests/behaviour/test_message_options.py::test_headers_of_a_producer_are_bounded",
    ),
    Mutant(
        name="events of another deployment heard",
        guard="another prefix has its own exchanges of events and remote control",
        edits=(
            Edit(
                file="tasks/storage/keys.py",
                old="        return name if self.prefix == DEFAULT_PREFIX else",
                new="        return name if self.prefix else",
            ),
        ),
        test="tests/ops/test_remote.py::test_another_deployment_on_the_same_redis_is_not_heard",
    ),
    Mutant(
        name="broker taken from a stranger's variable",
        guard="a Celery app of ours does not ask the environment for its broker",
        edits=(
            Edit(
                file="tasks/operations/celery_app.py",
                old='        object.__setattr__(self._conf, "__class__", _OwnSettings)',
                new="        ",
            ),
        ),
        test="tests/ops/test_environment.py::test_an_app_of_ours_listens_to_no_variable",
    ),
    Mutant(
        name="cancels lost while a command is sent",
        guard="a cancel that comes just as a command is sent ends its task (Python 3.11)",
        edits=(
            Edit(
                file="tasks/storage/connections.py",
                old="if task and task.cancelling() > before:",
                new="if task is None:",
            ),
        ),
        test="tests/store/test_connections.py::test_a_cancel_is_not_lost_while_a_command_is_sent",
    ),
    Mutant(
        name="connections that stay with a demoted master",
        guard="a connection ends with the refusal of a Redis that is not the one to ask",
        edits=(
            Edit(
                file="tasks/storage/connections.py",
                old="    return isinstance(error, _CLASSES) or",
                new="    return False and isinstance(error, _CLASSES) or error is None and",
            ),
        ),
        test="tests/store/test_connections.py::test_a_blocking_client_leaves",
    ),
    Mutant(
        name="keys of a cluster that nobody finds again",
        guard="a connection ends with MOVED",
        edits=(
            Edit(
                file="tasks/storage/connections.py",
                old="MISCONF|CLUSTERDOWN|MOVED)",
                new="MISCONF)",
            ),
            Edit(
                file="tasks/storage/connections.py",
                old="MasterDownError, MovedError, ReadOnlyError)\n",
                new="MasterDownError, ReadOnlyError)\n",
            ),
        ),
        test=f"{CLUSTER}test_every_client_follows_a_planned_failover",
    ),
    Mutant(
        name="keys of a cluster that nobody finds again",
        guard="a node that told what is over is not the only one that is asked",
        edits=(
            Edit(
                file="tasks/storage/cluster.py",
                old="            self._order = (*rest, place)\n",
                new="",
            ),
        ),
        test=f"{CLUSTER}test_each_node_is_asked_in_turn_and_a_silent_one_last",
    ),
    Mutant(
        name="keys of a cluster that nobody finds again",
        guard="a prefix without a hash tag is refused in cluster mode",
        edits=(
            Edit(
                file="tasks/settings.py",
                old='if clustered and "{" not in self.prefix:',
                new="if False:",
            ),
        ),
        test=f"{CLUSTER}test_an_address_in_cluster_mode_wants_a_hash_tag",
    ),
    Mutant(
        name="half a commit while keys move",
        guard="a commit declares the keys of its plan",
        edits=(
            Edit(
                file="tasks/storage/store.py",
                old='Call("commit", (*keys, *plan.touched), (text,))',
                new='Call("commit", keys, (text,))',
            ),
        ),
        test=f"{CLUSTER}test_while_a_slot_moves_a_commit_is_refused_as_a_whole",
    ),
    Mutant(
        name="records read from a replica",
        guard="a look that no commit follows is answered by a master",
        edits=(
            Edit(
                file="tasks/storage/scripts/read.lua",
                old="if needs_master then",
                new="if false then",
            ),
        ),
        test="tests/store/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    Mutant(
        name="records read from a replica",
        guard="lists of outcomes come from a master",
        edits=(
            Edit(
                file="tasks/storage/scripts/recent.lua",
                old="if needs_master then",
                new="if false then",
            ),
        ),
        test="tests/store/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    Mutant(
        name="records read from a replica",
        guard="a replica knows of no session to take",
        edits=(Edit(file="tasks/storage/scripts/take.lua", old="'role:slave'", new="'role:none'"),),
        test="tests/store/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    Mutant(
        name="one person's trouble is everybody's",
        guard="names of proxies are looked up apart from those of providers",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="resolver or PROXY_NAMES",
                new="resolver or PROVIDER_NAMES",
            ),
        ),
        test="tests/faults/test_others.py::test_dead_names_of_proxies_stop_nobody",
    ),
    Mutant(
        name="one person's trouble is everybody's",
        guard="all who want a name share one look-up",
        edits=(
            Edit(
                file="providers/http/resolver.py",
                old="    found = asked.get(host)\n",
                new="    found = None\n",
            ),
        ),
        test="tests/providers/test_names.py::"
        "test_a_provider_s_name_is_asked_once_for_all_who_want_it",
    ),
    Mutant(
        name="one person's trouble is everybody's",
        guard="a sweep goes on behind what no look can change",
        edits=(
            Edit(
                file="tasks/execution/sweeper.py",
                old="        skip += await self._tick_each(survey)\n",
                new="        await self._tick_each(survey)\n",
            ),
        ),
        test="tests/faults/test_stuck.py::test_what_cannot_be_changed_delays_nobody_s_outcome",
    ),
    Mutant(
        name="one person's trouble is everybody's",
        guard="a lost worker is forgotten, whatever it held",
        edits=(
            Edit(
                file="tasks/execution/sweeper.py",
                old="                if end is None or _is_unreadable(end):\n",
                new="                if end is None:\n",
            ),
        ),
        test="tests/behaviour/test_attempt.py::"
        "test_one_intent_that_cannot_be_read_keeps_back_no_other",
    ),
    Mutant(
        name="one person's trouble is everybody's",
        guard="each byte of a head is looked at once",
        edits=(
            Edit(
                file="providers/http/heads.py",
                old="max(self.end, self._looked - 2)",
                new="self.end",
            ),
            Edit(
                file="providers/http/heads.py",
                old="heard.find(_END, start)",
                new="bytes(heard).replace(b'\\r', b' ').find(b'\\n \\n', start)",
            ),
        ),
        test="tests/providers/test_heads.py::test_a_head_costs_no_more_than_its_bytes",
    ),
    Mutant(
        name="a job's exception keeps the frames it went through",
        guard="exceptions are parted from frames when a job ends",
        edits=(
            Edit(
                file="tasks/tracebacks.py",
                old="        exc.__traceback__ = None\n",
                new="        exc.__suppress_context__ = True\n",
            ),
        ),
        test=f"{GARBAGE}test_no_end_of_a_job_leaves_garbage",
    ),
    Mutant(
        name="the report of an outcome holds a copy of the tracer's stack",
        guard="an outcome is reported without its stack",
        edits=(
            Edit(
                file="worker/runtime/exception_info.py",
                old="if not isinstance(exception, OUTCOMES):",
                new="if exception:",
            ),
        ),
        test="tests/behaviour/test_exception_info.py::test_the_report_of_an_outcome_is_small",
    ),
    Mutant(
        name="the report of an outcome holds a copy of the tracer's stack",
        guard="a worker's tracers use this report",
        edits=(
            Edit(file="worker/app.py", old="        report_outcomes_without_stack()\n", new=""),
        ),
        test="tests/behaviour/test_states.py::test_silence_is_a_failure",
    ),
    Mutant(
        name="a job's exception keeps the frames it went through",
        guard="the same, over a soak of all kinds",
        edits=(
            Edit(file="worker/runtime/runners.py", old="        release_frames(handed)\n", new=""),
            Edit(file="tasks/tracebacks.py", old="        exc.__traceback__ = None\n", new=""),
        ),
        test="tests/soak/test_soak.py::test_a_bounded_soak_finds_nothing_that_grows",
    ),
    Mutant(
        name="a job's exception keeps the frames it went through",
        guard="so is the exception that Celery reports a copy of",
        edits=(
            Edit(
                file="worker/runtime/pool.py",
                old="        task_failure.connect(note_error)\n",
                new="",
            ),
        ),
        test=f"{GARBAGE}test_no_end_of_a_job_leaves_garbage",
    ),
    Mutant(
        name="a job's exception keeps the frames it went through",
        guard="so are the library's errors behind a backend's 503",
        edits=(
            Edit(
                file="tasks/storage/executor.py",
                old="                let_go(error)  # redis-py's frames refer to it, and they hold"
                " the command.\n"
                "                if pause_s is None:\n"
                "                    raise _unavailable(error) from None\n"
                "                time.sleep(pause_s)\n",
                new="                if pause_s is None:\n"
                "                    raise _unavailable(error) from None\n"
                "                time.sleep(pause_s)\n",
            ),
        ),
        test="tests/store/test_let_go.py::test_a_blocking_client_s_503_leaves_nothing",
    ),
    Mutant(
        name="garbage without a bound",
        guard="growth that no attempt explains calls for a full round",
        edits=(
            Edit(
                file="worker/runtime/garbage.py",
                old="        if unexplained - self._least < GROWN_MAX:\n",
                new="        if unexplained:\n",
            ),
        ),
        test=f"{GARBAGE}test_old_garbage_is_found_though_python_s_own_rounds_are_rare",
    ),
    Mutant(
        name="a verdict that cannot be told",
        guard="what an adapter returns is checked before it is settled",
        edits=(
            Edit(
                file="tasks/execution/attempt.py",
                old="found, ledger.session = "
                "validate_verdict(verdict, adapter, sent=exchange.code_sent)\n",
                new="found = verdict\n",
            ),
        ),
        test="tests/behaviour/test_attempt.py::"
        "test_what_cannot_be_told_is_500_at_once[bytes in a session]",
    ),
    Mutant(
        name="doubt that lets guess",
        guard="an adapter's doubt reaches the rules",
        edits=(
            Edit(
                file="tasks/execution/verdicts.py",
                old="        in_doubt=sent and failure.in_doubt is True,\n",
                new="        in_doubt=False,\n",
            ),
        ),
        test="tests/behaviour/test_doubt.py::test_so_many_codes_are_sent_and_no_more[unknown]",
    ),
    Mutant(
        name="doubt that lets guess",
        guard="so does an adapter's bug on an answer",
        edits=(
            Edit(
                file="tasks/execution/attempt.py",
                old="        return Failed(failure=catalogue.UNEXPECTED, sent=sent, "
                "in_doubt=sent)\n",
                new="        return Failed(failure=catalogue.UNEXPECTED, sent=sent)\n",
            ),
        ),
        test="tests/behaviour/test_doubt.py::test_so_many_codes_are_sent_and_no_more"
        "[crashed first]",
    ),
    Mutant(
        name="doubt that lets guess",
        guard="each doubt is taken off what the version before goes by",
        edits=(
            Edit(
                file="tasks/storage/intent_json.py",
                old="        intent = replace(intent, failures_max=intent.failures_max - "
                "intent.doubts)\n",
                new="        pass\n",
            ),
            Edit(
                file="tasks/storage/intent_json.py",
                old="        intent = replace(intent, failures_max=intent.failures_max + "
                "intent.doubts)\n",
                new="        pass\n",
            ),
        ),
        test="tests/behaviour/test_doubt.py::test_a_process_of_the_version_before_forgets_no_doubt",
    ),
    Mutant(
        name="doubt that lets guess",
        guard="a live session's doubt counts as well",
        edits=(
            Edit(
                file="providers/live_session/adapter.py",
                old="    if in_doubt and (doubt := DOUBTS.get((status, type_))) is not None:\n",
                new="    if (doubt := None) is not None:\n",
            ),
        ),
        test="tests/providers/test_live_session.py::test_a_session_says_that_a_code_is_in_doubt",
    ),
    Mutant(
        name="a login thrown away with its answer",
        guard="the head of an unreadable answer is kept",
        edits=(
            Edit(
                file="providers/http/exchange.py",
                old="            caught.head = answer.head()\n            raise\n",
                new="            raise\n",
            ),
        ),
        test="tests/providers/test_transport.py::"
        "test_a_login_in_the_head_of_an_unreadable_answer_is_heard[broken brotli]",
    ),
    Mutant(
        name="a login thrown away with its answer",
        guard="and heard where it is a login",
        edits=(
            Edit(
                file="providers/answers.py",
                old="        if error.head is None or not is_login(error.head):\n            "
                "raise\n        return error.head\n",
                new="        raise\n",
            ),
        ),
        test="tests/providers/test_transport.py::"
        "test_a_login_in_the_head_of_an_unreadable_answer_is_heard[cut body]",
    ),
    Mutant(
        name="a code that is not what was typed",
        guard="every decimal digit is folded",
        edits=(
            Edit(
                file="providers/contract.py",
                old="str(unicodedata.decimal(char, char))",
                new="char",
            ),
        ),
        test="tests/providers/test_codes.py::test_every_decimal_digit_is_its_ascii_digit",
    ),
    Mutant(
        name="a code that is not what was typed",
        guard="invisible marks are dropped",
        edits=(
            Edit(
                file="providers/contract.py",
                old=' if unicodedata.category(char) != "Cf")',
                new=")",
            ),
        ),
        test="tests/providers/test_codes.py::test_every_invisible_mark_is_dropped",
    ),
    Mutant(
        name="a code that is not what was typed",
        guard="two codes in one text are refused",
        edits=(
            Edit(
                file="providers/contract.py",
                old="    if sum(len(group) >= min(whole) for group in groups) > 1:\n",
                new="    if False:\n",
            ),
        ),
        test="tests/providers/test_codes.py::test_what_is_no_code_is_refused[abc123 "
        "def456-code_format3-InvalidRequestError]",
    ),
    Mutant(
        name="a code that is not what was typed",
        guard="a double click is recognised by the folded code",
        edits=(
            Edit(
                file="tasks/operations/acceptance.py",
                old="(request.provider, request.account_id, code),\n",
                new="(request.provider, request.account_id, request.code),\n",
            ),
        ),
        test="tests/store/test_intake.py::"
        "test_a_double_click_is_recognised_by_the_folded_code[482 913]",
    ),
    Mutant(
        name="a code that is not what was typed",
        guard="what was folded is what is sealed and sent",
        edits=(
            Edit(
                file="tasks/operations/acceptance.py",
                old="            sealed = self.vault.seal(name, code.encode())\n",
                new="            sealed = self.vault.seal(name, self.request.code.encode())\n",
            ),
        ),
        test="tests/store/test_intake.py::"
        "test_a_double_click_is_recognised_by_the_folded_code[482 913]",
    ),
    Mutant(
        name="a header of ours overridden",
        guard="headers that are made here cannot be given",
        edits=(
            Edit(
                file="providers/contract.py",
                old="    if key in OUR_HEADERS or key in made:\n",
                new="    if False:\n",
            ),
        ),
        test="tests/providers/test_login_headers.py::test_no_header_of_ours_can_be_given[cookie]",
    ),
    Mutant(
        name="a header of ours overridden",
        guard="an encoding that cannot be undone is refused",
        edits=(
            Edit(
                file="providers/contract.py",
                old='    if key == "accept-encoding" and not _are_known(value):\n',
                new="    if False:\n",
            ),
        ),
        test="tests/providers/test_login_headers.py::"
        "test_what_cannot_be_sent_is_refused_at_the_opening[{'Accept-Encoding': "
        "'gzip, compress'}-accept-encoding]",
    ),
    Mutant(
        name="a person's number in a sentence",
        guard="what is no source word is left out",
        edits=(
            Edit(
                file="providers/contract.py",
                old="each for each in ways if WAY.fullmatch(each)",
                new="each for each in ways",
            ),
        ),
        test="tests/behaviour/test_doubt.py::"
        "test_another_way_tells_the_methods_and_nothing_of_the_person"
        "[ways1-offers: WHATSAPP.]",
    ),
    Mutant(
        name="an answer unpacked without a bound",
        guard="Brotli stops at its limit",
        edits=(
            Edit(
                file="providers/http/decoding.py",
                old="self._inflate.process(data, output_buffer_limit=self._left + 1)",
                new="self._inflate.process(data)",
            ),
        ),
        test="tests/providers/test_decoding.py::"
        "test_a_newer_bomb_is_not_unpacked_beyond_the_limit[1-br]",
    ),
    Mutant(
        name="an answer unpacked without a bound",
        guard="so does Zstandard",
        edits=(
            Edit(
                file="providers/http/decoding.py",
                old="            made = self._inflate.decompress(data, self._left + 1)\n",
                new="            made = self._inflate.decompress(data)\n",
            ),
        ),
        test="tests/providers/test_decoding.py::"
        "test_a_newer_bomb_is_not_unpacked_beyond_the_limit[1-zstd]",
    ),
    Mutant(
        name="an answer unpacked without a bound",
        guard="and its window is what servers may ask for",
        edits=(
            Edit(
                file="providers/http/decoding.py",
                old="zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)",
                new="zstd.ZstdDecompressor()",
            ),
        ),
        test="tests/providers/test_decoding.py::"
        "test_a_window_that_no_server_may_ask_for_is_refused",
    ),
    Mutant(
        name="a session thrown away",
        guard="a session in TWITTER's answer outweighs its body, redirect and status",
        edits=(
            Edit(
                file="providers/twitter/adapter.py",
                old="        if self.is_signed_in:\n"
                "            self.keep_id(_first_id(body))\n"
                "            return flow\n",
                new="",
            ),
        ),
        test=f"{SAYINGS}[TWITTER-http-session in a redirect]",
    ),
    Mutant(
        name="a session thrown away",
        guard="what is asked after a session that is there fails without harm",
        edits=(
            Edit(
                file="providers/twitter/adapter.py",
                old="            if self.is_signed_in:\n                return None\n"
                "            raise\n",
                new="            raise\n",
            ),
        ),
        test=f"{TWITTER}test_a_session_outlives_what_goes_wrong_when_the_flow_is_closed",
    ),
    Mutant(
        name="a session thrown away",
        guard="and takes a bounded part of the login's time",
        edits=(
            Edit(
                file="providers/twitter/adapter.py",
                old="asyncio.timeout(COURTESY_S if self.is_signed_in else None)",
                new="asyncio.timeout(None)",
            ),
        ),
        test=f"{TWITTER}test_a_courtesy_does_not_take_the_time_of_the_login",
    ),
    Mutant(
        name="a session thrown away",
        guard="a TWITTER session without its token gets one made",
        edits=(
            Edit(
                file="providers/twitter/session.py",
                old="        if lacks_token:\n            self._make_token()\n",
                new="",
            ),
        ),
        test=f"{TWITTER}test_a_token_that_is_not_set_is_made_as_the_site_makes_it",
    ),
    Mutant(
        name="a session thrown away",
        guard="a login that a client session hands over outweighs a word that is not known",
        edits=(
            Edit(
                file="providers/live_session/adapter.py",
                old="    if answer.is_login(provider):\n",
                new="    if False:\n",
            ),
        ),
        test="tests/providers/test_live_session.py::"
        "test_a_finished_login_outweighs_a_word_that_is_not_known",
    ),
    Mutant(
        name="an unknown answer that ends a login",
        guard="a subtask of TWITTER that is not known is doubt",
        edits=(
            Edit(
                file="providers/twitter/meanings.py",
                old="    return UnknownStepError(msg)\n",
                new="    return DeadIntentError(msg)\n",
            ),
        ),
        test=f"{SAYINGS}[TWITTER-http-unknown step]",
    ),
    Mutant(
        name="an unknown answer that ends a login",
        guard="so is a status without an error that is known",
        edits=(
            Edit(
                file="providers/twitter/meanings.py",
                old="        raise UnreadableAnswerError(_STATUSES",
                new="        raise SessionMismatchError(_STATUSES",
            ),
        ),
        test=f"{SAYINGS}[TWITTER-http-403 alone]",
    ),
    Mutant(
        name="a code where an address is asked for",
        guard="a subtask of TWITTER that plainly asks for an address gets no code",
        edits=(
            Edit(
                file="providers/twitter/adapter.py",
                old="    if context.asks_for_address:\n        msg",
                new="    if False:\n        msg",
            ),
        ),
        test=f"{TWITTER}test_a_code_is_never_sent_to_a_step_that_asks_for_an_address",
    ),
    Mutant(
        name="two codes sent as one",
        guard="codes that are whole by themselves are no code of another source",
        edits=(
            Edit(
                file="providers/contract.py",
                old="        found = None  # Two whole codes",
                new="        pass  # Two whole codes",
            ),
        ),
        test=f"{TWITTER}test_two_codes_are_no_backup_code",
    ),
    Mutant(
        name="INSTAGRAM: a finished login thrown away",
        guard="a session counts wherever the answer redirects to",
        edits=(
            Edit(
                file="providers/instagram/adapter.py",
                old="(parsed.claims_login or not parsed.names_further_step):",
                new="parsed.claims_login:",
            ),
        ),
        test=f"{IG}test_a_session_outweighs_where_it_redirects_to[challenge_web-/]",
    ),
    Mutant(
        name="INSTAGRAM: a finished login thrown away",
        guard="an answer whose body cannot be read is looked at all the same",
        edits=(
            Edit(
                file="providers/instagram/adapter.py",
                old="await hear_code(exchange, request, _is_told_by_head)",
                new="await exchange.send_code(request)",
            ),
        ),
        test=f"{IG}test_a_session_in_the_head_needs_no_body[web-unknown packing]",
    ),
    Mutant(
        name="INSTAGRAM: a finished login thrown away",
        guard="a jar stays within the bounds that its context has",
        edits=(
            Edit(
                file="providers/http/jar.py",
                old="    return tuple(each for each in cookies if each.name in names)\n",
                new="    return tuple(cookies)\n",
            ),
        ),
        test=f"{IG}test_a_jar_grows_over_no_bound_whatever_an_answer_sets[3000]",
    ),
    Mutant(
        name="INSTAGRAM: words believed before structure",
        guard="a further step that is named holds, whatever session came with it",
        edits=(
            Edit(
                file="providers/instagram/adapter.py",
                old="(parsed.claims_login or not parsed.names_further_step):",
                new="True:",
            ),
        ),
        test=f"{IG}test_a_further_step_that_is_named_holds_though_there_is_a_session"
        "[two_factor-/challenge/1/n/]",
    ),
    Mutant(
        name="INSTAGRAM: words believed before structure",
        guard="a refused code is told by the form of its answer",
        edits=(
            Edit(
                file="providers/instagram/adapter.py",
                old=(
                    "        return parsed.status == REFUSAL"
                    ' and parsed.body.get("status") == "fail"\n'
                ),
                new="        return False\n",
            ),
        ),
        test=f"{IG}test_a_refused_code_is_one_in_every_language[two_factor-de]",
    ),
    Mutant(
        name="INSTAGRAM: words believed before structure",
        guard="a screen's error that is emptied is none",
        edits=(
            Edit(
                file="providers/instagram/bloks.py",
                old="                found.errors += filter(None, [value[0].strip()])\n",
                new="                found.errors += [value[0].strip()]\n",
            ),
        ),
        test=f"{IG}test_an_error_that_is_emptied_refuses_nothing[second factor-empty]",
    ),
    Mutant(
        name="INSTAGRAM: a login ended by what nobody knows",
        guard="an unknown step is in doubt",
        edits=(
            Edit(
                file="providers/instagram/responses.py",
                old='    UnknownStepError,\n    "The provider asks for a step',
                new='    DeadIntentError,\n    "The provider asks for a step',
            ),
        ),
        test="tests/behaviour/test_instagram_reports.py::"
        "test_each_report_ends_as_it_should[unknown-two_factor]",
    ),
    Mutant(
        name="a session thrown away",
        guard="LINKEDIN: whatever comes with the session, whose it is is asked",
        edits=(
            Edit(
                file="providers/linkedin/adapter.py",
                old="            if cookie_value(left, SESSION_COOKIE) is not None:\n",
                new="            if cookie_value(left, SESSION_COOKIE) and reply.status == 303:\n",
            ),
        ),
        test="tests/providers/test_linkedin.py::test_a_session_outweighs_what_else_is_said",
    ),
    Mutant(
        name="a session thrown away",
        guard="MESSENGER: an error beside the session is not heard",
        edits=(
            Edit(
                file="providers/messenger/adapter.py",
                old="    if not names_step and (login.is_whole or has_token):\n",
                new="    if isinstance(meaning, UnreadableAnswerError) and login.is_whole:\n",
            ),
        ),
        test="tests/providers/test_messenger.py::test_a_session_outweighs_what_else_is_said",
    ),
    Mutant(
        name="a session thrown away",
        guard="a cookie that is cleared for another domain is still there",
        edits=(
            Edit(
                file="providers/http/jar.py",
                old="(each.name not in alive and _same_home(",
                new="(_same_home(",
            ),
        ),
        test="tests/providers/test_known_answers.py::"
        "test_each_known_answer_is_read_and_a_doubt_is_told[LINKEDIN-old domain cleared]",
    ),
    Mutant(
        name="a revoked login handed over",
        guard="the answer that names the member may take the session back",
        edits=(
            Edit(
                file="providers/linkedin/session.py",
                old='        if any(each.name == "li_at" and not is_live(each) for each in',
                new="        if any(not each.name for each in",
            ),
        ),
        test="tests/providers/test_linkedin.py::"
        "test_a_success_without_an_account_is_the_providers_fault",
    ),
    Mutant(
        name="an unknown answer that ends a login",
        guard="a refusal without a reason is no mismatch",
        edits=(
            Edit(
                file="providers/linkedin/pages.py",
                old=' and "csrf" in text.lower():\n',
                new=":\n",
            ),
        ),
        test="tests/providers/test_linkedin.py::test_each_failure_is_told_apart[forbidden, empty]",
    ),
    Mutant(
        name="a page judged by what stands around its form",
        guard="a form for the code outweighs the marks of other screens",
        edits=(
            Edit(
                file="providers/linkedin/pages.py",
                old="    signs = IN_FORM if forms and not page.has(_TAKE_OVER) else ",
                new="    signs = () if page.has(_TAKE_OVER) and not IN_FORM else ",
            ),
        ),
        test="tests/providers/test_known_answers.py::test_each_known_answer_is_read_and_a_doubt"
        "_is_told[LINKEDIN-refused beside another way-wrong]",
    ),
    Mutant(
        name="a number with two meanings read as one",
        guard="MESSENGER's 368 is read by its words",
        edits=(
            Edit(
                file="providers/messenger/meanings.py",
                old='Sign("security check", ON_SITE, codes=frozenset({368})',
                new='Sign("security check", ON_SITE, codes=frozenset({369})',
            ),
        ),
        test="tests/providers/test_known_answers.py::"
        "test_each_known_answer_is_read_and_a_doubt_is_told[MESSENGER-security check]",
    ),
    Mutant(
        name="a stored field renamed",
        guard="what rests in Redis keeps the names that the version before reads and writes",
        edits=(
            Edit(
                file="tasks/model.py",
                old=', rename={"duplicate_of": "twin_of"}',
                new="",
            ),
        ),
        test="tests/store/test_stored_form.py::"
        "test_an_intent_of_the_version_before_is_read_whole_and_written_as_it_was",
    ),
    Mutant(
        name="a stored field renamed",
        guard="a process of the version before finds what this one has stored",
        edits=(
            Edit(
                file="tasks/model.py",
                old=', rename={"duplicate_of": "twin_of"}',
                new="",
            ),
        ),
        test="tests/faults/test_upgrade.py::"
        "test_clients_of_two_versions_share_a_worker_of_the_older_one",
    ),
    Mutant(
        name="a living hub taken for a dead one",
        guard="a hub that answers at once is asked again",
        edits=(
            Edit(
                file="worker/observability/health.py",
                old="            # Before the call: the hub's thread may answer at once.\n"
                "            self._hub_asked = True\n"
                "            if not self.ask_hub(self._hub_answers):\n"
                "                self._hub_asked = False\n",
                new="            self._hub_asked = self.ask_hub(self._hub_answers)\n",
            ),
        ),
        test="tests/ops/test_health.py::"
        "test_a_hub_that_answers_before_the_question_returns_is_asked_again",
    ),
)
