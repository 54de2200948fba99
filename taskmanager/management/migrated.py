"""What commands that serve ask first: is the database as the code wants it?"""

from django.core.management.base import CommandError, OutputWrapper
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor


def demand_migrated(stderr: OutputWrapper) -> None:
    """Raise CommandError while migrations are to be run; a database that is away is only told of.

    It is waited for instead: every face says 503 until it is back.
    """
    try:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError as error:
        stderr.write(f"The database cannot be reached now: {error}")
        return
    finally:
        connection.close()
    if behind:
        raise CommandError("The database is not up to date: run `./run migrate` first.")
