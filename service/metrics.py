"""Prometheus metrics, in a registry of their own per app, so that two apps in one process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """No label holds an adapter's or a user's name, so the number of series is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._describe_requests()
        self._describe_batches()
        self._describe_residency()

    def _describe_requests(self) -> None:
        registry = self._registry
        self.requests = Counter("glossa_requests", "Requests answered.", ("route", "task", "status"), registry=registry)
        self.request_seconds = Histogram(
            "glossa_request_seconds", "From arrival to answer.", ("route", "task"), buckets=_SECONDS, registry=registry
        )
        self.tokenization_seconds = Histogram(
            "glossa_tokenization_seconds", "Resolving and tokenising.", buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "glossa_queue_seconds", "From acceptance to the first forward.", buckets=_SECONDS, registry=registry
        )
        self.inference_seconds = Histogram(
            "glossa_inference_seconds", "In forwards, by request.", buckets=_SECONDS, registry=registry
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
        self.batch_failures = Counter("glossa_batch_failures", "Forwards that raised.", registry=registry)

    def _describe_residency(self) -> None:
        registry = self._registry
        self.resident_adapters = Gauge("glossa_resident_adapters", "Adapters on the device.", registry=registry)
        self.resident_bytes = Gauge("glossa_resident_bytes", "Their bytes.", registry=registry)
        self.evictions = Counter("glossa_evictions", "Adapters removed from the device.", registry=registry)
        self.lookups = Counter(
            "glossa_adapter_lookups",
            "Adapters that requests wanted, by where they were.",
            ("found",),
            registry=registry,
        )
        self.loads = Counter("glossa_adapter_loads", "Loads from the store.", ("result",), registry=registry)
        self.load_seconds = Histogram(
            "glossa_adapter_load_seconds", "Time of a load.", buckets=_SECONDS, registry=registry
        )

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float | None:
        """One sample's present value."""
        return self._registry.get_sample_value(name, labels)
