"""Signed seals over all chains of the audit, which can only be added to."""

import django.contrib.postgres.fields
from django.db import migrations, models

FORWARD = """
create trigger tasks_auditseal_append_only
before update or delete on tasks_auditseal
for each row execute function tasks_audit_is_append_only();

create trigger tasks_auditseal_no_truncate
before truncate on tasks_auditseal
for each statement execute function tasks_audit_is_append_only();
"""

BACKWARD = """
drop trigger tasks_auditseal_no_truncate on tasks_auditseal;
drop trigger tasks_auditseal_append_only on tasks_auditseal;
"""


class Migration(migrations.Migration):
    """The table and its triggers."""

    dependencies = [("tasks", "0005_find_due_tasks")]

    operations = [
        migrations.CreateModel(
            name="AuditSeal",
            fields=[
                ("number", models.PositiveIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("last_event", models.BigIntegerField()),
                (
                    "task_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                (
                    "versions",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), size=None
                    ),
                ),
                ("previous_hash", models.BinaryField(max_length=32)),
                ("hash", models.BinaryField(max_length=32)),
            ],
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
