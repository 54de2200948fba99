"""The audit can only be added to: the database refuses to change or remove an event."""

from django.db import migrations

FORWARD = """
create function tasks_audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only: % refused', lower(tg_op)
        using errcode = 'integrity_constraint_violation';
end $$;

create trigger tasks_auditevent_append_only
before update or delete on tasks_auditevent
for each row execute function tasks_audit_is_append_only();

create trigger tasks_auditevent_no_truncate
before truncate on tasks_auditevent
for each statement execute function tasks_audit_is_append_only();
"""

BACKWARD = """
drop trigger tasks_auditevent_no_truncate on tasks_auditevent;
drop trigger tasks_auditevent_append_only on tasks_auditevent;
drop function tasks_audit_is_append_only();
"""


class Migration(migrations.Migration):
    """Triggers on tasks_auditevent."""

    dependencies = [("tasks", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
