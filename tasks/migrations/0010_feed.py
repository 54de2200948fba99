"""Whom an event concerns beside those who see its task, and which events have no place yet."""

import django.contrib.postgres.fields
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def ids() -> django.contrib.postgres.fields.ArrayField:
    """A column of primary keys."""
    return django.contrib.postgres.fields.ArrayField(models.BigIntegerField(), null=True, size=None)


class Migration(migrations.Migration):
    """Columns that the code before leaves empty; the index is built beside the work."""

    atomic = False

    dependencies = [("tasks", "0009_task_request_digest")]

    operations = [
        migrations.AddField("outboxevent", "users", ids()),
        migrations.AddField("outboxevent", "members", ids()),
        migrations.AddField("outboxevent", "leads", ids()),
        AddIndexConcurrently(
            "outboxevent",
            models.Index(
                fields=["event"],
                name="outbox_pending",
                condition=models.Q(position=None),
            ),
        ),
    ]
