"""What lets lists stay as quick with a million tasks: a copied time, and indexes in list order."""

from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

BATCH = 50_000

# Rows written without the copy, as the release before writes them, get it here. The condition is
# tested before any function is called, so rows that have it cost nothing.
FILL = """
create function tasks_role_row_created() returns trigger language plpgsql as $$
begin
    new.created := coalesce(
        (select created_at from tasks_task where id = new.content_object_id), now());
    return new;
end $$;
create trigger tasks_role_row_created before insert on tasks_taskuserrole
    for each row when (new.created is null) execute function tasks_role_row_created();
create trigger tasks_role_row_created before insert on tasks_taskgrouprole
    for each row when (new.created is null) execute function tasks_role_row_created();
"""
FILL_NO_MORE = """
drop trigger tasks_role_row_created on tasks_taskuserrole;
drop trigger tasks_role_row_created on tasks_taskgrouprole;
drop function tasks_role_row_created();
"""

# Room on each page for the next version of a row, so that an update of columns without an index
# stays on the page and touches no index; and a vacuum well before a fifth of a large table is dead.
SETTINGS = """
alter table tasks_task set (fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table tasks_taskuserrole set (fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02);
alter table tasks_taskgrouprole set (fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02);
alter table tasks_bulkoperation set (fillfactor = 70);
"""
SETTINGS_NO_MORE = """
alter table tasks_task reset (fillfactor,
    autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
alter table tasks_taskuserrole reset (fillfactor, autovacuum_vacuum_scale_factor,
    autovacuum_analyze_scale_factor, autovacuum_vacuum_insert_scale_factor);
alter table tasks_taskgrouprole reset (fillfactor, autovacuum_vacuum_scale_factor,
    autovacuum_analyze_scale_factor, autovacuum_vacuum_insert_scale_factor);
alter table tasks_bulkoperation reset (fillfactor);
"""


def copy_times(apps, schema_editor):
    """Give the rows that are there the copy, in batches that lock few rows for a short time."""
    with schema_editor.connection.cursor() as cursor:
        for table in ("tasks_taskuserrole", "tasks_taskgrouprole"):
            cursor.execute(f"select coalesce(min(id), 0), coalesce(max(id), -1) from {table}")  # noqa: S608
            first, last = cursor.fetchone()
            for start in range(first, last + 1, BATCH):
                cursor.execute(
                    f"update {table} r set created = t.created_at from tasks_task t "  # noqa: S608
                    "where t.id = r.content_object_id and r.created is null "
                    "and r.id between %s and %s",
                    [start, start + BATCH - 1],
                )


def _role_indexes(kind):
    return [
        AddIndexConcurrently(
            f"task{kind}role",
            models.Index(
                fields=[kind, "permission", "created", "content_object"],
                name=f"{kind}_role_newest",
            ),
        ),
        RemoveIndexConcurrently(f"task{kind}role", f"{kind}_role_any"),
    ]


def _in_time(name, column, **options):
    return AddIndexConcurrently(
        "task", models.Index(fields=[column, "created_at", "id"], name=name, **options)
    )


class Migration(migrations.Migration):
    """Beside the work that goes on, so outside a transaction."""

    atomic = False

    dependencies = [("tasks", "0007_worker_heartbeat")]

    operations = [
        migrations.RunSQL("set statement_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL(SETTINGS, SETTINGS_NO_MORE),
        *(
            migrations.AddField(f"task{kind}role", "created", models.DateTimeField(null=True))
            for kind in ("user", "group")
        ),
        migrations.RunSQL(FILL, FILL_NO_MORE),
        migrations.RunPython(copy_times, migrations.RunPython.noop),
        *(
            migrations.AlterField(
                f"task{kind}role",
                "created",
                models.DateTimeField(help_text="When the task was created."),
            )
            for kind in ("user", "group")
        ),
        *_role_indexes("user"),
        *_role_indexes("group"),
        _in_time("task_by_state", "state"),
        _in_time("task_owned", "owner", condition=models.Q(owner__isnull=False)),
        RemoveIndexConcurrently("task", "task_worked"),
        _in_time("task_originated", "originator", condition=models.Q(originator__isnull=False)),
        _in_time("task_started", "starter", condition=models.Q(starter__isnull=False)),
        *(
            migrations.AlterField(
                "task",
                name,
                models.ForeignKey(
                    settings.AUTH_USER_MODEL,
                    models.PROTECT,
                    null=True,
                    related_name=f"{related}_tasks",
                    db_index=False,
                ),
            )
            for name, related in (("originator", "originated"), ("starter", "started"))
        ),
        # Led by the same column as bulk_of_actor.
        migrations.AlterField(
            "bulkoperation",
            "actor",
            models.ForeignKey(
                settings.AUTH_USER_MODEL,
                models.PROTECT,
                null=True,
                related_name="bulk_operations",
                db_index=False,
            ),
        ),
        migrations.RunSQL("reset statement_timeout", migrations.RunSQL.noop),
    ]
