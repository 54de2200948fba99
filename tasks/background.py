"""Work that nobody waits for: what runs when, and the worker; only this module has procrastinate.

Jobs say "look now" and carry nothing. Each of them comes again by itself, so a lost job is no loss,
and finished jobs are deleted at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import OperationalError, connection
from procrastinate import JobContext, PsycopgConnector
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from . import bulk, clock, events, leavers, retries, seals
from .models import WorkerHeartbeat

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How long the worker waits before it asks again for a database that is away."""

GRACE_SECONDS = 0.5
"""What a job may take, once the worker has to stop, before it is asked to stop as well."""


# --- What runs when -------------------------------------------------------------------------------


# A task is never seen later than a second after its time; every two seconds would be too late by
# what the sweep itself takes.
@app.periodic(cron="* * * * * *")
@app.task(name="sweep", queueing_lock="sweep", priority=10, pass_context=True)
def sweep(context: JobContext, timestamp: int) -> None:
    """Expire and wake the tasks whose time has come, and number what has happened for the feed."""
    swept = clock.sweep(stopping=context.should_abort)
    if any(swept):
        logger.info("Swept: %s woken, %s expired, %s left for now.", *swept)
    backlog = True  # as after an import
    while backlog and not context.should_abort():
        backlog = events.give_positions()[0] == events.NUMBERED_AT_ONCE


# What somebody waits for begins within a second.
@app.periodic(cron="* * * * * *")
@app.task(name="bulk", queueing_lock="bulk", pass_context=True)
def carry_out(context: JobContext, timestamp: int) -> None:
    """Carry out the operations on many tasks that were put off."""
    units = bulk.work(stopping=context.should_abort)
    if units:
        logger.info("%s units of bulk operations carried out.", units)


@app.periodic(cron="* * * * *")
@app.task(name="seal", queueing_lock="seal")
def seal(timestamp: int) -> None:
    """Seal the audit if that has not been done today."""
    seals.make_daily_seal()


# It looks at every ready task, so not as often as the rest.
@app.periodic(cron="*/5 * * * *")
@app.task(name="unclaimable", queueing_lock="unclaimable")
def unclaimable(timestamp: int) -> None:
    """Record which tasks nobody can claim any more, and which somebody can again."""
    lost, found = leavers.report()
    if lost or found:
        logger.info("%s tasks became unclaimable, %s are no longer.", lost, found)


@app.periodic(cron="* * * * *")
@app.task(name="forget", queueing_lock="forget", pass_context=True)
def forget(context: JobContext, timestamp: int) -> None:
    """Remove the answers that have been kept for retries long enough."""
    while retries.forget_old() and not context.should_abort():
        logger.info("Some keys of retries have been forgotten.")


@app.periodic(cron="* * * * *")
@app.task(name="tidy", queueing_lock="tidy", pass_context=True)
async def tidy(context: JobContext, timestamp: int) -> None:
    """Remove the jobs and the record of workers that died."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs():
        await jobs.finish_job(job, Status.FAILED, delete_job=True)
    await jobs.prune_stalled_workers(30)


def last_heartbeat() -> datetime | None:
    """When a worker last swept; None if none ever did."""
    return WorkerHeartbeat.objects.values_list("at", flat=True).first()


def jobs_waiting() -> int:
    """How many jobs wait for a worker."""
    count: int = ProcrastinateJob.objects.filter(status=Status.TODO.value).count()
    return count


# --- The worker -----------------------------------------------------------------------------------


def run_worker() -> None:
    """Work until SIGTERM or Ctrl-C, then finish the unit under way and return.

    Waits for a database that is away, and goes on when it is back.
    """
    asyncio.run(_work())


async def _work() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            await _session(stop)
        except (ConnectorException, OperationalError) as error:
            logger.warning("The database cannot be reached: %s", error.__cause__ or error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
    logger.info("The worker has stopped.")


async def _session(stop: asyncio.Event) -> None:
    """Work as long as the database answers, or until `stop`."""
    parameters = await sync_to_async(_parameters, thread_sensitive=False)()
    connector = PsycopgConnector(kwargs=parameters, min_size=1, max_size=4, timeout=3)
    with app.replace_connector(connector):
        async with app.open_async():
            work = asyncio.create_task(
                app.run_worker_async(
                    concurrency=4,
                    fetch_job_polling_interval=1,
                    listen_notify=settings.DB_PREPARE,
                    delete_jobs="always",
                    shutdown_graceful_timeout=GRACE_SECONDS,
                    install_signal_handlers=False,
                )
            )
            stopping = asyncio.create_task(stop.wait())
            logger.info("The worker works.")
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if stop.is_set():
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work


def _parameters() -> dict[str, Any]:
    """How procrastinate connects: as Django does, which starts the embedded server first.

    Raises OperationalError when there is no database.
    """
    try:
        connection.ensure_connection()
        parameters = connection.get_connection_params()
    finally:
        connection.close()
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    # Each job comes again by itself: no need to wait for the disk.
    parameters["options"] = f"{parameters.get('options', '')} -c synchronous_commit=off"
    return parameters
