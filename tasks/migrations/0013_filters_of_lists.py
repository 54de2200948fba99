"""A column of the words that lists are searched by, and the indexes that filters need."""

from typing import ClassVar

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

SEARCH = """
    alter table tasks_task add column if not exists search tsvector generated always as (
        to_tsvector('simple', name || ' ' || left(description, 65536) || ' '
            || coalesce(source, '') || ' ' || coalesce(external_id, '') || ' '
            || coalesce(short_id, ''))) stored"""
"""What names a task and nothing of its data: some of that is secret, and it may be any size."""


class Migration(migrations.Migration):
    """The column is PostgreSQL's own: no model has it, so nothing writes it or reads it by chance.

    Adding it writes the table anew, about 40 s for a million tasks, in which they cannot be read;
    the indexes are built beside the work that goes on, so outside a transaction.
    """

    atomic = False

    dependencies: ClassVar = [("tasks", "0012_bulk_operations_resource")]

    operations: ClassVar = [
        migrations.RunSQL("set statement_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL(SEARCH, "alter table tasks_task drop column search"),
        migrations.RunSQL(
            "create index concurrently task_search on tasks_task using gin (search)",
            "drop index concurrently task_search",
        ),
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(
                condition=models.Q(
                    ("due_at__isnull", False),
                    ("state__in", ["created", "in_progress", "ready", "reserved"]),
                ),
                fields=["due_at", "id"],
                name="task_due",
            ),
        ),
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(
                condition=models.Q(("external_id__isnull", False)),
                fields=["external_id"],
                name="task_by_external_id",
            ),
        ),
        migrations.RunSQL("analyze tasks_task (search)", migrations.RunSQL.noop),
        migrations.RunSQL("reset statement_timeout", migrations.RunSQL.noop),
    ]
