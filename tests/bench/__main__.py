"""`./run bench`: ours, the limit and the usual way, side by side on one PostgreSQL."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SCALES = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
ROOT = Path(__file__).resolve().parents[2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, help="tasks; 100k, or 10k with --quick")
    parser.add_argument("--quick", action="store_true", help="few calls: under a minute in all")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="cases whose key holds such a word"
    )
    parser.add_argument("--rounds", type=int, help="how often they take turns; 5, or 1 if --quick")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / ".data" / "bench",
        metavar="DIR",
        help="where the databases are kept for the next time, one for each scale",
    )
    return parser.parse_args()


def main() -> int:
    """Run the bench; 1 where something could not be measured."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with all that it has started
    scale = given.scale or ("10k" if given.quick else "100k")
    folder = (given.data / scale).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"DJANGO_SETTINGS_MODULE": "taskmanager.settings", "DATA_DIR": str(folder)}
    os.environ.pop("DATABASE_URL", None)  # the bench's own, never a real one

    import django

    django.setup()
    from .contenders import BenchError

    try:
        result = _bench(given, scale)
    except BenchError as error:
        print(f"The bench could not measure: {error}", file=sys.stderr)
        return 1
    finally:
        _stop()
    from .report import table

    print(table(result))
    if given.json:
        print(json.dumps(result))
    return 0


def _bench(given: argparse.Namespace, scale: str) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from taskmanager import seed_data
    from tasks.models import Task

    from . import measure
    from .cases import CASES
    from .contenders import NAMES, Contender
    from .world import World

    def wanted(key: str) -> bool:
        return any(word in key for word in given.only)

    began = time.monotonic()
    rounds = given.rounds or (1 if given.quick else 5)
    say = _say
    say("preparing the database")
    call_command("migrate", verbosity=0)
    if not Task.objects.exists():
        call_command("seed", tasks=SCALES[scale], stdout=sys.stderr)
    seed_data.settle()
    measure.log_no_statements()
    world = World()
    results: dict[str, Any] = {}
    try:
        with ExitStack() as stack:
            servers = {name: stack.enter_context(Contender(name)) for name in NAMES}
            for contender in servers.values():
                contender.wait()
            cases = [kind(world, servers["ours"]) for kind in CASES]
            cases = [case for case in cases if wanted(case.key)]
            too_small = [case.key for case in cases if not case.fits()]
            cases = [case for case in cases if case.fits()]
            if given.quick:
                cases = [case for case in cases if case.rows <= 1000]
            for case in cases:
                calls = case.quick_calls if given.quick else case.calls
                turns = min(rounds, 3) if case.rows >= 100_000 else rounds
                say(case.key)
                results[case.key] = measure.run(case, servers, calls=calls, rounds=turns)
            say("counting statements")
            with measure.logging_statements() as log:
                for case in cases:
                    for name in case.contenders:
                        if given.quick and name == "plain":
                            continue
                        if log is not None:
                            found = measure.count_statements(case, servers[name], log)
                            results[case.key]["detail"][name]["statements"] = found
        if wanted("bulk_create_10k"):
            say("bulk_create_10k")
            results["bulk_create_10k"] = measure.bulk_create(
                world, count=300 if given.quick else 10_000, rounds=min(rounds, 3), sample=50
            )
        if wanted("startup"):
            say("startup")
            results["startup"] = measure.startup(rounds=1 if given.quick else 3)
    finally:
        measure.clean_up()
    with connection.cursor() as cursor:
        cursor.execute("show server_version")
        (version,) = cursor.fetchone()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "scale": scale,
        "tasks": world.total,
        "quick": given.quick,
        "rounds": rounds,
        "seconds": round(time.monotonic() - began, 1),
        "load_average": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
        "postgresql": version,
        "database_too_small_for": too_small,
        "cases": results,
    }


def _say(text: str) -> None:
    """What is under way."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _stop() -> None:
    from django.db import connection

    from taskmanager.postgres import cluster_of

    connection.close()
    cluster = cluster_of(connection.settings_dict)
    if cluster is not None:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
