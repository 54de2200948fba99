"""One row that says when a worker last swept through the tasks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of one row."""

    dependencies = [("tasks", "0006_audit_seals")]

    operations = [
        migrations.CreateModel(
            name="WorkerHeartbeat",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(id=1), name="worker_heartbeat_is_one_row"
                    )
                ],
            },
        ),
    ]
