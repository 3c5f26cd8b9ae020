"""Refuse early: counts the tokens that are accepted and not answered yet. Used by the event loop's thread alone."""

from collections.abc import Sequence

from .errors import BodyTooLarge, QueueFull
from .metrics import Metrics

_RETRY_AFTER_S = 1


class Admission:
    """`admit` before a request is queued, `release` once it is answered, however that went."""

    def __init__(self, *, queue_tokens: int, batch_tokens: int, metrics: Metrics) -> None:
        self._queue_tokens = queue_tokens
        self._batch_tokens = batch_tokens
        self._metrics = metrics
        self.tokens = 0

    def admit(self, rows: Sequence[int]) -> int:
        """Lengths of a request's rows -> their tokens, now counted. Raises `BodyTooLarge` or `QueueFull`."""
        tokens = sum(rows)
        if max(rows) > self._batch_tokens:
            raise self._refused(
                BodyTooLarge(f"a row of {max(rows)} tokens fits no batch: a batch holds {self._batch_tokens}")
            )
        if tokens > self._queue_tokens:
            raise self._refused(
                BodyTooLarge(f"the request has {tokens} tokens, more than the {self._queue_tokens} of the whole queue")
            )
        if self.tokens + tokens > self._queue_tokens:
            raise self._refused(
                QueueFull("the queue is full; try again after the time in Retry-After", retry_after_s=_RETRY_AFTER_S)
            )
        self._count(tokens)
        return tokens

    def release(self, tokens: int) -> None:
        self._count(-tokens)

    def _count(self, tokens: int) -> None:
        self.tokens += tokens
        self._metrics.queue_tokens.set(self.tokens)

    def _refused(self, error: BodyTooLarge | QueueFull) -> BodyTooLarge | QueueFull:
        self._metrics.rejections.labels(reason=error.code).inc()
        return error
