"""The promises, as functions from a history to what breaks them.

They share nothing with the product, not even words where these could hide a misunderstanding: what
a promise means is written here a second time. A claim speaks only when the history proves the
breach under every order of events that the recorded times allow. So an unanswered request is
taken as whatever would be innocent, and two requests that overlap are in no order.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.checker.history import (
    FAIL,
    INFO,
    OK,
    Asked,
    Cancel,
    Counted,
    End,
    Event,
    Fault,
    Fence,
    Final,
    History,
    Quota,
    Read,
    Seen,
    Settled,
    Start,
    Submit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of what is allowed to happen late may happen."""

    #: A reader may be this much behind: a judicator that is cut off notices within this.
    stale_s: float = 0.0
    #: A run may begin this long after its task ended, or after a later attempt began: an executor
    #: that is out of reach goes on with what it has.
    waste_s: float = 0.0
    #: From the last fault's end until everything accepted has ended.
    settle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Breach:
    claim: str
    what: str
    evidence: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.claim}: {self.what}", *map(repr, self.evidence[:6])])


Claim = Callable[[History, Bounds], Iterator[Breach]]


def accepted_is_kept(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C1: what was accepted exists, is what was asked for, and has ended; what was refused is not
    there, and one key is one task."""
    finals = _finals(history)
    submits = history.of(Submit)
    if not finals:
        yield Breach("C1", "nobody was asked when all was over")
    for submit in submits:
        if submit.result != OK:
            continue
        if submit.task is None:
            yield Breach("C1", "accepted without an id", (submit,))
            continue
        for via, tasks in finals.items():
            final = tasks.get(submit.task)
            if final is None:
                yield Breach("C1", f"{via} does not know an accepted task", (submit,))
            elif final.seen.nonce != submit.nonce:
                yield Breach("C1", "a task is not what was asked for", (submit, final))
            elif not final.seen.ended:
                yield Breach("C1", "an accepted task has not ended", (submit, final))
    allowed = _allowed(submits)
    for via, tasks in finals.items():
        made = Counter(final.seen.nonce for final in tasks.values())
        for nonce, count in made.items():
            if count > allowed.get(nonce, 0):
                what = (
                    f"{via} has {count} tasks of a submission that may have {allowed.get(nonce, 0)}"
                )
                tries = tuple(submit for submit in submits if submit.nonce == nonce)
                yield Breach("C1", what, tries)


def _allowed(submits: Sequence[Submit]) -> dict[str, int]:
    """How many tasks a submission may have become: one for each key, and one for each try without
    a key that was not refused."""
    keys: dict[str, set[str]] = defaultdict(set)
    allowed: Counter[str] = Counter()
    for submit in submits:
        if submit.result == FAIL:
            continue
        if submit.key is None:
            allowed[submit.nonce] += 1
        else:
            keys[submit.nonce].add(submit.key)
    for nonce, used in keys.items():
        allowed[nonce] += len(used)
    return dict(allowed)


def end_is_the_end(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C2: whoever saw the end of a task sees that end again, wherever they ask."""
    for reads in _sightings(history).values():
        ends = [read for read in reads if read.seen is not None and read.seen.ended]
        for one, other in pairwise(ends):
            if one.seen != other.seen:
                yield Breach("C2", "two ends of one task", (one, other))
        if ends:
            first = min(ends, key=lambda read: read.over)
            for read in reads:
                late = read.at > first.over + bounds.stale_s
                if late and (read.seen is None or not read.seen.ended):
                    yield Breach("C2", "an ended task was shown as open", (first, read))


def results_are_real(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C3: a success was printed by a run of the attempt that is recorded, and by it alone."""
    started = {(start.task, start.attempt) for start in history.of(Start)}
    ended = {(end.task, end.attempt) for end in history.of(End)}
    for final in history.of(Final):
        seen, run = final.seen, (final.task, final.seen.attempt)
        if seen.state not in {"succeeded", "failed"}:
            continue
        if run not in started:
            yield Breach("C3", "a result of a run that nobody saw", (final,))
        if seen.state != "succeeded":
            continue
        if run not in ended:
            yield Breach("C3", "a success of a run that came to no end", (final,))
        printed = f"{seen.nonce} {final.task} {seen.attempt}"
        if seen.output is not None and seen.output.strip() != printed:
            yield Breach("C3", f"the output is not {printed!r}", (final,))


def attempts_start_once(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C4: an attempt starts once, and none begins long after a later attempt or after its task's
    end is known."""
    runs: dict[str, list[Start]] = defaultdict(list)
    for start in sorted(history.of(Start), key=lambda start: start.at):
        runs[start.task].append(start)
    known = _first_known_end(history)
    for task, starts in runs.items():
        for first, again in _repeated(starts):
            yield Breach("C4", "one attempt was started twice", (first, again))
        highest = starts[0]
        for start in starts[1:]:
            late = start.at > highest.at + bounds.waste_s
            if start.attempt < highest.attempt and late:
                yield Breach("C4", "an earlier attempt began after a later one", (highest, start))
            if start.attempt > highest.attempt:
                highest = start
        for start in starts:
            if start.at > known.get(task, math.inf) + bounds.waste_s:
                yield Breach("C4", "a run began long after its task had ended", (start,))


def _repeated(starts: Iterable[Start]) -> Iterator[tuple[Start, Start]]:
    first: dict[int, Start] = {}
    for start in starts:
        if start.attempt in first:
            yield first[start.attempt], start
        first.setdefault(start.attempt, start)


def cancels_stand(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C5: a cancel that was answered is the end of its task, whoever is asked, and nothing of the
    task begins long after it."""
    cancelled = {call.task: call for call in history.of(Cancel) if call.result == OK}
    for task, reads in _sightings(history).items():
        if task in cancelled:
            for read in reads:
                if read.seen is not None and read.seen.ended and read.seen.state != "cancelled":
                    yield Breach("C5", "a cancelled task ended otherwise", (cancelled[task], read))
    for start in history.of(Start):
        cancel = cancelled.get(start.task)
        if cancel is not None and start.at > cancel.over + bounds.waste_s:
            yield Breach("C5", "a run began long after its cancellation", (cancel, start))


def keys_are_kept(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C6: one key, one task and one request; another request under it is refused, the same one
    never is."""
    by_key: dict[str, list[Submit]] = defaultdict(list)
    for submit in history.of(Submit):
        if submit.key is not None:
            by_key[submit.key].append(submit)
    for tries in by_key.values():
        answered = [submit for submit in tries if submit.result == OK]
        for one, other in pairwise(answered):
            if one.task != other.task:
                yield Breach("C6", "one key, two tasks", (one, other))
            if one.request != other.request:
                yield Breach("C6", "one key stands for two requests", (one, other))
        for refused in tries:
            if refused.conflict and not any(
                other.request != refused.request and other.at < refused.over
                for other in tries
                if other.result in {OK, INFO}
            ):
                yield Breach("C6", "refused for another request that there is not", (refused,))


def all_comes_to_rest(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C7: after the last fault everything ends in time, all nodes are ready, nothing is left."""
    healed = max((fault.healed for fault in history.of(Fault)), default=math.inf)
    for task, reads in _sightings(history).items():
        submitted = _first_submitted(history, task)
        for read in reads:
            if read.seen is None or read.seen.ended or submitted > healed:
                continue
            if read.at > healed + bounds.settle_s:
                late = f"open {read.at - healed:.1f} s after the last fault"
                yield Breach("C7", f"{task} was {late}", (read,))
    for node in history.of(Settled):
        if not node.ready:
            yield Breach("C7", f"{node.node} is not ready", (node,))
        if node.free != node.slots:
            yield Breach(
                "C7", f"{node.free} of {node.slots} slots of {node.node} are free", (node,)
            )
        if node.left:
            yield Breach("C7", f"{node.node} has left {', '.join(node.left)}", (node,))


def fences_grow(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C8: attempts, sessions and terms never go back; a term has one leader."""
    fences: dict[tuple[str, str], list[Fence]] = defaultdict(list)
    for fence in sorted(history.of(Fence), key=lambda fence: fence.at):
        fences[fence.kind, fence.owner].append(fence)
    for (kind, owner), sequence in fences.items():
        for one, other in pairwise(sequence):
            if other.value < one.value:
                yield Breach("C8", f"the {kind} of {owner} shrank", (one, other))
    leaders: dict[int, Fence] = {}
    for fence in history.of(Fence):
        if fence.kind == "term":
            first = leaders.setdefault(fence.value, fence)
            if first.owner != fence.owner:
                yield Breach("C8", f"term {fence.value} has two leaders", (first, fence))
    for reads in _sightings(history).values():
        highest: Read | None = None
        for read in sorted(reads, key=lambda read: read.over):
            if read.seen is None:
                continue
            if highest is not None and highest.seen is not None:
                after = read.at > highest.over + bounds.stale_s
                if after and read.seen.attempt < highest.seen.attempt:
                    yield Breach("C8", "the attempt of a task shrank", (highest, read))
            if highest is None or highest.seen is None or read.seen.attempt > highest.seen.attempt:
                highest = read


def service_returns(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C9: submissions go on being accepted within the bound of each fault."""
    gaps = submit_gaps(history)
    for fault in history.of(Fault):
        gap = gaps[fault.name]
        if fault.submit_gap_s is not None and gap > fault.submit_gap_s:
            what = f"no submission was accepted for {gap:.1f} s, {fault.submit_gap_s} s are allowed"
            yield Breach("C9", what, (fault,))


def submit_gaps(history: History) -> dict[str, float]:
    """The longest time without an accepted submission that touches each fault.

    A submission counts from when it was sent to when it was answered: a gap is measured from one
    answer to the next, and begins no earlier than somebody asked.
    """
    submits = history.of(Submit)
    answers = sorted(submit.over for submit in submits if submit.result == OK)
    asked = sorted(submit.at for submit in submits)
    gaps: dict[str, float] = {}
    for fault in history.of(Fault):
        longest = 0.0
        last = min(asked, default=fault.at)
        end = max([fault.healed, *answers]) if asked else fault.at
        for answer in [*answers, end]:
            if answer >= fault.at and last <= fault.healed:
                waited = [at for at in asked if last <= at <= answer]
                if waited:
                    longest = max(longest, answer - max(waited[0], last))
            last = max(last, answer)
        gaps[fault.name] = max(longest, gaps.get(fault.name, 0.0))
    return gaps


def counters_agree(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C10: what the system counted is what happened."""
    finals = _finals(history)
    shown = {task: final for tasks in finals.values() for task, final in tasks.items()}
    ended = sum(final.seen.ended for final in shown.values())
    truth = {"accepted": len(shown), "ended": ended, "open": len(shown) - ended}
    totals: dict[str, list[Counted]] = defaultdict(list)
    for counted in history.of(Counted):
        totals[counted.counter].append(counted)
    for counter, counts in totals.items():
        total = sum(counted.value for counted in counts)
        whole = all(counted.whole for counted in counts)
        if total > truth[counter] or (whole and total < truth[counter]):
            what = f"{total} tasks are counted as {counter}, {truth[counter]} are"
            yield Breach("C10", what, tuple(counts))


def quotas_hold(history: History, bounds: Bounds) -> Iterator[Breach]:
    """C11: never more tasks of a user run at a time than may. Runs whose result was recorded count:
    any other may be one of an executor that nobody reached."""
    limits = {quota.user: quota.running for quota in history.of(Quota)}
    users = {call.task: call.user for call in history.of(Submit) if call.user in limits}
    recorded = {
        (final.task, final.seen.attempt)
        for final in history.of(Final)
        if final.seen.state in {"succeeded", "failed"} and final.task in users
    }
    ended = {(end.task, end.attempt): end for end in history.of(End)}
    starts = {(start.task, start.attempt): start for start in history.of(Start)}
    runs = [(starts[run], ended[run]) for run in recorded if run in starts and run in ended]
    for start, _ in runs:
        user = users[start.task]
        beside = [
            one for one, end in runs if users[one.task] == user and one.at <= start.at < end.at
        ]
        if len(beside) > limits[user]:
            what = f"{len(beside)} tasks of {user} ran at once, {limits[user]} may"
            yield Breach("C11", what, tuple(beside))


CLAIMS: Mapping[str, Claim] = {
    "C1": accepted_is_kept,
    "C2": end_is_the_end,
    "C3": results_are_real,
    "C4": attempts_start_once,
    "C5": cancels_stand,
    "C6": keys_are_kept,
    "C7": all_comes_to_rest,
    "C8": fences_grow,
    "C9": service_returns,
    "C10": counters_agree,
    "C11": quotas_hold,
}


def judge(history: History, bounds: Bounds) -> list[Breach]:
    """Whatever the history breaks, in the order of the claims."""
    return [breach for claim in CLAIMS.values() for breach in claim(history, bounds)]


# ---- views of a history ---------------------------------------------------------------------


def _finals(history: History) -> dict[str, dict[str, Final]]:
    """By reader, then by task."""
    finals: dict[str, dict[str, Final]] = {asked.via: {} for asked in history.of(Asked)}
    for final in history.of(Final):
        finals[final.via][final.task] = final
    return finals


def _sightings(history: History) -> dict[str, list[Read]]:
    """Every look at each task that was answered, the last ones included."""
    seen: dict[str, list[Read]] = defaultdict(list)
    for read in history.of(Read):
        if read.result == OK:
            seen[read.task].append(read)
    for final in history.of(Final):
        seen[final.task].append(_read(final.task, final.via, final.at, final.seen))
    return dict(seen)


def _read(task: str, via: str, at: float, seen: Seen) -> Read:
    return Read(client="final", at=at, until=at, result=OK, task=task, via=via, seen=seen)


def _first_known_end(history: History) -> dict[str, float]:
    ends: dict[str, float] = {}
    for task, reads in _sightings(history).items():
        known = [read.over for read in reads if read.seen is not None and read.seen.ended]
        if known:
            ends[task] = min(known)
    return ends


def _first_submitted(history: History, task: str) -> float:
    return min(
        (submit.at for submit in history.of(Submit) if submit.task == task), default=math.inf
    )
