"""Numbers for Prometheus at /metrics: requests, operations, and how the work stands."""

from __future__ import annotations

import hmac
import os
import shutil
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Final

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.utils import timezone
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from accounts.clients import client_address
from taskmanager import health
from tasks.api.middleware import GetResponse

PATH: Final = "/metrics"

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable of prometheus-client: where the processes of a server keep what they
count, so that any of them can answer for all. Without it a process answers for itself."""

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

REQUESTS: Final = Counter(
    "taskmanager_requests", "Requests answered.", ["method", "route", "status"]
)
SECONDS: Final = Histogram(
    "taskmanager_request_seconds",
    "How long answers took; time spent waiting for an event is not counted.",
    ["route"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


def start_afresh(port: int) -> None:
    """Prepare an empty folder for the counts of a server on `port`, whose processes inherit it."""
    folder = settings.DATA_DIR / "metrics" / str(port)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[FOLDER] = str(folder)


class Metrics:
    """Counts every request, and answers /metrics to those it is for; to others there is nothing.

    Stands outside the check of the host, since Prometheus comes by address.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The response, once it is counted."""
        begun = time.perf_counter()
        if request.path_info == PATH and _may_ask(request):
            response: HttpResponseBase = _answer(request)
        else:
            response = self.get_response(request)
        route = _route(request)
        method = request.method if request.method in METHODS else "other"
        REQUESTS.labels(method, route, response.status_code).inc()
        SECONDS.labels(route).observe(time.perf_counter() - begun)
        return response


def _route(request: HttpRequest) -> str:
    """The name of the route, of which there are few; never a path, of which there is no end."""
    if request.resolver_match is not None:
        return request.resolver_match.view_name or request.resolver_match.route
    return request.path_info if request.path_info in (PATH, *health.PATHS) else "none"


def _may_ask(request: HttpRequest) -> bool:
    """Whether the request comes from this machine, by no proxy, or carries the token."""
    token: str = settings.METRICS_TOKEN
    given = request.headers.get("Authorization", "").encode()
    if token and hmac.compare_digest(given, f"Bearer {token}".encode()):
        return True
    believed = bool(settings.TRUSTED_PROXIES)
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return (believed or not forwarded) and ip_address(client_address(request)).is_loopback


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    registry = CollectorRegistry()
    if FOLDER in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        counted = b""
    else:
        counted = generate_latest(REGISTRY)
    registry.register(Standing())
    body = counted + generate_latest(registry)
    return HttpResponse(
        body, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
    )


class Standing(Collector):
    """How the work stands, as the database knows; only whether it answers when it does not."""

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering asks for no numbers."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        try:
            found = dict(_standing())
        except Error:
            found = {}
        yield GaugeMetricFamily(
            "taskmanager_database_up", "Whether the database answers.", float(bool(found))
        )
        states = found.pop("states", {})
        if states:
            tasks = GaugeMetricFamily("taskmanager_open_tasks", "Open tasks.", labels=["state"])
            for state, number in states.items():
                tasks.add_metric([state], number)
            yield tasks
        for name, value in found.items():
            yield GaugeMetricFamily(f"taskmanager_{name}", GAUGES[name], value)


GAUGES: Final = {
    "outbox_pending_events": "Committed events that have no place in the feed yet.",
    "jobs_waiting": "Jobs that wait for a worker.",
    "oldest_waiting_task_seconds": "How long the ready task that waits longest has been ready.",
    "unclaimable_tasks": "Ready tasks that nobody is left to claim.",
    "last_sweep_seconds": "How long ago a worker last swept; absent if none ever did.",
}
"""What each gauge says of the whole server."""


def _standing() -> Iterator[tuple[str, Any]]:
    """The values of GAUGES, and `states`: open tasks by state. Raises django.db.Error."""
    from tasks.background import jobs_waiting, last_heartbeat
    from tasks.lifecycle import OPEN, State
    from tasks.models import OutboxEvent, Task

    rows = (
        Task.objects.open()
        .order_by()
        .values_list("state")
        .annotate(number=Count("pk"), first=Min(Coalesce("activated_at", "created_at")))
    )
    states = {state.value: 0 for state in sorted(OPEN)}
    oldest = now = timezone.now()
    for state, number, first in rows:
        states[state] = number
        if state == State.READY:
            oldest = min(first, now)
    yield "states", states
    yield "oldest_waiting_task_seconds", (now - oldest).total_seconds()
    yield "outbox_pending_events", OutboxEvent.objects.filter(position=None).count()
    yield "jobs_waiting", jobs_waiting()
    yield "unclaimable_tasks", Task.objects.filter(unclaimable_since__isnull=False).count()
    beat = last_heartbeat()
    if beat is not None:
        yield "last_sweep_seconds", max((now - beat).total_seconds(), 0.0)
