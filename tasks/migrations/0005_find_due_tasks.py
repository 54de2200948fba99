"""Indexes of the few tasks that have an expiry or wake-up time, which the clock asks for."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """Built beside the work that goes on, so outside a transaction."""

    atomic = False

    dependencies = [("tasks", "0004_unclaimable_since")]

    operations = [
        AddIndexConcurrently(
            "task",
            models.Index(
                fields=["expires_at"],
                name="task_due_to_expire",
                condition=Q(
                    expires_at__isnull=False,
                    state__in=["created", "in_progress", "ready", "reserved"],
                ),
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                fields=["wakeup_at"], name="task_due_to_wake", condition=Q(wakeup_at__isnull=False)
            ),
        ),
    ]
