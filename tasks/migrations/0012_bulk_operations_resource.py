"""Bulk operations that a worker carries out, what an undo kept, and audit events by their time."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Columns with defaults of the database, so that the code before this one can still write.

    The indexes are built beside the work that goes on, so outside a transaction.
    """

    atomic = False

    dependencies: ClassVar = [("tasks", "0011_idempotency_keys")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="bulkoperation",
            name="background",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="bulkoperation",
            name="failure",
            field=models.JSONField(
                help_text="Why it could not go on: {code, detail}, where it failed.", null=True
            ),
        ),
        migrations.AddField(
            model_name="bulkoperation",
            name="scope_group_ids",
            field=ArrayField(
                models.BigIntegerField(),
                help_text="The groups that the token of the call was limited to; none is no limit.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="bulkoperation",
            name="kept",
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AlterField(
            model_name="bulkoperation",
            name="status",
            field=models.CharField(
                choices=[
                    ("draft", "tasks chosen"),
                    ("planned", "planned"),
                    ("running", "running"),
                    ("done", "done"),
                    ("waiting", "waiting"),
                    ("cancelled", "cancelled"),
                    ("failed", "failed"),
                ],
                default="done",
                max_length=16,
            ),
        ),
        AddIndexConcurrently(
            model_name="auditevent",
            index=BrinIndex(fields=["at"], name="audit_at"),
        ),
        AddIndexConcurrently(
            model_name="bulkoperation",
            index=models.Index(
                condition=models.Q(background=True, status__in=["running", "waiting"]),
                fields=["created_at"],
                name="bulk_for_worker",
            ),
        ),
    ]
