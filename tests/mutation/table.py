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

from tests.mutation.form import Edit
from tests.mutation.rules import RULES
from tests.mutation.scripts import SCRIPTS

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
    "previous one's next checkpoint leaves the newer one waiting",
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
    "code spent in vain",
    "checkpoint that contradicts its context",
    "source that the provider never takes",
    "bridge that takes a cookie of another host",
    "bridge that forgets a device's id",
    "bridge that hands back a session without its token",
    "bridge that sends what the library does not",
    "connection held open for ever",
    "a URL that names another host",
    "connections shared by two loops",
    "request hidden in a body",
    "one unreadable record stops its readers",
    "stop unheard while it starts",
    "error that ends as a good end",
    "expired code sent",
    "another queue served",
    "a clock that was set judges the living",
    "a slow name server keeps Redis away",
    "a renewed certificate is not read",
    "code in a trace",
    "a reply left for the next caller",
    "a half-made connection is used",
    "a lock that an interrupted call left held",
    "waiting at a listener that has ended",
    "an answer about something else counted as a wrong code",
    "events of another deployment heard",
    "broker taken from a stranger's variable",
    "connections that stay with a demoted master",
    "keys of a cluster that nobody finds again",
    "looks that share their fate",
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
    "a subscription that hears nothing for ever",
    "a bound page that plain HTTP passes",
    "a code at a simulated page that is not counted",
    "a storm of replacements",
    "children without a supervisor",
    "a child that never ends",
    "one Ctrl-C heard twice",
    "a silent child called ready",
    "a code typed twice",
    "typing that a cancel does not stop",
    "a code left in a page",
    "a page's refusal that is none",
    "a page's login of before",
    "a code typed into another site",
    "a code in a recording",
    "a browser that is gone keeps its registration",
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


def mutant(name: str, guard: str, *edits: Edit, test: str) -> Mutant:
    """Return one row: what goes wrong, what is taken out and how, and what must fail."""
    return Mutant(name=name, guard=guard, edits=edits, test=test)


def _rule(name: str) -> Edit:
    return RULES[name]


def _script(name: str) -> Edit:
    return SCRIPTS[name].edit


def _sequence(name: str) -> str:
    return f"tests/unit/test_sequences.py::test_sequence_ends_as_told[{name}]"


SIM: Final = "tests/simulation/test_sim.py::test_every_promise_is_kept_whatever_the_weather"
TRANSPORT: Final = "tests/integration/test_transport.py::"
GARBAGE: Final = "tests/system/test_pool_garbage.py::"
BRANCHES: Final = "tests/integration/test_attempt_branches.py::"
LIVE: Final = "tests/system/test_live_session.py::"
SAYINGS: Final = "tests/integration/test_conformance.py::test_what_the_provider_says_has_its_pair"
TWITTER: Final = "tests/integration/test_twitter.py::"
ATTACKS: Final = "tests/system/test_live_attacks.py::"
CLUSTER: Final = "tests/integration/test_cluster.py::"

PAGE: Final = "tests/unit/test_browser_page.py::"

IG: Final = "tests/integration/test_instagram_reports.py::"

LIMITS: Final = "tests/system/test_gateway_limits.py::"
BRIDGES: Final = "tests/unit/test_bridges.py::"

PAGES: Final = "tests/integration/test_sandbox_web.py::"

MUTANTS: Final = (
    mutant(
        "claim not required before the first byte",
        "the code is opened only after an acknowledged claim",
        Edit(
            "tasks/execution/attempt.py",
            "            self._stage = _Stage.CLAIMING\n",
            "            self._stage = _Stage.CLAIMED\n"
            "            end_s = time.monotonic() + 1\n"
            "            return ClaimTicket(code=ledger.open_code(), send_before=end_s)\n",
        ),
        test=f"{SIM}[0-5]",
    ),
    mutant(
        "claim before the wire",
        "a busy wire is waited for",
        _rule("no wire check before begin and claim"),
        test=_sequence("superseded_holder_that_hears_no_signal"),
    ),
    mutant(
        "code returned by the claim's script",
        "the sealed code is read before the claim, so its repeat needs none",
        Edit(
            "tasks/storage/scripts/commit.lua",
            "local function remove()\n",
            "local code = removals > 0 and KEYS[5 + expectations + values + records]\n"
            "local held = code and redis.call('GET', code) or ''\n"
            "local function remove()\n",
        ),
        Edit(
            "tasks/storage/scripts/commit.lua",
            "return reply('done', #written)\n",
            "return {'done', string.format('%.0f', now_ms), #written, held}\n",
        ),
        Edit(
            "tasks/storage/store.py",
            "        code, now_ms, written = yield plan.build(",
            "        code, now_ms, written, *HELD[:] = yield plan.build(",
        ),
        Edit(
            "tasks/storage/store.py",
            "COMMIT_ROUNDS: Final = 64\n",
            "COMMIT_ROUNDS = 64\nHELD = []\n",
        ),
        Edit(
            "tasks/execution/ledger.py",
            "        return self._access.vault.open(name, self._solution_text).decode()\n",
            "        from checkpoint_worker.tasks.storage.store import HELD\n"
            "        return self._access.vault.open(name, ''.join(HELD)).decode()\n",
        ),
        test=f"{BRANCHES}test_a_claim_whose_reply_was_lost_is_repeated_and_sent_once",
    ),
    mutant(
        "wire freed only by its holder",
        "a wire ends by its own limit",
        _rule("wire freed only by its holder"),
        test=_sequence("lost_holder_of_a_sent_wire"),
    ),
    mutant(
        "lost worker's wire freed at once",
        "hanging up does not un-send",
        _rule("lost worker's sent wire freed at once"),
        test=_sequence("lost_holder_of_a_sent_wire"),
    ),
    mutant(
        "superseded holder learns by signal only",
        "only an answered heartbeat frees a draining wire",
        _rule("superseded holder learns by signal only"),
        test=_sequence("superseded_holder_that_hears_no_signal"),
    ),
    mutant(
        "superseded holder learns by signal only",
        "the heartbeat's answer lists the exchanges to close",
        Edit("tasks/execution/sweeper.py", "in answer.drains.items():\n", "in ():\n"),
        test=f"{BRANCHES}test_a_heartbeat_s_answer_tells_the_holder_to_hang_up",
    ),
    mutant(
        "no `not_after` in the commit",
        "the script refuses what comes too late",
        _script("no `not_after` in the commit"),
        test="tests/integration/test_commit.py::"
        "test_a_claim_decided_in_time_and_committed_late_is_refused",
    ),
    mutant(
        "no `not_after` in the commit",
        "a claim says until when it holds",
        _rule("no not_after in the claim"),
        test=_sequence("claim_decided_before_and_committed_after_the_deadline"),
    ),
    mutant(
        "final record leaves the code",
        "whatever makes a record final deletes its code",
        _script("final record leaves the code"),
        test="tests/integration/test_secrets.py::"
        "test_the_code_is_sealed_in_redis_only_until_it_is_claimed_or_final",
    ),
    mutant(
        "verdict accepted without holding the wire",
        "who lost the wire is not heard",
        _rule("failure counted without holding the wire"),
        test=_sequence("rejection_without_the_wire_counts_nothing"),
    ),
    mutant(
        "previous one's next checkpoint leaves the newer one waiting",
        "a further step answers who waits with 202",
        _rule("previous one's next checkpoint leaves the newer one waiting"),
        test=_sequence("next_checkpoint_of_the_older_one"),
    ),
    mutant(
        "reopen drops a sent wire",
        "an exchange outlives its generation",
        _rule("reopen drops a sent wire"),
        test=_sequence("reopen_during_an_exchange"),
    ),
    mutant(
        "workers judged right after a Redis gap",
        "who has not beaten steadily judges nobody",
        Edit(
            "tasks/execution/sweeper.py",
            "        return now_s - self.steady_since_s >= settings.lost_after_s + JUDGE_AFTER_S\n",
            "        return True\n",
        ),
        test="tests/integration/test_attempt.py::test_who_has_not_beaten_steadily_judges_nobody",
    ),
    mutant(
        "`run_id` ignored",
        "what another Redis accepted is not begun",
        _rule("run_id ignored"),
        test=_sequence("failover_that_loses_the_claim"),
    ),
    mutant(
        "`run_id` ignored",
        "the script compares the identity itself",
        _script("`run_id` ignored"),
        test="tests/integration/test_commit.py::test_a_commit_on_another_redis_than_it_read_is_refused",
    ),
    mutant(
        "no clock check between claim and first byte",
        "the transport looks at the clock last",
        Edit(
            "providers/http/exchange.py",
            "        if time.monotonic() > ticket.send_before:\n",
            "        if False:\n",
        ),
        test=f"{TRANSPORT}test_nothing_is_sent_when_the_ticket_has_run_out",
    ),
    mutant(
        "no clock check between claim and first byte",
        "the second counts from the claim's command, not from its reply",
        Edit(
            "tasks/execution/attempt.py",
            "send_before=asked_s + FIRST_BYTE_S)",
            "send_before=time.monotonic() + FIRST_BYTE_S)",
        ),
        test=f"{BRANCHES}test_a_claim_whose_answer_takes_too_long_is_not_sent",
    ),
    mutant(
        "*cleared* ignored when expired",
        "a success that was received completes an expired intent",
        _rule("cleared ignored when expired"),
        test=_sequence("success_after_expiry_still_counts"),
    ),
    mutant(
        "claim after the send",
        "the claim is acknowledged before there is a body",
        Edit(
            "tasks/execution/attempt.py",
            "        assert self._limit is not None\n",
            "        if not hasattr(self, '_owed'):\n"
            "            self._owed, end_s = ledger, time.monotonic() + 1\n"
            "            return ClaimTicket(code=ledger.open_code(), send_before=end_s)\n"
            "        self._limit = asyncio.timeout(None)\n"
            "        await self._limit.__aenter__()\n",
        ),
        Edit(
            "tasks/execution/attempt.py",
            "            ended = await self._verify(ledger, prepared)\n",
            "            ended = await self._verify(ledger, prepared)\n"
            "            if hasattr(self, '_owed'):\n"
            "                await self._claim(self._owed)\n",
        ),
        test=f"{SIM}[0-5]",
    ),
    mutant(
        "claim without owner token",
        "a repeat is granted to the claim that was made",
        _rule("claim without owner token"),
        test=_sequence("repeated_claim_of_its_owner"),
    ),
    mutant(
        "claim lifetime shorter than a redelivery",
        "a used id is remembered for a day",
        Edit(
            "tasks/storage/store.py",
            "SEEN_TTL_MS: Final = 24 * 3600 * 1000\n",
            "SEEN_TTL_MS: Final = 60 * 1000\n",
        ),
        test=f"{BRANCHES}test_a_used_id_is_remembered_longer_than_any_redelivery",
    ),
    mutant(
        'record written without "if absent"',
        "a final record is written once",
        _script('record written without "if absent"'),
        test="tests/integration/test_commit.py::test_an_orphan_s_final_record_is_written_once",
    ),
    mutant(
        "publish outside the commit",
        "a record is published by the commit that wrote it, after its checks",
        _script("publish outside the commit"),
        Edit(
            "tasks/storage/scripts/commit.lua",
            "local time = redis.call('TIME')\n",
            "local time = redis.call('TIME')\n"
            "for word = at, #ARGV - 2 do\n"
            "  if ARGV[word + 2] == '1' and string.sub(ARGV[word], 1, 5) == '{\"v\":' then\n"
            "    redis.call('PUBLISH', ARGV[14], ARGV[word])\n"
            "  end\n"
            "end\n",
        ),
        test="tests/integration/test_races.py::test_every_interleaving_of_submissions_is_answered_once",
    ),
    mutant(
        "supersede checked outside the commit",
        "a newer submission is compared like any other change",
        Edit(
            "tasks/storage/scripts/commit.lua",
            "if version ~= expected then\n",
            "if version ~= expected and ARGV[12] ~= '1' then\n",
        ),
        test="tests/integration/test_races.py::test_every_interleaving_of_submissions_is_answered_once",
    ),
    mutant(
        "sweeper that sends again",
        "a claimed submission of a lost worker is settled, its code gone",
        Edit(
            "tasks/rules.py",
            "        after = _with_fault(intent, limits)\n",
            "        return _go_on(replace(intent, wire=None))\n",
        ),
        _rule("claim leaves the code"),
        test=f"{SIM}[0-5]",
    ),
    mutant(
        "sweeper that overwrites",
        "what is final stays, whoever sweeps",
        Edit(
            "tasks/execution/sweeper.py",
            "            self.attempts.observer.swept(provider)\n",
            "            from checkpoint_worker.tasks.catalogue import CANCELED\n"
            "            from checkpoint_worker.tasks.operations import validation\n"
            "            from checkpoint_worker.tasks.model import Settlement\n"
            "            one = validation.unknown_submission(\n"
            "                record.submission_id, result.now_ms\n"
            "            )\n"
            "            again = Settlement(submission=one, answer=CANCELED, code_sent=True)\n"
            "            runner = self.attempts\n"
            "            await runner.executor.run(runner.store.settle_orphan(*intent, again))\n",
        ),
        _script('record written without "if absent"'),
        test=f"{BRANCHES}test_two_sweeps_settle_once_and_change_nothing_final",
    ),
    mutant(
        "failure counted before the settle",
        "a failure is a verdict, not an attempt",
        Edit(
            "tasks/rules.py",
            "        intent=replace(intent, current=started, wire=wire),\n"
            "        running=started,\n",
            "        intent=replace(intent, current=started, wire=wire,"
            " failures=intent.failures + 1),\n"
            "        running=started,\n",
        ),
        Edit(
            "tasks/rules.py",
            "failures=held.freed.failures + 1)\n",
            "failures=held.freed.failures)\n",
        ),
        test=_sequence("deadline_of_a_running_one"),
    ),
    mutant(
        "`>` for `>=` at the kill",
        "the third refusal kills",
        _rule("> for >= at the kill"),
        test=_sequence("third_rejection_kills"),
    ),
    mutant(
        "deadline by the host's clock",
        "time is the server's",
        Edit(
            "tasks/storage/base.py",
            "        return Snapshot(\n            now_ms=int(now_ms),\n",
            "        import time\n"
            "        return Snapshot(\n"
            "            now_ms=time.time_ns() // 1_000_000,\n",
        ),
        test=f"{BRANCHES}test_a_host_whose_clock_is_wrong_changes_no_deadline",
    ),
    mutant(
        "a client retry on the code request",
        "a lost connection is told, not mended",
        Edit(
            "providers/http/exchange.py",
            "            return await self._answered(line, draft, data)\n",
            "            try:\n"
            "                return await self._answered(line, draft, data)\n"
            "            except ProviderTimeoutError:\n"
            "                line = await self._connected(draft)\n"
            "                return await self._answered(line, draft, data)\n",
        ),
        test=f"{TRANSPORT}test_a_dropped_connection_is_not_tried_again[PUT]",
    ),
    mutant(
        "a client retry on the code request",
        "one exchange, one code request, whatever comes of it",
        Edit(
            "providers/http/exchange.py",
            "        self._code_request_made = True\n"
            "        return await self._converse(request)\n",
            "        self._code_request_made = True\n"
            "        try:\n"
            "            return await self._converse(request)\n"
            "        except ProviderTimeoutError:\n"
            "            return await self._converse(request)\n",
        ),
        test=f"{TRANSPORT}test_a_dropped_connection_is_not_tried_again[POST]",
    ),
    mutant(
        "redirects followed",
        "a redirect is an answer",
        Edit(
            "providers/http/exchange.py",
            "            return reply\n",
            "            if 'location' in reply.headers:\n"
            "                draft.target = checked_target(reply.headers['location'])\n"
            "                line = await self._connected(draft)\n"
            "                return await self._answered(line, draft, data)\n"
            "            return reply\n",
        ),
        test=f"{TRANSPORT}test_redirects_are_answers_not_orders[307 X]",
    ),
    mutant(
        "HTTP session shared between accounts",
        "every request has a connection of its own",
        Edit(
            "providers/http/exchange.py",
            "        try:\n            async with asyncio.timeout(self._connect_timeout_s):\n",
            "        shared = globals().setdefault('SHARED', {})\n"
            "        line = shared.get(asyncio.get_running_loop())\n"
            "        if line is not None and line.is_alive:\n"
            "            return line\n"
            "        try:\n"
            "            async with asyncio.timeout(self._connect_timeout_s):\n",
        ),
        Edit(
            "providers/http/exchange.py",
            "            line.cut()\n",
            "            shared = globals().setdefault('SHARED', {})\n"
            "            shared[asyncio.get_running_loop()] = line\n",
        ),
        test="tests/integration/test_hostile_peers.py::"
        "test_a_connection_that_is_kept_open_is_not_used_again",
    ),
    mutant(
        "`str(exc)` of a client library in a record",
        "a failure speaks in our words",
        Edit(
            "providers/http/exchange.py",
            '        return UnreadableAnswerError("The provider\'s answer is not HTTP.")\n',
            "        return UnreadableAnswerError(str(error))\n",
        ),
        test=f"{TRANSPORT}test_every_library_error_becomes_a_failure_in_our_words[ValueError]",
    ),
    mutant(
        "`str(exc)` of a client library in a record",
        "a crash is told by class and place",
        Edit(
            "tasks/execution/report.py",
            '        why = str(error) if isinstance(error, InvalidVerdictError) else ""\n',
            "        why = str(error)\n",
        ),
        Edit(
            "tasks/execution/attempt.py",
            "UNEXPECTED, sent=sent, in_doubt=sent)\n",
            "UNEXPECTED, sent=sent, detail=crash.why)\n",
        ),
        test="tests/integration/test_attempt.py::"
        "test_an_adapter_s_bug_is_500_and_tells_no_value[True]",
    ),
    mutant(
        "code in argsrepr",
        "the code is taken out before Celery sees arguments",
        Edit(
            "tasks/celery_task/sanitize.py",
            "for name, value in kept.items()})\n",
            "for name, value in given.items()})\n",
        ),
        test="tests/unit/test_strategy.py::test_a_message_put_back_keeps_its_sealed_code",
    ),
    mutant(
        "no ledger entry by the producer",
        "the submission is in the ledger before anybody is woken",
        Edit(
            "tasks/client/blocking.py",
            "        submitted = self._run(self._core.submit(request, new,"
            " checkpoint_step), TAKEN, new)\n",
            "        kwargs = {'account_id': account_id, 'provider': provider,"
            " 'code': request.code}\n"
            "        self._producer.send_task('checkpoint.solve', task_id=new,"
            " kwargs=kwargs)\n"
            "        return Submitted(id=new, outcome=None, accepted=True)\n",
        ),
        test="tests/integration/test_client.py::"
        "test_polling_tells_unknown_queued_running_and_final_apart[sync]",
    ),
    mutant(
        "version check removed from commit.lua",
        "a decision is written over the version it was made on",
        _script("version check removed from commit.lua"),
        test="tests/integration/test_commit.py::test_a_commit_over_another_version_is_refused",
    ),
    mutant(
        "killed intent that reopens",
        "killed hears no verdict",
        _rule("killed intent reopened by a verdict"),
        test=_sequence("killed_stays_killed"),
    ),
    mutant(
        "late verdict of an old generation accepted",
        "a verdict counts in its own generation",
        _rule("verdict of an old generation accepted"),
        test=_sequence("success_of_an_old_generation_is_lost"),
    ),
    mutant(
        "registration believed without a proof",
        "a code is claimed for a registration that the login's secret proves",
        Edit(
            "providers/live_session/sealing.py",
            "    if not keys.proves(registration):\n",
            "    if False:\n",
        ),
        test=f"{ATTACKS}test_a_key_in_the_session_s_place_gets_no_code",
    ),
    mutant(
        "stranger's message believed by a session",
        "requests and cancels without the secret's proof are passed over",
        Edit(
            "providers/live_session/sealing.py",
            "message is not None and keys.proves(message)",
            "message is not None",
        ),
        test=f"{ATTACKS}test_a_stranger_cancels_nothing",
    ),
    mutant(
        "secret left out of a request's keys",
        "without the secret a request's key pairs open nothing",
        Edit(
            "providers/live_session/sealing.py",
            "_derive(self._secret + shared, ",
            "_derive(shared, ",
        ),
        test="tests/integration/test_live_session.py::test_only_the_asked_session_can_answer",
    ),
    mutant(
        "sealed code not bound to its request",
        "login, submission, request and deadline are associated data",
        Edit(
            "providers/live_session/sealing.py",
            "        bound = (self._provider, self._account_id, *request.bound())\n",
            "        bound = ()\n",
        ),
        test="tests/integration/test_live_session.py::"
        "test_only_the_session_opens_the_code_and_only_for_its_request",
    ),
    mutant(
        "captured request typed again",
        "what was begun is remembered until its deadline",
        Edit("tasks/live_session/host.py", " if deadline_ms <= now_ms]", "]"),
        Edit(
            "tasks/live_session/host.py",
            "        if ask.deadline_ms <= max(now_ms, self._forgotten_ms):\n",
            "        if ask.deadline_ms <= now_ms:\n",
        ),
        test=f"{LIVE}test_a_request_is_remembered_until_a_clock_refuses_it",
    ),
    mutant(
        "captured request typed again",
        "nothing is forgotten for room",
        Edit(
            "tasks/live_session/host.py",
            "            self._known[ask.request_id] = ask.deadline_ms\n            return True\n",
            "            self._known[ask.request_id] = ask.deadline_ms\n        return True\n",
        ),
        test=f"{LIVE}test_a_session_that_remembers_all_it_can_drops_nothing",
    ),
    mutant(
        "captured request typed again",
        "a clock that is set back begins nothing that was forgotten",
        Edit("tasks/live_session/host.py", "max(now_ms, self._forgotten_ms)", "now_ms"),
        test=f"{LIVE}test_a_request_is_remembered_until_a_clock_refuses_it",
    ),
    mutant(
        "request begun after its deadline",
        "a session asks Redis for the time before it begins",
        Edit("tasks/live_session/host.py", "max(now_ms, self._forgotten_ms)", "self._forgotten_ms"),
        test=f"{LIVE}test_a_question_after_its_deadline_is_not_begun",
    ),
    mutant(
        "context outlives its intent",
        "the commit that ends an intent deletes its context",
        Edit(
            "tasks/storage/plan.py",
            "        if self.after is None or self.after.state is IntentState.OPEN:\n",
            "        if True:\n",
        ),
        test="tests/integration/test_context_ends.py::"
        "test_the_commit_that_ends_an_intent_takes_its_context[killed]",
    ),
    mutant(
        "names shared by forked processes",
        "each name asks which process it is",
        Edit(
            "tasks/storage/ids.py",
            "    if _page[0] and process.pid == pid:\n",
            "    if process is not None:\n",
        ),
        test="tests/unit/test_names.py::"
        "test_a_forked_process_makes_other_names_than_its_parent[C's]",
    ),
    mutant(
        "a fork told by its pid alone",
        "memory that the kernel clears in a fork",
        Edit(
            "tasks/storage/ids.py",
            "    if _page[0] and process.pid == pid:\n",
            "    if process.pid == pid:\n",
        ),
        test="tests/unit/test_names.py::test_a_forked_process_is_told_by_more_than_its_pid",
    ),
    mutant(
        "a parent's session token and reader kept",
        "who takes a session or reads for a group is a process",
        Edit("tasks/client/base.py", "        self._core.forget_token()\n"),
        test="tests/system/test_client_processes.py::"
        "test_a_client_made_before_the_fork_works_in_every_process[ctypes.PyDLL(None).fork]",
    ),
    mutant(
        "a refused id forgotten with its record",
        "a refused plain producer's id is remembered as any other",
        Edit(
            "tasks/storage/store.py",
            "                put=((seen_key, self.keys.member(provider, account_id),"
            " SEEN_TTL_MS),),\n",
        ),
        test="tests/integration/test_intake.py::"
        "test_a_refused_raw_submission_s_id_is_remembered_as_any_other[acc_1]",
    ),
    mutant(
        "an hour's count that ends with a record",
        "an intent lives as long as the hour it counts",
        Edit(
            "tasks/storage/base.py",
            "        return max(self.result_ttl_ms, HOUR_MS)\n",
            "        return self.result_ttl_ms\n",
        ),
        test="tests/integration/test_submission_limits.py::"
        "test_the_hour_s_count_lives_as_long_as_its_hour",
    ),
    mutant(
        "values in what an error reporter keeps",
        "an error leaves without the frames it came past",
        Edit("tasks/tracebacks.py", "            trace.tb_next = None\n", "            pass\n"),
        test="tests/system/test_error_reports.py::test_a_backend_s_reports_hold_no_secret",
    ),
    mutant(
        "values in what an error reporter keeps",
        "whoever is given a code drops its own name for it",
        Edit(
            "tasks/client/blocking.py",
            "            user_id=user_id,\n        )\n        del context, proxy\n"
            "        return self._run(steps, OPENED)\n",
            "            user_id=user_id,\n        )\n        return self._run(steps, OPENED)\n",
        ),
        test="tests/system/test_error_reports.py::test_a_backend_s_reports_hold_no_secret",
    ),
    mutant(
        "memory filled by what is new",
        "nothing new is taken in near maxmemory",
        Edit(
            "tasks/operations/acceptance.py",
            "    if snapshot.filled >= store.room.filled_max:\n",
            "    if False:\n",
        ),
        test="tests/integration/test_executor.py::test_a_nearly_full_redis_takes_nothing_new_in",
    ),
    mutant(
        "memory filled by what is new",
        "a full Redis lets through what is under way",
        Edit("tasks/storage/scripts/commit.lua", "if not intake then\n", "if false then\n"),
        test="tests/integration/test_executor.py::"
        "test_in_a_full_redis_what_is_under_way_goes_on_to_its_outcome",
    ),
    mutant(
        "one account stores without end",
        "what is done for an account is counted by the hour",
        Edit(
            "tasks/operations/acceptance.py",
            "        if count >= self._most:\n",
            "        if False:\n",
        ),
        test="tests/integration/test_submission_limits.py::"
        "test_what_no_open_login_takes_is_stored_so_often_in_an_hour",
    ),
    mutant(
        "one key takes everything",
        "a key has so many bytes stored at a time",
        Edit("tasks/gateway/keys.py", "        if size <= self._left:\n", "        if True:\n"),
        test=f"{LIMITS}test_one_key_has_stored_so_much_and_another_goes_on[intents]",
    ),
    mutant(
        "one key takes everything",
        "a key has so many requests under way",
        Edit(
            "tasks/gateway/middleware.py",
            "        if key.under_way >= REQUESTS_MAX:\n",
            "        if False:\n",
        ),
        test=f"{LIMITS}test_one_key_has_so_many_requests_under_way",
    ),
    mutant(
        "a key reaches every account",
        "a key with a prefix names the accounts that begin so",
        Edit(
            "tasks/gateway/access.py", "    if not key.may_name(account_id):\n", "    if False:\n"
        ),
        test=f"{LIMITS}test_a_key_of_some_accounts_knows_of_no_other",
    ),
    mutant(
        "work before sizes",
        "the size of a context is looked at before its model looks",
        Edit("tasks/operations/validation.py", "    _check_size(context)\n"),
        test="tests/integration/test_intake.py::"
        "test_a_context_is_refused_by_its_size_before_its_model_looks",
    ),
    mutant(
        "code spent in vain",
        "an intent that no code can complete is not opened",
        Edit(
            "tasks/operations/validation.py",
            "    if (why := held.why_hopeless()) is not None:\n",
            "    if (why := held.why_hopeless()) is not None and not context:\n",
        ),
        test="tests/unit/test_contexts.py::"
        "test_a_field_that_is_missing_is_described[LINKEDIN-http-cookies]",
    ),
    mutant(
        "checkpoint that contradicts its context",
        "such an intent is not opened",
        Edit(
            "tasks/operations/validation.py",
            "    if checkpoint is not None and (why := why_contrary(",
            "    if checkpoint is None and (why := why_contrary(",
        ),
        test="tests/integration/test_intake.py::"
        "test_an_intent_that_does_not_fit_is_refused_by_the_name_of_the_field",
    ),
    mutant(
        "source that the provider never takes",
        "a code by email is not sent where none is mailed",
        Edit("providers/messenger/adapter.py", "        refuse_source(challenge)\n"),
        test="tests/unit/test_steps.py::test_the_opening_refuses_what_no_code_can_clear",
    ),
    mutant(
        "bridge that takes a cookie of another host",
        "only the provider's own cookies go into a context",
        Edit(
            "providers/bridges/forms.py",
            'if is_own(each.get("domain", ""))]',
            'if is_own(each.get("domain", "")) or True]',
        ),
        test=f"{BRIDGES}test_a_cookie_of_another_host_stays_in_its_jar",
    ),
    mutant(
        "bridge that forgets a device's id",
        "a context has each id of the first step",
        Edit(
            "providers/bridges/instagrapi.py",
            '            "phone_id": need(_LIBRARY, state, "uuids.phone_id", settings),\n',
        ),
        test=f"{BRIDGES}test_a_missing_value_is_named_with_its_place",
    ),
    mutant(
        "bridge that hands back a session without its token",
        "a client goes on with the token of its session",
        Edit(
            "providers/bridges/linkedin.py",
            'held.headers.update({"csrf-token": session["csrf_token"], ',
            "held.headers.update({",
        ),
        test="tests/unit/test_bridge_clients.py::test_a_linkedin_client_takes_the_session",
    ),
    mutant(
        "bridge that sends what the library does not",
        "a request has the machine id of the library",
        Edit(
            "providers/bridges/instagrapi.py", 'newer = given(mid=state.get("mid"))', "newer = {}"
        ),
        test="tests/unit/test_code_requests.py::test_our_request_is_that_of_the_library",
    ),
    mutant(
        "connection held open for ever",
        "each phase of a connection has its longest time",
        Edit(
            "worker/gateway.py",
            "        elif now_s - self._since_s >= seen[0].longest_s:\n",
            "        elif False:\n",
        ),
        test=f"{LIMITS}test_whoever_dribbles_is_hung_up_on[a body after a 401]",
    ),
    mutant(
        "connection held open for ever",
        "the eldest connection without a key makes room",
        Edit(
            "worker/gateway.py",
            "        if len(self._strangers) > min(STRANGERS_MAX, self._room // 2):\n",
            "        if False:\n",
        ),
        test=f"{LIMITS}test_strangers_crowd_out_each_other_alone",
    ),
    mutant(
        "a URL that names another host",
        "a root path has no doubled slash",
        Edit(
            "tasks/gateway/http.py",
            're.sub("/{2,}", "/", request.scope.get("root_path", ""))',
            'request.scope.get("root_path", "")',
        ),
        test="tests/integration/test_gateway_requests.py::"
        "test_a_root_path_with_slashes_too_many_names_no_host",
    ),
    mutant(
        "a URL that names another host",
        "a caller's text in a root path is quoted",
        Edit(
            "tasks/gateway/http.py",
            "return quote(re.sub",
            "return str(re.sub",
        ),
        test="tests/integration/test_gateway_requests.py::"
        "test_the_text_of_a_caller_in_the_root_path_breaks_no_header",
    ),
    mutant(
        "connections shared by two loops",
        "of two loops at once one takes the client",
        Edit(
            "tasks/client/awaiting.py",
            "        with self._process.lock:\n            if self._loop is not None:",
            "        if True:\n            if self._loop is not None:",
        ),
        test="tests/integration/test_client_waiting.py::"
        "test_of_two_loops_that_come_at_once_one_has_the_awaited_client",
    ),
    mutant(
        "request hidden in a body",
        "a body has one length",
        Edit(
            "worker/gateway.py",
            "            if {name for name, _ in event.headers} >= LENGTHS:\n",
            "            if False:\n",
        ),
        test="tests/integration/test_gateway_requests.py::"
        "test_a_body_of_two_lengths_hides_no_request",
    ),
    mutant(
        "one unreadable record stops its readers",
        "what cannot be read is passed over",
        Edit(
            "tasks/records.py",
            "    except ValidationError as error:\n",
            "    except ZeroDivisionError as error:\n",
        ),
        test="tests/integration/test_strange_records.py::test_a_group_passes_over_what_it_cannot_read",
    ),
    mutant(
        "stop unheard while it starts",
        "the first import hears SIGTERM, also as process 1",
        Edit("worker/runtime/stop_signals.py", "install(signals_of(sys.argv, sys.orig_argv))\n"),
        test="tests/system/test_stop_signals.py::test_the_first_import_of_ours_hears",
    ),
    mutant(
        "error that ends as a good end",
        "Celery's exit status is that of `checkpoint worker`",
        Edit("worker/cli/commands/worker.py", "    return status or 0\n", "    return 0\n"),
        test="tests/system/test_exit_status.py::"
        "test_an_address_that_is_taken_is_status_1[checkpoint worker]",
    ),
    mutant(
        "expired code sent",
        "what expired in the queue is refused",
        Edit(
            "tasks/celery_task/message_options.py",
            '    return ("expired", None) if expires_s <= now_s else',
            "    return (None, None) if expires_s <= now_s else",
        ),
        test="tests/system/test_message_options.py::test_an_expired_code_is_not_sent",
    ),
    mutant(
        "expired code sent",
        "no claim once the sender has given it up",
        Edit(
            "tasks/model.py",
            "        return last_ms if self.send_by_ms is None"
            " else min(last_ms, self.send_by_ms)\n",
            "        return last_ms\n",
        ),
        test="tests/system/test_message_options.py::"
        "test_a_code_that_expires_while_it_waits_is_not_sent",
    ),
    mutant(
        "another queue served",
        "a queue that is not the deployment's is refused",
        Edit(
            "worker/runtime/celery_options.py",
            "    return list(value) == [ctx.obj.app.conf.task_default_queue]\n",
            "    return bool(value)\n",
        ),
        test="tests/system/test_celery_options.py::test_a_refused_option_is_a_sentence[queues]",
    ),
    mutant(
        "a clock that was set judges the living",
        "nobody is judged right after the clock of Redis was set",
        Edit(
            "tasks/execution/sweeper.py",
            " and not heart.clock_step_s(snapshot.now_ms, asked_s)",
            "",
        ),
        test="tests/integration/test_attempt.py::"
        "test_nobody_is_judged_right_after_the_clock_of_redis_was_set",
    ),
    mutant(
        "a clock that was set judges the living",
        "the wait begins anew after a step",
        Edit(
            "tasks/execution/sweeper.py",
            "if gap or stepped_s or answer",
            "if gap or answer",
        ),
        test="tests/integration/test_attempt.py::"
        "test_nobody_is_judged_right_after_the_clock_of_redis_was_set",
    ),
    mutant(
        "a slow name server keeps Redis away",
        "a look-up outlives the attempt that began it",
        Edit(
            "tasks/storage/names.py",
            "return await asyncio.shield(asked)",
            "return await asked",
        ),
        test="tests/integration/test_ledger_names.py::"
        "test_a_look_up_longer_than_an_attempt_serves_a_later_one[_pipe]",
    ),
    mutant(
        "a slow name server keeps Redis away",
        "subscriptions share the look-ups too",
        Edit(
            "tasks/storage/connections.py",
            "await self._names.connect(self.host, self.port, to)",
            "await to(self.host)",
        ),
        test="tests/integration/test_ledger_names.py::"
        "test_a_look_up_longer_than_an_attempt_serves_a_later_one[_subscription]",
    ),
    mutant(
        "a slow name server keeps Redis away",
        "connections to the broker share a slow look-up",
        Edit("tasks/storage/names.py", "if began_s < until_s:", "if False:"),
        test="tests/integration/test_ledger_names.py::"
        "test_blocking_connections_share_what_a_slow_look_up_found",
    ),
    mutant(
        "a renewed certificate is not read",
        "a changed file makes a new TLS context",
        Edit("tasks/storage/addresses.py", "if stamps != self._stamps:", "if False:"),
        test="tests/integration/test_addresses.py::"
        "test_a_certificate_is_renewed_while_a_process_runs",
    ),
    mutant(
        "a URL that names another host",
        "the certificate of Redis is that of its name",
        Edit(
            "tasks/storage/connections.py",
            'arguments["server_hostname"] = arguments["host"]',
            "pass",
        ),
        test="tests/integration/test_addresses.py::test_a_certificate_is_that_of_the_name_for_all",
    ),
    mutant(
        "a slow name server keeps Redis away",
        "the gateway tells a reason once an outage",
        Edit(
            "tasks/gateway/middleware.py",
            "            self._told.add(reason)\n",
            "",
        ),
        test="tests/integration/test_gateway_requests.py::"
        "test_why_the_ledger_is_away_is_told_again_in_the_next_outage",
    ),
    mutant(
        "a URL that names another host",
        "the target of a request may be a URL",
        Edit(
            "worker/gateway.py",
            "if found := ORIGIN.match(event.target):",
            "if found := None:",
        ),
        test="tests/integration/test_gateway_requests.py::"
        "test_the_target_of_a_request_may_be_a_url",
    ),
    mutant(
        "code in a trace",
        "SIGUSR1 writes stacks without values",
        Edit(
            "worker/runtime/bootsteps.py",
            '"cry_handler"',
            '"no_handler"',
        ),
        test="tests/system/test_stop_signals.py::"
        "test_the_stacks_of_a_worker_are_told_without_values",
    ),
    mutant(
        "code in a trace",
        "a header that holds the code is dropped",
        Edit(
            "tasks/celery_task/message_options.py",
            " and not (hidden and hidden in ",
            " and not (False and hidden in ",
        ),
        test="tests/system/test_message_options.py::test_headers_of_a_producer_are_bounded",
    ),
    mutant(
        "events of another deployment heard",
        "another prefix has its own exchanges of events and remote control",
        Edit(
            "tasks/storage/keys.py",
            "        return name if self.prefix == DEFAULT_PREFIX else",
            "        return name if self.prefix else",
        ),
        test="tests/system/test_remote.py::test_another_deployment_on_the_same_redis_is_not_heard",
    ),
    mutant(
        "broker taken from a stranger's variable",
        "a Celery app of ours does not ask the environment for its broker",
        Edit(
            "tasks/operations/celery_app.py",
            '        object.__setattr__(self._conf, "__class__", _OwnSettings)',
            "        ",
        ),
        test="tests/system/test_environment.py::test_an_app_of_ours_listens_to_no_variable",
    ),
    mutant(
        "cancels lost while a command is sent",
        "a cancel that comes just as a command is sent ends its task (Python 3.11)",
        Edit(
            "tasks/storage/connections.py",
            "if task and task.cancelling() > before:",
            "if task is None:",
        ),
        test="tests/integration/test_connections.py::test_a_cancel_is_not_lost_while_a_command_is_sent",
    ),
    mutant(
        "connections that stay with a demoted master",
        "a connection ends with the refusal of a Redis that is not the one to ask",
        Edit(
            "tasks/storage/connections.py",
            "    return isinstance(error, _CLASSES) or",
            "    return False and isinstance(error, _CLASSES) or error is None and",
        ),
        test="tests/integration/test_connections.py::test_a_blocking_client_leaves",
    ),
    mutant(
        "keys of a cluster that nobody finds again",
        "a connection ends with MOVED",
        Edit("tasks/storage/connections.py", "MISCONF|CLUSTERDOWN|MOVED)", "MISCONF)"),
        Edit(
            "tasks/storage/connections.py",
            "MasterDownError, MovedError, ReadOnlyError)\n",
            "MasterDownError, ReadOnlyError)\n",
        ),
        test=f"{CLUSTER}test_every_client_follows_a_planned_failover",
    ),
    mutant(
        "keys of a cluster that nobody finds again",
        "a node that told what is over is not the only one that is asked",
        Edit("tasks/storage/cluster.py", "            self._order = (*rest, place)\n"),
        test=f"{CLUSTER}test_each_node_is_asked_in_turn_and_a_silent_one_last",
    ),
    mutant(
        "keys of a cluster that nobody finds again",
        "a prefix without a hash tag is refused in cluster mode",
        Edit("tasks/settings.py", 'if clustered and "{" not in self.prefix:', "if False:"),
        test=f"{CLUSTER}test_an_address_in_cluster_mode_wants_a_hash_tag",
    ),
    mutant(
        "looks that share their fate",
        "a key that cannot be read fails only its own caller",
        Edit(
            "tasks/storage/executor.py",
            "                    is_bundled = False  # It is repeated alone.\n",
            "",
        ),
        test="tests/integration/test_bundles.py::"
        "test_a_key_that_cannot_be_read_fails_only_its_own_caller",
    ),
    mutant(
        "half a commit while keys move",
        "a commit declares the keys of its plan",
        Edit(
            "tasks/storage/plan.py",
            'if command[0] != "PUBLISH":  # A channel is no key.',
            "if False:",
        ),
        test=f"{CLUSTER}test_while_a_slot_moves_a_commit_is_refused_as_a_whole",
    ),
    mutant(
        "records read from a replica",
        "a look that no commit follows is answered by a master",
        Edit("tasks/storage/scripts/read.lua", "if needs_master then", "if false then"),
        test="tests/integration/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    mutant(
        "records read from a replica",
        "lists of outcomes come from a master",
        Edit("tasks/storage/scripts/recent.lua", "if needs_master then", "if false then"),
        test="tests/integration/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    mutant(
        "records read from a replica",
        "a replica knows of no session to take",
        Edit("tasks/storage/scripts/take.lua", "'role:slave'", "'role:none'"),
        test="tests/integration/test_connections.py::test_no_replica_tells_what_a_record_says",
    ),
    mutant(
        "one person's trouble is everybody's",
        "names of proxies are looked up apart from those of providers",
        Edit("providers/http/exchange.py", "resolver or PROXY_NAMES", "resolver or PROVIDER_NAMES"),
        test="tests/faults/test_others.py::test_dead_names_of_proxies_stop_nobody",
    ),
    mutant(
        "one person's trouble is everybody's",
        "all who want a name share one look-up",
        Edit("providers/http/resolver.py", "    found = asked.get(host)\n", "    found = None\n"),
        test="tests/integration/test_resolving.py::"
        "test_a_provider_s_name_is_asked_once_for_all_who_want_it",
    ),
    mutant(
        "one person's trouble is everybody's",
        "a sweep goes on behind what no look can change",
        Edit(
            "tasks/execution/sweeper.py",
            "        skip += await self._tick_each(snapshot)\n",
            "        await self._tick_each(snapshot)\n",
        ),
        test="tests/faults/test_stuck.py::test_what_cannot_be_changed_delays_nobody_s_outcome",
    ),
    mutant(
        "one person's trouble is everybody's",
        "a lost worker is forgotten, whatever it held",
        Edit(
            "tasks/execution/sweeper.py",
            "                if end is None or _is_unreadable(end):\n",
            "                if end is None:\n",
        ),
        test="tests/integration/test_attempt.py::"
        "test_one_intent_that_cannot_be_read_keeps_back_no_other",
    ),
    mutant(
        "one person's trouble is everybody's",
        "each byte of a head is looked at once",
        Edit("providers/http/heads.py", "max(self.end, self._looked - 2)", "self.end"),
        Edit(
            "providers/http/heads.py",
            "heard.find(_END, start)",
            "bytes(heard).replace(b'\\r', b' ').find(b'\\n \\n', start)",
        ),
        test="tests/unit/test_heads.py::test_a_head_costs_no_more_than_its_bytes",
    ),
    mutant(
        "a job's exception keeps the frames it went through",
        "exceptions are parted from frames when a job ends",
        Edit(
            "tasks/tracebacks.py",
            "        exc.__traceback__ = None\n",
            "        exc.__suppress_context__ = True\n",
        ),
        test=f"{GARBAGE}test_no_end_of_a_job_leaves_garbage",
    ),
    mutant(
        "the report of an outcome holds a copy of the tracer's stack",
        "an outcome is reported without its stack",
        Edit(
            "worker/runtime/exception_info.py",
            "if not isinstance(exception, OUTCOMES):",
            "if exception:",
        ),
        test="tests/system/test_exception_info.py::test_the_report_of_an_outcome_is_small",
    ),
    mutant(
        "the report of an outcome holds a copy of the tracer's stack",
        "a worker's tracers use this report",
        Edit("worker/app.py", "        report_outcomes_without_stack()\n"),
        test="tests/system/test_states.py::test_silence_is_a_failure",
    ),
    mutant(
        "a job's exception keeps the frames it went through",
        "the same, over a soak of all kinds",
        Edit("worker/runtime/runners.py", "        release_frames(handed)\n"),
        Edit("tasks/tracebacks.py", "        exc.__traceback__ = None\n"),
        test="tests/soak/test_soak.py::test_a_bounded_soak_finds_nothing_that_grows",
    ),
    mutant(
        "a job's exception keeps the frames it went through",
        "so is the exception that Celery reports a copy of",
        Edit("worker/runtime/pool.py", "        task_failure.connect(note_error)\n"),
        test=f"{GARBAGE}test_no_end_of_a_job_leaves_garbage",
    ),
    mutant(
        "a job's exception keeps the frames it went through",
        "so are the library's errors behind a backend's 503",
        Edit(
            "tasks/storage/executor.py",
            "                let_go(error)  # redis-py's frames refer to it, and they hold"
            " the command.\n"
            "                if pause_s is None:\n"
            "                    raise _unavailable(error) from None\n"
            "                time.sleep(pause_s)\n",
            "                if pause_s is None:\n"
            "                    raise _unavailable(error) from None\n"
            "                time.sleep(pause_s)\n",
        ),
        test="tests/integration/test_let_go.py::test_a_blocking_client_s_503_leaves_nothing",
    ),
    mutant(
        "garbage without a bound",
        "growth that no attempt explains calls for a full round",
        Edit(
            "worker/runtime/garbage.py",
            "        if unexplained - self._least < GROWN_MAX:\n",
            "        if unexplained:\n",
        ),
        test=f"{GARBAGE}test_old_garbage_is_found_though_python_s_own_rounds_are_rare",
    ),
    mutant(
        "a verdict that cannot be told",
        "what an adapter returns is checked before it is settled",
        Edit(
            "tasks/execution/attempt.py",
            "found, ledger.session = validate_verdict(verdict, adapter, sent=exchange.code_sent)\n",
            "found = verdict\n",
        ),
        test="tests/integration/test_attempt.py::"
        "test_what_cannot_be_told_is_500_at_once[bytes in a session]",
    ),
    mutant(
        "doubt that lets guess",
        "an adapter's doubt reaches the rules",
        Edit(
            "tasks/execution/verdicts.py",
            "        in_doubt=sent and failure.in_doubt is True,\n",
            "        in_doubt=False,\n",
        ),
        test="tests/integration/test_doubt.py::test_so_many_codes_are_sent_and_no_more[unknown]",
    ),
    mutant(
        "doubt that lets guess",
        "so does an adapter's bug on an answer",
        Edit(
            "tasks/execution/attempt.py",
            "        return Failed(failure=catalogue.UNEXPECTED, sent=sent, in_doubt=sent)\n",
            "        return Failed(failure=catalogue.UNEXPECTED, sent=sent)\n",
        ),
        test="tests/integration/test_doubt.py::test_so_many_codes_are_sent_and_no_more"
        "[crashed first]",
    ),
    mutant(
        "doubt that lets guess",
        "each doubt is taken off what the version before goes by",
        Edit(
            "tasks/storage/intent_json.py",
            "        intent = replace(intent, failures_max=intent.failures_max - intent.doubts)\n",
            "        pass\n",
        ),
        Edit(
            "tasks/storage/intent_json.py",
            "        intent = replace(intent, failures_max=intent.failures_max + intent.doubts)\n",
            "        pass\n",
        ),
        test="tests/integration/test_doubt.py::test_a_process_of_the_version_before_forgets_no_doubt",
    ),
    mutant(
        "doubt that lets guess",
        "a live session's doubt counts as well",
        Edit(
            "providers/live_session/adapter.py",
            "    if answer.in_doubt and (doubt := DOUBTS.get((status, type_))) is not None:\n",
            "    if (doubt := None) is not None:\n",
        ),
        test="tests/integration/test_live_session.py::test_a_session_says_that_a_code_is_in_doubt",
    ),
    mutant(
        "a login thrown away with its answer",
        "the head of an unreadable answer is kept",
        Edit(
            "providers/http/exchange.py",
            "            caught.head = answer.head()\n            raise\n",
            "            raise\n",
        ),
        test="tests/integration/test_transport.py::"
        "test_a_login_in_the_head_of_an_unreadable_answer_is_heard[broken brotli]",
    ),
    mutant(
        "a login thrown away with its answer",
        "and heard where it is a login",
        Edit(
            "providers/answers.py",
            "        if error.head is None or not is_login(error.head):\n            "
            "raise\n        return error.head\n",
            "        raise\n",
        ),
        test="tests/integration/test_transport.py::"
        "test_a_login_in_the_head_of_an_unreadable_answer_is_heard[cut body]",
    ),
    mutant(
        "a code that is not what was typed",
        "every decimal digit is folded",
        Edit("providers/contract.py", "str(unicodedata.decimal(char, char))", "char"),
        test="tests/unit/test_codes.py::test_every_decimal_digit_is_its_ascii_digit",
    ),
    mutant(
        "a code that is not what was typed",
        "invisible marks are dropped",
        Edit("providers/contract.py", ' if unicodedata.category(char) != "Cf")', ")"),
        test="tests/unit/test_codes.py::test_every_invisible_mark_is_dropped",
    ),
    mutant(
        "a code that is not what was typed",
        "two codes in one text are refused",
        Edit(
            "providers/contract.py",
            "    if sum(len(group) >= min(whole) for group in groups) > 1:\n",
            "    if False:\n",
        ),
        test="tests/unit/test_codes.py::test_what_is_no_code_is_refused[abc123 "
        "def456-code_format3-InvalidRequestError]",
    ),
    mutant(
        "a code that is not what was typed",
        "a double click is recognised by the folded code",
        Edit(
            "tasks/operations/acceptance.py",
            "(request.provider, request.account_id, code),\n",
            "(request.provider, request.account_id, request.code),\n",
        ),
        test="tests/integration/test_intake.py::"
        "test_a_double_click_is_recognised_by_the_folded_code[482 913]",
    ),
    mutant(
        "a code that is not what was typed",
        "what was folded is what is sealed and sent",
        Edit(
            "tasks/operations/acceptance.py",
            "            sealed = self.vault.seal(name, code.encode())\n",
            "            sealed = self.vault.seal(name, self.request.code.encode())\n",
        ),
        test="tests/integration/test_intake.py::"
        "test_a_double_click_is_recognised_by_the_folded_code[482 913]",
    ),
    mutant(
        "a header of ours overridden",
        "headers that are made here cannot be given",
        Edit(
            "providers/contract.py",
            "    if key in OUR_HEADERS or key in made:\n",
            "    if False:\n",
        ),
        test="tests/unit/test_login_headers.py::test_no_header_of_ours_can_be_given[cookie]",
    ),
    mutant(
        "a header of ours overridden",
        "an encoding that cannot be undone is refused",
        Edit(
            "providers/contract.py",
            '    if key == "accept-encoding" and not _are_known(value):\n',
            "    if False:\n",
        ),
        test="tests/unit/test_login_headers.py::"
        "test_what_cannot_be_sent_is_refused_at_the_opening[{'Accept-Encoding': "
        "'gzip, compress'}-accept-encoding]",
    ),
    mutant(
        "a person's number in a sentence",
        "what is no source word is left out",
        Edit(
            "providers/contract.py",
            "each for each in ways if WAY.fullmatch(each)",
            "each for each in ways",
        ),
        test="tests/integration/test_doubt.py::"
        "test_another_way_tells_the_methods_and_nothing_of_the_person"
        "[ways1-offers: WHATSAPP.]",
    ),
    mutant(
        "an answer unpacked without a bound",
        "Brotli stops at its limit",
        Edit(
            "providers/http/decoding.py",
            "self._inflate.process(data, output_buffer_limit=self._left + 1)",
            "self._inflate.process(data)",
        ),
        test="tests/unit/test_decoding.py::"
        "test_a_newer_bomb_is_not_unpacked_beyond_the_limit[1-br]",
    ),
    mutant(
        "an answer unpacked without a bound",
        "so does Zstandard",
        Edit(
            "providers/http/decoding.py",
            "            made = self._inflate.decompress(data, self._left + 1)\n",
            "            made = self._inflate.decompress(data)\n",
        ),
        test="tests/unit/test_decoding.py::"
        "test_a_newer_bomb_is_not_unpacked_beyond_the_limit[1-zstd]",
    ),
    mutant(
        "an answer unpacked without a bound",
        "and its window is what servers may ask for",
        Edit(
            "providers/http/decoding.py",
            "zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)",
            "zstd.ZstdDecompressor()",
        ),
        test="tests/unit/test_decoding.py::test_a_window_that_no_server_may_ask_for_is_refused",
    ),
    mutant(
        "a session thrown away",
        "a session in TWITTER's answer outweighs its body, redirect and status",
        Edit(
            "providers/twitter/adapter.py",
            "        if self.is_signed_in:\n"
            "            self.keep_id(_first_id(body))\n"
            "            return flow\n",
        ),
        test=f"{SAYINGS}[TWITTER-http-session in a redirect]",
    ),
    mutant(
        "a session thrown away",
        "what is asked after a session that is there fails without harm",
        Edit(
            "providers/twitter/adapter.py",
            "            if self.is_signed_in:\n                return None\n            raise\n",
            "            raise\n",
        ),
        test=f"{TWITTER}test_a_session_outlives_what_goes_wrong_when_the_flow_is_closed",
    ),
    mutant(
        "a session thrown away",
        "and takes a bounded part of the login's time",
        Edit(
            "providers/twitter/adapter.py",
            "asyncio.timeout(COURTESY_S if self.is_signed_in else None)",
            "asyncio.timeout(None)",
        ),
        test=f"{TWITTER}test_a_courtesy_does_not_take_the_time_of_the_login",
    ),
    mutant(
        "a session thrown away",
        "a TWITTER session without its token gets one made",
        Edit(
            "providers/twitter/session.py",
            "        if lacks_token:\n            self._make_token()\n",
        ),
        test=f"{TWITTER}test_a_token_that_is_not_set_is_made_as_the_site_makes_it",
    ),
    mutant(
        "a session thrown away",
        "a login that a client session hands over outweighs a word that is not known",
        Edit(
            "providers/live_session/adapter.py",
            "    if answer.is_login(provider):\n",
            "    if False:\n",
        ),
        test="tests/integration/test_live_session.py::"
        "test_a_finished_login_outweighs_a_word_that_is_not_known",
    ),
    mutant(
        "an unknown answer that ends a login",
        "a subtask of TWITTER that is not known is doubt",
        Edit(
            "providers/twitter/meanings.py",
            "    return UnknownStepError(msg)\n",
            "    return DeadIntentError(msg)\n",
        ),
        test=f"{SAYINGS}[TWITTER-http-unknown step]",
    ),
    mutant(
        "an unknown answer that ends a login",
        "so is a status without an error that is known",
        Edit(
            "providers/twitter/meanings.py",
            "        raise UnreadableAnswerError(_STATUSES",
            "        raise SessionMismatchError(_STATUSES",
        ),
        test=f"{SAYINGS}[TWITTER-http-403 alone]",
    ),
    mutant(
        "a code where an address is asked for",
        "a subtask of TWITTER that plainly asks for an address gets no code",
        Edit(
            "providers/twitter/adapter.py",
            "    if context.asks_for_address:\n        msg",
            "    if False:\n        msg",
        ),
        test=f"{TWITTER}test_a_code_is_never_sent_to_a_step_that_asks_for_an_address",
    ),
    mutant(
        "two codes sent as one",
        "codes that are whole by themselves are no code of another source",
        Edit(
            "providers/contract.py",
            "        found = None  # Two whole codes",
            "        pass  # Two whole codes",
        ),
        test=f"{TWITTER}test_two_codes_are_no_backup_code",
    ),
    mutant(
        "INSTAGRAM: a finished login thrown away",
        "a session counts wherever the answer redirects to",
        Edit(
            "providers/instagram/adapter.py",
            "(parsed.claims_login or not parsed.names_further_step):",
            "parsed.claims_login:",
        ),
        test=f"{IG}test_a_session_outweighs_where_it_redirects_to[challenge_web-/]",
    ),
    mutant(
        "INSTAGRAM: a finished login thrown away",
        "an answer whose body cannot be read is looked at all the same",
        Edit(
            "providers/instagram/adapter.py",
            "await hear_code(exchange, request, _is_told_by_head)",
            "await exchange.send_code(request)",
        ),
        test=f"{IG}test_a_session_in_the_head_needs_no_body[web-unknown packing]",
    ),
    mutant(
        "INSTAGRAM: a finished login thrown away",
        "a jar stays within the bounds that its context has",
        Edit(
            "providers/http/jar.py",
            "    return tuple(each for each in cookies if each.name in names)\n",
            "    return tuple(cookies)\n",
        ),
        test=f"{IG}test_a_jar_grows_over_no_bound_whatever_an_answer_sets[3000]",
    ),
    mutant(
        "INSTAGRAM: words believed before structure",
        "a further step that is named holds, whatever session came with it",
        Edit(
            "providers/instagram/adapter.py",
            "(parsed.claims_login or not parsed.names_further_step):",
            "True:",
        ),
        test=f"{IG}test_a_further_step_that_is_named_holds_though_there_is_a_session"
        "[two_factor-/challenge/1/n/]",
    ),
    mutant(
        "INSTAGRAM: words believed before structure",
        "a refused code is told by the form of its answer",
        Edit(
            "providers/instagram/adapter.py",
            '        return parsed.status == REFUSAL and parsed.body.get("status") == "fail"\n',
            "        return False\n",
        ),
        test=f"{IG}test_a_refused_code_is_one_in_every_language[two_factor-de]",
    ),
    mutant(
        "INSTAGRAM: words believed before structure",
        "a screen's error that is emptied is none",
        Edit(
            "providers/instagram/bloks.py",
            "                found.errors += filter(None, [value[0].strip()])\n",
            "                found.errors += [value[0].strip()]\n",
        ),
        test=f"{IG}test_an_error_that_is_emptied_refuses_nothing[second factor-empty]",
    ),
    mutant(
        "INSTAGRAM: a login ended by what nobody knows",
        "an unknown step is in doubt",
        Edit(
            "providers/instagram/responses.py",
            '    UnknownStepError,\n    "The provider asks for a step',
            '    DeadIntentError,\n    "The provider asks for a step',
        ),
        test="tests/system/test_instagram_reports.py::"
        "test_each_report_ends_as_it_should[unknown-two_factor]",
    ),
    mutant(
        "a session thrown away",
        "LINKEDIN: whatever comes with the session, whose it is is asked",
        Edit(
            "providers/linkedin/adapter.py",
            "            if cookie_value(left, SESSION_COOKIE) is not None:\n",
            "            if cookie_value(left, SESSION_COOKIE) and reply.status == 303:\n",
        ),
        test="tests/integration/test_linkedin.py::test_a_session_outweighs_what_else_is_said",
    ),
    mutant(
        "a session thrown away",
        "MESSENGER: an error beside the session is not heard",
        Edit(
            "providers/messenger/adapter.py",
            "    if not names_step and (login.is_whole or has_token):\n",
            "    if isinstance(meaning, UnreadableAnswerError) and login.is_whole:\n",
        ),
        test="tests/integration/test_messenger.py::test_a_session_outweighs_what_else_is_said",
    ),
    mutant(
        "a session thrown away",
        "a cookie that is cleared for another domain is still there",
        Edit("providers/http/jar.py", "(each.name not in alive and _same_home(", "(_same_home("),
        test="tests/integration/test_known_answers.py::"
        "test_each_known_answer_is_read_and_a_doubt_is_told[LINKEDIN-old domain cleared]",
    ),
    mutant(
        "a revoked login handed over",
        "the answer that names the member may take the session back",
        Edit(
            "providers/linkedin/session.py",
            '        if any(each.name == "li_at" and not is_live(each) for each in',
            "        if any(not each.name for each in",
        ),
        test="tests/integration/test_linkedin.py::"
        "test_a_success_without_an_account_is_the_providers_fault",
    ),
    mutant(
        "an unknown answer that ends a login",
        "a refusal without a reason is no mismatch",
        Edit("providers/linkedin/pages.py", ' and "csrf" in text.lower():\n', ":\n"),
        test="tests/integration/test_linkedin.py::"
        "test_each_failure_is_told_apart[forbidden, empty]",
    ),
    mutant(
        "a page judged by what stands around its form",
        "a form for the code outweighs the marks of other screens",
        Edit(
            "providers/linkedin/pages.py",
            "    signs = IN_FORM if forms and not page.has(_TAKE_OVER) else ",
            "    signs = () if page.has(_TAKE_OVER) and not IN_FORM else ",
        ),
        test="tests/integration/test_known_answers.py::test_each_known_answer_is_read_and_a_doubt"
        "_is_told[LINKEDIN-refused beside another way-wrong]",
    ),
    mutant(
        "a number with two meanings read as one",
        "MESSENGER's 368 is read by its words",
        Edit(
            "providers/messenger/meanings.py",
            'Sign("security check", ON_SITE, codes=frozenset({368})',
            'Sign("security check", ON_SITE, codes=frozenset({369})',
        ),
        test="tests/integration/test_known_answers.py::"
        "test_each_known_answer_is_read_and_a_doubt_is_told[MESSENGER-security check]",
    ),
    mutant(
        "a stored field renamed",
        "what rests in Redis keeps the names that the version before reads and writes",
        Edit("tasks/model.py", ', rename={"duplicate_of": "twin_of"}'),
        test="tests/unit/test_stored_form.py::"
        "test_an_intent_of_the_version_before_is_read_whole_and_written_as_it_was",
    ),
    mutant(
        "a stored field renamed",
        "a process of the version before finds what this one has stored",
        Edit("tasks/model.py", ', rename={"duplicate_of": "twin_of"}'),
        test="tests/upgrade/test_upgrade.py::"
        "test_clients_of_two_versions_share_a_worker_of_the_older_one",
    ),
    mutant(
        "a living hub taken for a dead one",
        "a hub that answers at once is asked again",
        Edit(
            "worker/observability/health.py",
            "            # Before the call: the hub's thread may answer at once.\n"
            "            self._hub_asked = True\n"
            "            if not self.ask_hub(self._hub_answers):\n"
            "                self._hub_asked = False\n",
            "            self._hub_asked = self.ask_hub(self._hub_answers)\n",
        ),
        test="tests/system/test_health.py::"
        "test_a_hub_that_answers_before_the_question_returns_is_asked_again",
    ),
    mutant(
        "a subscription that hears nothing for ever",
        "twice the silence ends the connection",
        Edit(
            "tasks/storage/subscription.py",
            "            raise TimeoutError\n",
            "            self.end()\n",
        ),
        test="tests/integration/test_attempt.py::"
        "test_the_listener_gives_up_a_connection_that_says_nothing",
    ),
    mutant(
        "a subscription that hears nothing for ever",
        "a stall of the process itself does not end the connection",
        Edit(
            "tasks/storage/subscription.py",
            "        if self._tested:\n",
            "        if self._tested or now_s - self._since_s >= 2 * self._quiet_s:\n",
        ),
        test="tests/integration/test_subscription.py::"
        "test_only_a_test_without_an_answer_proves_a_dead_connection",
    ),
    mutant(
        "a subscription that hears nothing for ever",
        "a test message that reaches no subscriber ends the connection",
        Edit(
            "tasks/storage/subscription.py",
            ' and not await self._publish(self._names[0], ""):',
            ' and await self._publish(self._names[0], "") is None:',
        ),
        test="tests/integration/test_cluster.py::"
        "test_a_session_is_not_unheard_because_a_node_counts_nobody",
    ),
    mutant(
        "a subscription that hears nothing for ever",
        "a reconnect that redis-py made by itself is told like a first one",
        Edit(
            "tasks/storage/subscription.py",
            "            if self._is_confirmation(message):\n                self._subscribed()\n",
            "",
        ),
        test="tests/integration/test_subscription.py::test_a_reconnect_that_the_library_made_is_told[1]",
    ),
    mutant(
        "a bound page that plain HTTP passes",
        "each code is signed by the browser that the login is bound to",
        Edit(
            "providers/sandbox/web/site.py",
            "        if login.binding is not None and not login.binding.admits(request, body):\n"
            '            return self._forbid(login, "bound")\n',
        ),
        test=f"{PAGES}test_plain_http_is_refused_and_uses_no_code",
    ),
    mutant(
        "a bound page that plain HTTP passes",
        "a signature is good for one request",
        Edit("providers/sandbox/web/bound.py", "return is_new", "return True"),
        test=f"{PAGES}test_a_signature_is_good_for_one_request_alone[replayed]",
    ),
    mutant(
        "a bound page that plain HTTP passes",
        "the first key that is handed in stays",
        Edit(
            "providers/sandbox/web/bound.py",
            "if self._key is not None and self._key.public_numbers() != key.public_numbers():",
            "if not key:",
        ),
        test=f"{PAGES}test_the_first_browser_keeps_the_login",
    ),
    mutant(
        "a code at a simulated page that is not counted",
        "each code that arrives at a page is a send of its account",
        Edit(
            "providers/sandbox/web/site.py",
            "        return Seen(account=login.account if login else None, code=code)\n",
            "        return None\n",
        ),
        test=f"{PAGES}test_wrong_then_right_ends_at_home[LINKEDIN-EMAIL]",
    ),
    mutant(
        "a storm of replacements",
        "a child that ends has a growing pause before it is replaced",
        Edit(
            "worker/runtime/processes/rules.py",
            "    return min(DELAY_MAX_S, DELAY_S * doubled)\n",
            "    return 0.0\n",
        ),
        test="tests/unit/test_supervision.py::"
        "test_a_child_that_crashes_for_an_hour_costs_a_start_a_minute",
    ),
    mutant(
        "a storm of replacements",
        "what no child can start with ends the command",
        Edit(
            "worker/runtime/processes/rules.py",
            "        elif (status >= 0 and not self.proven) or all(\n",
            "        elif all(\n",
        ),
        test="tests/integration/test_supervisor.py::"
        "test_wrong_settings_are_said_once_and_end_the_command",
    ),
    mutant(
        "a storm of replacements",
        "the first child proves the settings before the others start",
        Edit(
            "worker/runtime/processes/rules.py",
            "        return self.slots if self.proven else self.slots[:1]\n",
            "        return self.slots\n",
        ),
        test="tests/integration/test_supervisor.py::"
        "test_wrong_settings_are_said_once_and_end_the_command",
    ),
    mutant(
        "children without a supervisor",
        "a child watches its channel",
        Edit("worker/runtime/processes/child.py", "    end_with_peer(STDIN, leave_s)\n"),
        test="tests/system/test_processes.py::"
        "test_a_child_ends_with_a_supervisor_that_is_killed_while_it_starts",
    ),
    mutant(
        "a child that never ends",
        "a drain has a bound, at which a child is killed",
        Edit(
            "worker/runtime/processes/rules.py",
            "        elif now_s - self._stop_s < self.drain_s:\n",
            "        else:\n",
        ),
        test="tests/unit/test_supervision.py::"
        "test_a_child_stuck_in_its_drain_is_killed_at_the_bound",
    ),
    mutant(
        "one Ctrl-C heard twice",
        "a child has a process group of its own",
        Edit("worker/runtime/processes/supervisor.py", "                process_group=0,\n"),
        test="tests/integration/test_supervisor.py::"
        "test_ctrl_c_reaches_a_child_through_the_supervisor_alone",
    ),
    mutant(
        "a silent child called ready",
        "an old answer counts no more",
        Edit(
            "worker/runtime/processes/report.py",
            "        if self._now_s - heard_s >= STALE_S:\n",
            "        if False:\n",
        ),
        test="tests/integration/test_supervisor.py::"
        "test_a_child_that_falls_silent_is_not_ready_before_it_is_killed",
    ),
    mutant(
        "a code typed twice",
        "a submission is typed into a page once",
        Edit(
            "providers/live_session/browser/page.py",
            "            if submission_id in self._typed:\n",
            "            if False:\n",
        ),
        test=f"{PAGE}test_a_submission_is_typed_once",
    ),
    mutant(
        "a code typed twice",
        "a form that submits itself is not submitted again",
        Edit(
            "providers/live_session/browser/page.py",
            "        while not attempt.taken:\n",
            "        while True:\n",
        ),
        Edit(
            "providers/live_session/browser/page.py",
            "            if attempt.has_moved(view):\n",
            "            if False:\n",
        ),
        test=f"{PAGE}test_a_form_that_submits_itself_is_not_submitted_again",
    ),
    mutant(
        "typing that a cancel does not stop",
        "a canceled call to the browser is followed by no other",
        Edit(
            "providers/live_session/browser/calls.py",
            "        await asyncio.wait({running}, timeout=CALL_S)\n        raise\n",
            "        return await running\n",
        ),
        test=f"{PAGE}test_a_canceled_code_is_not_submitted_and_not_left",
    ),
    mutant(
        "a code left in a page",
        "the field is emptied whatever came",
        Edit(
            "providers/live_session/browser/page.py",
            "                await self._clear(attempt, code)\n",
            "                pass\n",
        ),
        test=f"{PAGE}test_a_refused_code_is_refused_and_cleared",
    ),
    mutant(
        "a code left in a page",
        "a form that is still being sent is stopped",
        Edit(
            "providers/live_session/browser/page.py",
            "            if stops:\n",
            "            if False:\n",
        ),
        test=f"{PAGE}test_a_page_that_never_answers_is_timed_out_and_cleared",
    ),
    mutant(
        "a page's refusal that is none",
        "an error of before the submit refuses nothing",
        Edit(
            "providers/live_session/browser/judging.py",
            "        self._stale = set(before.alerts)\n",
            "        self._stale = set()\n",
        ),
        test=f"{PAGE}test_an_error_of_before_refuses_nothing",
    ),
    mutant(
        "a page's refusal that is none",
        "a page whose provider has not answered refuses nothing",
        Edit(
            "providers/live_session/browser/judging.py",
            "    if before is None or not attempt.answered:\n",
            "    if before is None:\n",
        ),
        test=f"{PAGE}test_an_error_without_an_answer_of_the_provider_refuses_nothing",
    ),
    mutant(
        "a page's login of before",
        "the session's own cookie is new",
        Edit(
            "providers/live_session/browser/judging.py",
            "    return cookie_value(view.cookies, own) != baseline.get(own)\n",
            "    return own is not None\n",
        ),
        test=f"{PAGE}test_a_login_of_before_is_none_of_now",
    ),
    mutant(
        "a code typed into another site",
        "a page that has left the login's site has no field",
        Edit(
            "providers/live_session/browser/judging.py",
            "        return State.LOADING\n    if site_of(view.url) != site:\n",
            "        return State.LOADING\n    if False:\n",
        ),
        Edit(
            "providers/live_session/browser/looking.py",
            "            if site_of(frame.url) != self.site:\n",
            "            if False:\n",
        ),
        test=f"{PAGE}test_a_page_without_its_field_is_not_typed_into[away]",
    ),
    mutant(
        "a code in a recording",
        "a page is asked for recordings before each code",
        Edit(
            "providers/live_session/browser/page.py",
            "        refuse_recording(self.page)\n        await self._begin_watching",
            "        await self._begin_watching",
        ),
        test=f"{PAGE}test_a_recorded_page_is_refused[trace]",
    ),
    mutant(
        "code in a trace",
        "no message of a browser's client leaves a call",
        Edit(
            "providers/live_session/browser/calls.py",
            "if _is_lost(error) else PageBusyError()",
            "if _is_lost(error) else PageBusyError(str(error))",
        ),
        test=f"{PAGE}test_no_error_quotes_a_key",
    ),
    mutant(
        "a browser that is gone keeps its registration",
        "the session ends with its page",
        Edit(
            "tasks/live_session/browser.py",
            " and await self._login.is_there():\n",
            ":\n",
        ),
        test="tests/integration/test_browser_session.py::"
        "test_a_lost_page_is_no_session_at_once[close]",
    ),
    mutant(
        "`run_id` ignored",
        "a master that was demoted and promoted again is another Redis",
        Edit(
            "tasks/model.py",
            'return history.partition(" ")[0] in self.history.split(" ")',
            "return True",
        ),
        test="tests/faults/test_switchover.py::"
        "test_a_master_that_was_replaced_for_a_while_sends_nothing_twice",
    ),
    mutant(
        "a reply left for the next caller",
        "an interrupted call of the blocking client costs its connection",
        Edit(
            "tasks/storage/connections.py",
            "(self._is_half_made or self._owes)",
            "self._is_half_made",
        ),
        test="tests/integration/test_executor.py::"
        "test_an_interrupted_call_costs_its_connection_and_no_answer",
    ),
    mutant(
        "a lock that an interrupted call left held",
        "connections do not ask for notices of maintenance",
        Edit(
            "tasks/storage/executor.py",
            "        **NO_NOTIFICATIONS,\n        **address.login",
            "        **address.login",
        ),
        test="tests/integration/test_client_interrupted.py::"
        "test_a_connect_takes_no_lock_of_logging",
    ),
    mutant(
        "a lock that an interrupted call left held",
        "a call that was interrupted leaves its pool of connections",
        Edit(
            "tasks/storage/executor.py",
            "    client.connection_pool.reset()\n",
            "    pass\n",
        ),
        test="tests/system/test_client_interrupts.py::"
        "test_calls_that_are_interrupted_cost_later_ones_nothing",
    ),
    mutant(
        "waiting at a listener that has ended",
        "callers look, and start another listener, when theirs ends",
        Edit(
            "tasks/client/waiter.py",
            "for wait in self._read_order if wakes else ():",
            "for wait in ():",
        ),
        test="tests/integration/test_client_waiting.py::"
        "test_who_waits_while_the_awaited_client_is_closed_hears_on",
    ),
    mutant(
        "a lock that an interrupted call left held",
        "an interrupted call stops no thread that waits for a connection",
        Edit("tasks/storage/executor.py", "queue_class=IdleConnections, ", ""),
        test="tests/integration/test_client_interrupted.py::"
        "test_a_queue_that_is_left_by_an_exception_serves_the_others",
    ),
    mutant(
        "a half-made connection is used",
        "a connection whose set-up was interrupted is not used",
        Edit(
            "tasks/storage/connections.py",
            "        self._is_half_made = True\n",
            "",
        ),
        test="tests/integration/test_executor.py::"
        "test_a_connection_whose_set_up_was_interrupted_is_made_again",
    ),
    mutant(
        "one person's trouble is everybody's",
        "each Sentinel has its share of the time for a connection",
        Edit(
            "tasks/storage/executor.py",
            "{name: seconds / count for",
            "{name: 10 * seconds for",
        ),
        test="tests/integration/test_addresses.py::"
        "test_a_sentinel_that_tells_nothing_holds_up_nobody[silent]",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "names of exceptions say what a refusal is about",
        Edit(
            "providers/instagram/parsed.py",
            'self.body.get("exception_name")',
            "None",
        ),
        test="tests/integration/test_instagram_answers.py::"
        "test_each_known_answer_becomes_what_the_page_says",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "a refusal of the login's own values judges no code",
        Edit(
            "providers/instagram/adapter.py",
            "if parsed.judges_login or means",
            "if means",
        ),
        test="tests/integration/test_instagram_answers.py::"
        "test_each_known_answer_becomes_what_the_page_says",
    ),
    mutant(
        "INSTAGRAM: words believed before structure",
        "the end of a checkpoint is read last",
        Edit(
            "providers/instagram/adapter.py",
            "parsed.ends_at or means.OVER",
            "means.OVER",
        ),
        test="tests/integration/test_instagram_answers.py::"
        "test_each_known_answer_becomes_what_the_page_says",
    ),
    mutant(
        "INSTAGRAM: words believed before structure",
        "flags are flags as texts and numbers, too",
        Edit(
            "providers/instagram/session.py",
            ' or text(value).strip().lower() in {"1", "true"}',
            "",
        ),
        test="tests/integration/test_instagram_answers.py::"
        "test_each_known_answer_becomes_what_the_page_says",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "a passing fault of the provider refuses no code",
        Edit(
            "providers/messenger/adapter.py",
            " or error.is_transient",
            "",
        ),
        test="tests/integration/test_messenger.py::test_each_answer_has_its_meaning",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "a notice that a code was sent refuses none",
        Edit(
            "providers/linkedin/pages.py",
            "is_notice = sign is None and",
            "is_notice = False and",
        ),
        test="tests/integration/test_linkedin.py::test_a_notice_that_a_code_was_sent_refuses_none",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "try again later is understood in every language",
        Edit(
            "providers/meanings.py",
            "filter(None, (pattern, _LATER_WORDS.get(language)))",
            "[pattern]",
        ),
        test="tests/unit/test_words.py::test_a_sentence_that_asks_to_try_later_judges_no_code",
    ),
    mutant(
        "a login thrown away with its answer",
        "each try to learn the owner has the newest cookies",
        Edit(
            "providers/linkedin/session.py",
            "    refusals = 0\n",
            "    refusals, first = 0, request()\n    request = lambda: first\n",
        ),
        test="tests/integration/test_linkedin.py::"
        "test_each_try_has_the_cookies_of_the_answers_before_it",
    ),
    mutant(
        "a login thrown away with its answer",
        "a token that the jar keeps escaped is sent bare",
        Edit(
            "providers/linkedin/adapter.py",
            'return _bare(self._jar.value(CSRF_COOKIE) or "")',
            'return (self._jar.value(CSRF_COOKIE) or "").strip(\'"\')',
        ),
        test="tests/integration/test_linkedin.py::"
        "test_a_token_that_a_jar_keeps_escaped_is_sent_bare",
    ),
    mutant(
        "an unknown answer that ends a login",
        "a lock that opens by itself ends no login",
        Edit(
            "providers/twitter/meanings.py",
            'rf"(?s)^(?=.*\\blocked\\b)',
            'rf"(?s)^(?=.*\\bnever\\b)',
        ),
        test="tests/integration/test_twitter_answers.py::"
        "test_each_answer_becomes_what_its_row_says",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "errors are read wherever they are",
        Edit(
            "providers/twitter/meanings.py",
            'body.get("errors") or body.get("error")',
            'body.get("errors")',
        ),
        test="tests/integration/test_twitter_answers.py::"
        "test_each_answer_becomes_what_its_row_says",
    ),
    mutant(
        "an answer about something else counted as a wrong code",
        "a sentence that asks to wait refuses no code",
        Edit(
            "providers/linkedin/meanings.py",
            "judges = not TOO_MANY.is_said(text) and",
            "judges =",
        ),
        test="tests/integration/test_linkedin.py::test_a_page_that_only_names_a_code_refuses_none",
    ),
    mutant(
        "one person's trouble is everybody's",
        "a wake waits for a silent RabbitMQ for a bounded time",
        Edit(
            "tasks/operations/wake.py",
            'names = ("read_timeout", "write_timeout")',
            'names = ("socket_timeout", "socket_connect_timeout")',
        ),
        test="tests/integration/test_service.py::"
        "test_a_silent_broker_holds_up_neither_a_sweep_nor_a_submission[silent_at1]",
    ),
    mutant(
        "code in argsrepr",
        "Flower cleans events and asks for a login also without its file",
        Edit(
            "worker/monitor.py",
            'if is_celery and "flower" in sys.argv and',
            "if False and",
        ),
        test="tests/system/test_flower.py::"
        "test_the_refusal_ends_the_process_with_a_sentence[no conf]",
    ),
    mutant(
        "one person's trouble is everybody's",
        "a gateway serves where its output cannot be written",
        Edit("worker/cli/commands/gateway.py", "    make_streams_fail_safe()\n"),
        test="tests/system/test_gateway_command.py::"
        "test_a_gateway_whose_output_goes_nowhere_serves_all_the_same[a full disk]",
    ),
    mutant(
        "code in argsrepr",
        "the log has the system's words for an error, not the exception's",
        Edit("tasks/execution/report.py", "return os.strerror(number)", "return str(error)"),
        test="tests/integration/test_attempt.py::"
        "test_why_a_provider_cannot_be_reached_is_in_the_log[OSError-str]",
    ),
)
