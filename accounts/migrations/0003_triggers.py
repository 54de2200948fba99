"""Triggers: effective memberships, the built-in group, ended log-ins, append-only events.

Effective memberships. Whoever changes what they follow from takes one advisory lock, before any
row where the statement is known to matter, and after comparing old and new rows where it seldom
does (a log-in updates the account's row too). Under the lock each statement sees all that was
committed before, so the last one to hold it leaves the right rows. Only the accounts concerned are
computed again, and only what differs is written.
"""

from typing import ClassVar

from django.db import migrations

LOCK = """
CREATE FUNCTION accounts_lock() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- An older snapshot would not see what the previous holder of the lock has committed.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'accounts and groups can be changed in read committed transactions only'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(7017561974736057459);  -- "accounts" in ASCII
END $$
"""

LOCK_FIRST = """
CREATE FUNCTION accounts_lock_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM accounts_lock();
    RETURN NULL;
END $$
"""

# Whose effective memberships may run through one of these groups. A member's path comes from the
# groups below, a lead's from the groups above. UNION, not UNION ALL: a cycle ends.
NEAR = """
CREATE FUNCTION accounts_near(changed bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        WITH RECURSIVE below(id) AS (
            SELECT unnest(changed)
            UNION
            SELECT n.child_id FROM below b JOIN accounts_groupnesting n ON n.parent_id = b.id
        ), above(id) AS (
            SELECT unnest(changed)
            UNION
            SELECT n.parent_id FROM above a JOIN accounts_groupnesting n ON n.child_id = a.id
        )
        SELECT m.user_id FROM accounts_membership m JOIN below b ON b.id = m.group_id
        UNION
        SELECT m.user_id FROM accounts_membership m JOIN above a ON a.id = m.group_id WHERE m.lead
        UNION
        SELECT e.user_id FROM accounts_effectivemembership e WHERE e.group_id = ANY (changed)
        UNION
        SELECT u.id FROM accounts_user u
        WHERE EXISTS (
            SELECT FROM accounts_group g WHERE g.group_ptr_id = ANY (changed) AND g.is_builtin
        )
    );
END $$
"""

REFRESH = """
CREATE FUNCTION accounts_refresh(concerned bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH RECURSIVE people AS (
        SELECT u.id FROM accounts_user u
        JOIN unnest(concerned) AS c(id) ON c.id = u.id
        WHERE u.is_active
    ), member(user_id, group_id) AS (
        SELECT m.user_id, m.group_id
        FROM people p
        JOIN accounts_membership m ON m.user_id = p.id
        JOIN accounts_group g ON g.group_ptr_id = m.group_id AND g.is_active
        UNION
        SELECT m.user_id, n.parent_id
        FROM member m
        JOIN accounts_groupnesting n ON n.child_id = m.group_id
        JOIN accounts_group g ON g.group_ptr_id = n.parent_id AND g.is_active
    ), leader(user_id, group_id) AS (
        SELECT m.user_id, m.group_id
        FROM people p
        JOIN accounts_membership m ON m.user_id = p.id AND m.lead
        JOIN accounts_group g ON g.group_ptr_id = m.group_id AND g.is_active
        UNION
        SELECT l.user_id, n.child_id
        FROM leader l
        JOIN accounts_groupnesting n ON n.parent_id = l.group_id
        JOIN accounts_group g ON g.group_ptr_id = n.child_id AND g.is_active
    ), wanted(user_id, group_id, lead) AS (
        SELECT user_id, group_id, false FROM member
        UNION ALL
        SELECT user_id, group_id, true FROM leader
        UNION ALL
        SELECT p.id, g.group_ptr_id, false FROM people p, accounts_group g WHERE g.is_builtin
    ), removed AS (
        DELETE FROM accounts_effectivemembership e
        USING unnest(concerned) AS c(id)
        WHERE e.user_id = c.id
          AND NOT EXISTS (
              SELECT FROM wanted w
              WHERE w.user_id = e.user_id AND w.group_id = e.group_id AND w.lead = e.lead
          )
    )
    INSERT INTO accounts_effectivemembership (user_id, group_id, lead)
    SELECT user_id, group_id, lead FROM wanted
    ON CONFLICT DO NOTHING;  -- looks each row up; an anti-join would read the whole table
END $$
"""

USER_CHANGED = """
CREATE FUNCTION accounts_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        concerned := ARRAY(SELECT id FROM new_rows WHERE is_active);
    ELSIF TG_OP = 'UPDATE' THEN
        concerned := ARRAY(
            SELECT n.id FROM new_rows n JOIN old_rows o ON o.id = n.id
            WHERE n.is_active <> o.is_active
        );
    ELSE
        concerned := ARRAY(SELECT id FROM old_rows);
    END IF;
    IF cardinality(concerned) > 0 THEN
        PERFORM accounts_lock();
        PERFORM accounts_refresh(concerned);
    END IF;
    RETURN NULL;
END $$
"""

GROUP_CHANGED = """
CREATE FUNCTION accounts_group_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY(SELECT group_ptr_id FROM new_rows WHERE is_active);
    ELSIF TG_OP = 'UPDATE' THEN
        changed := ARRAY(
            SELECT n.group_ptr_id FROM new_rows n JOIN old_rows o ON o.group_ptr_id = n.group_ptr_id
            WHERE n.is_active <> o.is_active
        );
    ELSE
        changed := ARRAY(SELECT group_ptr_id FROM old_rows);
    END IF;
    IF cardinality(changed) > 0 THEN
        PERFORM accounts_lock();
        PERFORM accounts_refresh(accounts_near(changed));
    END IF;
    RETURN NULL;
END $$
"""

MEMBERSHIP_CHANGED = """
CREATE FUNCTION accounts_membership_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        concerned := ARRAY(SELECT DISTINCT user_id FROM new_rows);
    ELSIF TG_OP = 'UPDATE' THEN
        concerned := ARRAY(SELECT user_id FROM new_rows UNION SELECT user_id FROM old_rows);
    ELSE
        concerned := ARRAY(SELECT DISTINCT user_id FROM old_rows);
    END IF;
    IF cardinality(concerned) > 0 THEN
        PERFORM accounts_refresh(concerned);
    END IF;
    RETURN NULL;
END $$
"""

NESTING_CHANGED = """
CREATE FUNCTION accounts_nesting_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed bigint[];
    outer_name text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY(SELECT child_id FROM new_rows UNION SELECT parent_id FROM new_rows);
    ELSIF TG_OP = 'UPDATE' THEN
        changed := ARRAY(
            SELECT child_id FROM new_rows UNION SELECT parent_id FROM new_rows
            UNION SELECT child_id FROM old_rows UNION SELECT parent_id FROM old_rows
        );
    ELSE
        changed := ARRAY(SELECT child_id FROM old_rows UNION SELECT parent_id FROM old_rows);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        WITH RECURSIVE above(start, id) AS (
            SELECT child_id, parent_id FROM new_rows
            UNION
            SELECT a.start, n.parent_id FROM above a
            JOIN accounts_groupnesting n ON n.child_id = a.id
        )
        SELECT g.name INTO outer_name
        FROM above a JOIN auth_group g ON g.id = a.id WHERE a.id = a.start LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'group "%" would lie within itself', outer_name
                USING ERRCODE = 'check_violation', CONSTRAINT = 'nesting_without_cycle';
        END IF;
    END IF;
    IF cardinality(changed) > 0 THEN
        PERFORM accounts_refresh(accounts_near(changed));
    END IF;
    RETURN NULL;
END $$
"""

BUILTIN_GROUP = """
CREATE FUNCTION accounts_keep_builtin_group() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[];
BEGIN
    IF TG_TABLE_NAME = 'accounts_group' THEN
        -- Called only for rows that are or would become built in.
        RAISE EXCEPTION 'the built-in group can be neither removed nor replaced'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'builtin_group_stays';
    ELSIF TG_TABLE_NAME = 'auth_group' THEN
        touched := ARRAY[OLD.id];
    ELSIF TG_TABLE_NAME = 'accounts_membership' THEN
        touched := ARRAY[NEW.group_id];
    ELSE
        touched := ARRAY[NEW.child_id, NEW.parent_id];
    END IF;
    IF EXISTS (SELECT FROM accounts_group WHERE group_ptr_id = ANY (touched) AND is_builtin) THEN
        RAISE EXCEPTION 'the built-in group is not renamed, nested or given members by hand'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'builtin_group_stays';
    END IF;
    RETURN NEW;
END $$
"""

# The stored generation alone counts: an object read before the account was deactivated may be
# saved after it, and must not bring back the old number and with it the old sessions.
SESSION_GENERATION = """
CREATE FUNCTION accounts_keep_session_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.session_generation := OLD.session_generation
        + CASE WHEN OLD.is_active AND NOT NEW.is_active THEN 1 ELSE 0 END;
    RETURN NEW;
END $$
"""

END_LOGINS = """
CREATE FUNCTION accounts_end_logins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Deactivation ends every token; a new password only those that are sessions.
    DELETE FROM accounts_token t
    USING new_rows n JOIN old_rows o ON o.id = n.id
    WHERE t.user_id = n.id
      AND ((o.is_active AND NOT n.is_active)
           OR (o.password <> n.password AND t.kind = 'itential'));
    RETURN NULL;
END $$
"""

APPEND_ONLY = """
CREATE FUNCTION accounts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'account events are neither changed nor removed'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'account_events_append_only';
END $$
"""

FUNCTIONS = {
    "accounts_lock()": LOCK,
    "accounts_lock_first()": LOCK_FIRST,
    "accounts_near(bigint[])": NEAR,
    "accounts_refresh(bigint[])": REFRESH,
    "accounts_user_changed()": USER_CHANGED,
    "accounts_group_changed()": GROUP_CHANGED,
    "accounts_membership_changed()": MEMBERSHIP_CHANGED,
    "accounts_nesting_changed()": NESTING_CHANGED,
    "accounts_keep_builtin_group()": BUILTIN_GROUP,
    "accounts_keep_session_generation()": SESSION_GENERATION,
    "accounts_end_logins()": END_LOGINS,
    "accounts_refuse_change()": APPEND_ONLY,
}

# (name, table, the rest of the definition up to the function, function)
TRIGGERS = [
    # The lock comes before any row is touched, so that nobody holds a row while waiting for it.
    ("accounts_lock_write", "accounts_user", "BEFORE INSERT OR DELETE", "lock_first"),
    ("accounts_lock_update", "accounts_user", "BEFORE UPDATE OF is_active", "lock_first"),
    ("accounts_lock_write", "accounts_group", "BEFORE INSERT OR DELETE", "lock_first"),
    ("accounts_lock_update", "accounts_group", "BEFORE UPDATE OF is_active", "lock_first"),
    *(
        ("accounts_lock_write", table, "BEFORE INSERT OR UPDATE OR DELETE", "lock_first")
        for table in ("accounts_membership", "accounts_groupnesting")
    ),
    # A trigger with transition tables serves one event each.
    *(
        (f"accounts_after_{event.lower()}", f"accounts_{table}", f"AFTER {event} {rows}", function)
        for table, function in (
            ("user", "user_changed"),
            ("group", "group_changed"),
            ("membership", "membership_changed"),
            ("groupnesting", "nesting_changed"),
        )
        for event, rows in (
            ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
            ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
        )
    ),
    (
        "accounts_end_logins",
        "accounts_user",
        "AFTER UPDATE REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "end_logins",
    ),
    (
        "accounts_append_only",
        "accounts_accountevent",
        "BEFORE UPDATE OR DELETE OR TRUNCATE",
        "refuse_change",
    ),
]

ROW_TRIGGERS = [
    (
        "accounts_session_generation",
        "accounts_user",
        "BEFORE UPDATE",
        "(OLD.is_active AND NOT NEW.is_active) OR OLD.session_generation <> NEW.session_generation",
        "keep_session_generation",
    ),
    ("accounts_builtin_delete", "accounts_group", "BEFORE DELETE", "OLD.is_builtin", None),
    (
        "accounts_builtin_update",
        "accounts_group",
        "BEFORE UPDATE",
        "OLD.is_builtin <> NEW.is_builtin",
        None,
    ),
    ("accounts_builtin_name", "auth_group", "BEFORE UPDATE", "OLD.name <> NEW.name", None),
    ("accounts_builtin_member", "accounts_membership", "BEFORE INSERT OR UPDATE", "true", None),
    ("accounts_builtin_nesting", "accounts_groupnesting", "BEFORE INSERT OR UPDATE", "true", None),
]


def operations():
    for signature, definition in FUNCTIONS.items():
        yield migrations.RunSQL([definition], [f"DROP FUNCTION {signature}"])
    for name, table, when, function in TRIGGERS:
        timing, _, tables = when.partition(" REFERENCING ")
        referencing = f"REFERENCING {tables} " if tables else ""
        yield migrations.RunSQL(
            [
                f"CREATE TRIGGER {name} {timing} ON {table} {referencing}"
                f"FOR EACH STATEMENT EXECUTE FUNCTION accounts_{function}()"
            ],
            [f"DROP TRIGGER {name} ON {table}"],
        )
    for name, table, when, condition, function in ROW_TRIGGERS:
        yield migrations.RunSQL(
            [
                f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW WHEN ({condition}) "
                f"EXECUTE FUNCTION accounts_{function or 'keep_builtin_group'}()"
            ],
            [f"DROP TRIGGER {name} ON {table}"],
        )
    yield migrations.RunSQL(
        ["SELECT accounts_refresh(ARRAY(SELECT id FROM accounts_user))"], migrations.RunSQL.noop
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0002_everybody")]
    operations: ClassVar = list(operations())
