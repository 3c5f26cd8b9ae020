"""The device thread's loop: messages in, batches to the forwards, answers out. One `turn` fits on a screen.

Everything that reaches the thread comes through its inbox, and every request that does is told its outcome exactly
once: its result, a domain error, or, when the loop ends, that news.
"""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from madx.bank import Staged
from madx.errors import GlossaError

from .batching import Costs, choose
from .errors import AdapterLoadFailed
from .forwards import Batch, Chosen, Forwards, Outcome, Ran
from .line import Line
from .metrics import Metrics
from .residency.device import DeviceMemory
from .sharing import Sharing
from .work import Done, Work, too_late

CREDIT_S = 1.0
"""What a key that was below its share may have computed before the others have their turn again: some full batches, and
enough for requests that come at random at half of its share.
"""
_IDLE_BEAT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The client left, or the deadline passed."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One of the adapters that the request waits for has come, or will not."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    """Adapters are to leave the device, which only a turn can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    pass


Message = Work | Loaded | Withdrawn | Reclaim | Ran | Stop


Inbox = queue.SimpleQueue[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOutcomes:
    """The outcome of each request that a turn ended, and what it computed how fast."""

    outcomes: Sequence[tuple[Work, Done | GlossaError]]
    cost: float = 0.0
    seconds: float = 0.0


class Turns:
    """Owned by the device thread."""

    def __init__(
        self,
        forwards: Forwards,
        adapters: DeviceMemory[Staged],
        inbox: Inbox,
        *,
        costs: Costs,
        hand_over: Callable[[TurnOutcomes], None],
        metrics: Metrics,
    ) -> None:
        """`hand_over` takes outcomes to those who wait for them."""
        self._forwards = forwards
        self._adapters = adapters
        self._inbox = inbox
        self._costs = costs
        self._hand_over = hand_over
        self._metrics = metrics
        self._works: dict[int, Work] = {}
        self._line = Line(credit=CREDIT_S / costs.seconds_per_token)
        self._sharing = Sharing()
        self._outcomes: list[tuple[Work, Done | GlossaError]] = []
        self._ran_cost = self._ran_s = 0.0

    def turn(self) -> bool:
        """Replies, policy, batches begun. False once the engine is to stop."""
        self._forwards.pulse()
        if not self._receive():
            self._see_to_the_end()
            return False
        self._adapters.reclaim()
        while self._forwards.is_free and (batch := self._next()):
            self._flush()
            self._forwards.begin(batch)
        self._flush()
        return True

    def _receive(self) -> bool:
        """Take in all messages, waiting for one if no row can run. False for a stop."""
        can_begin = self._forwards.is_free and (self._line or self._forwards.has_failed_parts)
        wait = not can_begin
        self._forwards.beat()
        while True:
            try:
                message = self._inbox.get(block=wait, timeout=_IDLE_BEAT_S)
            except queue.Empty:
                return True
            wait = False
            if isinstance(message, Stop):
                return False
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Work():
                self._accept(message)
            case Loaded():
                self._queue_if_loaded(message.number)
            case Withdrawn():
                self._withdraw(message.number)
            case Ran():
                self._reply(message)
            case Reclaim() | Stop():
                pass

    def _see_to_the_end(self) -> None:
        """Of what runs."""
        while self._forwards.is_running:
            self._take(self._inbox.get())
        self._flush()

    def _accept(self, work: Work) -> None:
        self._works[work.number] = work
        loaded = Loaded(number=work.number)  # not the work, which would keep its adapters in use through the load
        for load in work.loads.values():
            if not load.done():
                load.add_done_callback(lambda _: self._inbox.put(loaded))
        self._queue_if_loaded(work.number)

    def _queue_if_loaded(self, number: int) -> None:
        """The first load that fails ends the request: it does not wait for the others."""
        work = self._works.get(number)
        if work is None or work.queued_s is not None:
            return
        done = [load for load in work.loads.values() if load.done()]
        failed = next((error for load in done if (error := load.exception()) is not None), None)
        if failed is not None:
            assert isinstance(failed, AdapterLoadFailed)  # `want` raises nothing else
            self._answer(work, failed)
        elif len(done) == len(work.loads):
            work.queued_s = time.monotonic()
            self._line.add(work.waiting)
            self._sharing.see(work.waiting[0].key, work.queued_s)

    def _next(self) -> Batch:
        """What of a failed batch somebody still waits for, else a batch out of the line; empty where none can begin."""
        while self._forwards.has_failed_parts:
            if batch := [chosen for chosen in self._forwards.failed_part() if chosen.work.number in self._works]:
                return batch
        return self._choose()

    def _choose(self) -> Batch:
        """Requests whose deadline has passed are told so and never computed."""
        now_s = time.monotonic()
        first = next(self._line.in_turn(), None)
        if first is None:
            return []
        queued_s = self._works[first.work].queued_s
        assert queued_s is not None  # it stands in line
        choice = choose(
            self._line.in_turn(),
            limits=self._forwards.limits(
                self._line.cost,
                waited_s=now_s - queued_s,
                are_shared=self._sharing.keys(now_s) > 1,
            ),
            costs=self._costs,
            sizes=self._adapters.sizes,
            resident=self._adapters.resident,
            now_s=now_s,
        )
        for number in {waiting.work for waiting in choice.late}:
            self._answer(self._works[number], too_late())
        self._line.take(choice.batch)
        for key in {waiting.key for waiting in choice.batch}:
            self._sharing.see(key, now_s)
        return [Chosen(work=self._works[waiting.work], waiting=waiting) for waiting in choice.batch]

    def _reply(self, ran: Ran) -> None:
        ended = self._forwards.end(ran)
        self._ran_cost += ended.cost
        self._ran_s += ended.seconds
        for chosen, outcome in ended.outcomes:
            self._note(chosen, outcome)

    def _note(self, chosen: Chosen, outcome: Outcome) -> None:
        work = chosen.work
        if work.number not in self._works:
            return  # another of its rows has failed
        if isinstance(outcome, GlossaError):
            self._answer(work, outcome)
            return
        work.answers[chosen.waiting.row] = outcome
        done = work.done()
        if done is not None:
            self._answer(work, done)

    def _answer(self, work: Work, outcome: Done | GlossaError) -> None:
        """The only way out of `_works` but for a withdrawal, so that nothing is answered twice."""
        self._withdraw(work.number)
        self._outcomes.append((work, outcome))

    def _withdraw(self, number: int) -> None:
        work = self._works.pop(number, None)
        if work is not None and work.queued_s is not None and len(work.answers) < len(work.rows):
            self._line.discard(work.waiting)

    def _flush(self) -> None:
        """Hand all outcomes over at once: each time the event loop is woken costs it and this thread some time."""
        if self._outcomes or self._ran_cost:
            self._hand_over(TurnOutcomes(outcomes=self._outcomes, cost=self._ran_cost, seconds=self._ran_s))
            self._outcomes, self._ran_cost, self._ran_s = [], 0.0, 0.0

    def end(self, reason: GlossaError) -> None:
        """Tell everybody who is still here. The inbox is closed by then."""
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Work):
                self._works[message.number] = message
        for work in list(self._works.values()):
            self._answer(work, reason)
        self._flush()
