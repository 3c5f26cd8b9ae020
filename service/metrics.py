"""Prometheus metrics, in a registry of their own per app, so that two apps in one process do not mix."""

from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from .notes import Note

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_AGES = (1, 10, 60, 300, 900, 3_600, 14_400, 86_400)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _Series(dict[tuple[Any, ...], Any]):
    """A metric and its labels' values -> one series. The library's own `labels` takes ten times as long."""

    def __missing__(self, place: tuple[Any, ...]) -> Any:
        metric, *labels = place
        series = self[place] = metric.labels(*labels)
        return series


class Metrics:
    """No label holds an adapter's or a user's name, so the number of series is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._series = _Series()
        self._describe_process()
        self._describe_requests()
        self._describe_batches()
        self._describe_residency()

    def _describe_process(self) -> None:
        """The library's `process_…` series, and what runs here."""
        ProcessCollector(registry=self._registry)
        self._build = Info("glossa_build", "What serves, and on what.", registry=self._registry)

    def _describe_requests(self) -> None:
        registry = self._registry
        self.requests = Counter(
            "glossa_requests",
            "Requests answered; code is the problem's, status 499 that of a client that had left.",
            ("route", "task", "status", "code"),
            registry=registry,
        )
        self.lines = Counter(
            "glossa_lines",
            "Lines answered to requests that get one for each text; code is its error's, empty for an output.",
            ("task", "code"),
            registry=registry,
        )
        self.requests_in_flight = Gauge("glossa_requests_in_flight", "Requests that run.", registry=registry)
        self.disconnects = Counter(
            "glossa_disconnects", "Clients that left before their answer ended.", registry=registry
        )
        self.request_seconds = Histogram(
            "glossa_request_seconds", "From arrival to answer.", ("route", "task"), buckets=_SECONDS, registry=registry
        )
        self.tokenization_seconds = Histogram(
            "glossa_tokenization_seconds", "Resolving and tokenising.", ("task",), buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "glossa_queue_seconds",
            "From acceptance to the first forward.",
            ("task",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.inference_seconds = Histogram(
            "glossa_inference_seconds", "In forwards, by request.", ("task",), buckets=_SECONDS, registry=registry
        )
        self.computed_tokens = Counter(
            "glossa_computed_tokens", "Tokens computed for requests that were answered.", ("task",), registry=registry
        )
        self.queue_tokens = Gauge("glossa_queue_tokens", "Tokens accepted and not answered yet.", registry=registry)
        self.rejections = Counter("glossa_rejections", "Requests refused at admission.", ("reason",), registry=registry)

    def _describe_batches(self) -> None:
        registry = self._registry
        self.batch_rows = Histogram("glossa_batch_rows", "Rows of a forward.", buckets=_COUNTS, registry=registry)
        self.batch_tokens = Histogram("glossa_batch_tokens", "Tokens of a forward.", buckets=_TOKENS, registry=registry)
        self.batch_adapters = Histogram(
            "glossa_batch_adapters", "Distinct adapters of a forward.", buckets=(0, *_COUNTS), registry=registry
        )
        self.batch_seconds = Histogram(
            "glossa_batch_seconds", "Time of a forward, answers read.", buckets=_SECONDS, registry=registry
        )
        self.batch_failures = Counter("glossa_batch_failures", "Forwards that raised.", registry=registry)
        self.queue_requests = Gauge(
            "glossa_queue_requests", "Requests accepted and not answered yet.", registry=registry
        )
        self.expired = Counter(
            "glossa_expired_requests", "Accepted requests whose deadline passed before their answer.", registry=registry
        )
        self.cost_seconds = Gauge(
            "glossa_cost_token_seconds", "Calibrated at the start: a token's time.", registry=registry
        )
        self.cost_tokens = Gauge(
            "glossa_cost_tokens",
            "Calibrated at the start: what a distinct adapter of a batch, or a masked position, costs in tokens.",
            ("part",),
            registry=registry,
        )

    def _describe_residency(self) -> None:
        registry = self._registry
        tier = ("tier",)
        self.resident_adapters = Gauge("glossa_resident_adapters", "Adapters by tier.", tier, registry=registry)
        self.resident_bytes = Gauge("glossa_resident_bytes", "Their bytes.", tier, registry=registry)
        self.tier_limit_bytes = Gauge("glossa_residency_limit_bytes", "What a tier may hold.", tier, registry=registry)
        self.pinned_adapters = Gauge("glossa_pinned_adapters", "Adapters that stay on the device.", registry=registry)
        self.evictions = Counter("glossa_evictions", "Adapters removed from a tier.", tier, registry=registry)
        self.eviction_age_seconds = Histogram(
            "glossa_eviction_age_seconds", "From coming to a tier to eviction.", tier, buckets=_AGES, registry=registry
        )
        self.overcommits = Counter(
            "glossa_adapter_overcommits",
            "Loads that went beyond the device's limit, since all that was there was in use.",
            registry=registry,
        )
        self.lookups = Counter(
            "glossa_adapter_lookups",
            "Adapters that requests wanted, by where they were: on the device, loading, failed just now, or neither.",
            ("found",),
            registry=registry,
        )
        self.loads = Counter(
            "glossa_adapter_loads", "Loads to the device, by whence.", ("result", "source"), registry=registry
        )
        self.load_seconds = Histogram(
            "glossa_adapter_load_seconds",
            "From the first request that wants an adapter until it is on the device, by whence it came.",
            ("source",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.cache_corrupt = Counter(
            "glossa_cache_corrupt", "Cached files that did not hold what they are named after.", registry=registry
        )
        self.cache_errors = Counter(
            "glossa_cache_errors", "Reads and writes that the disk cache could not do.", registry=registry
        )
        self.switches = Counter(
            "glossa_reference_switches", "References that went over to another version.", registry=registry
        )

    def describe_build(self, *, dtype: str, device: str) -> None:
        """What this process is, once its model is open."""
        self._build.info({"version": version("glossa-server"), "dtype": dtype, "device": device})

    def count_request(self, note: Note, *, route: str, task: str, status: int, seconds: float) -> None:
        """Once a request has ended. `route` and `task` are of bounded number."""
        series = self._series
        series[self.requests, route, task, str(status), note.code].inc()
        series[self.request_seconds, route, task].observe(seconds)
        if note.ran is not None:
            series[self.tokenization_seconds, task].observe(note.ran.tokenization_s)
            series[self.queue_seconds, task].observe(note.ran.queue_s)
            series[self.inference_seconds, task].observe(note.ran.inference_s)
            series[self.computed_tokens, task].inc(note.ran.tokens)

    def count_line(self, *, task: str, code: str) -> None:
        """As soon as it is answered: a stream may take hours."""
        self._series[self.lines, task, code].inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """All figures and their media type: OpenMetrics where `accept`, a request's header, names it."""
        if OPENMETRICS.partition(";")[0] in accept:
            return openmetrics.generate_latest(self._registry), OPENMETRICS  # type: ignore[no-untyped-call]
        return generate_latest(self._registry), TEXT

    def value(self, name: str, **labels: str) -> float | None:
        """One sample's present value."""
        return self._registry.get_sample_value(name, labels)
