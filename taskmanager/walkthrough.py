"""The main job, done over HTTP as outside clients do it, with every row checked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from django.conf import settings
from django.core.management import call_command
from django.db.models import Sum
from ipsdk import platform_factory
from ipsdk.exceptions import HTTPStatusError
from rich.console import Console

from accounts.models import User
from taskmanager.demo_data import password_of
from taskmanager.forms_over_http import Browser
from tasks import events
from tasks.api.htm.ids import tkiid
from tasks.lifecycle import HELD, State
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task
from tasks.querysets import permission_ids
from tasks.roles import TaskRole

FIRST_ID = UUID("cb532bea-ff0b-a827-7ef8-af92b431be7f")
"""The task of the first document in fixtures/itential_tasks.json."""


class Fault(Exception):
    """An answer or a row is not what it has to be; the message says which."""


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise Fault unless `found` equals `wanted`."""
    if found != wanted:
        raise Fault(f"{what}: {found!r} instead of {wanted!r}")


class Walkthrough:
    """One walk over all four faces of a demo server at `url`."""

    def __init__(self, url: str, console: Console) -> None:
        self.url = url
        self.console = console
        self.alice = User.objects.get(username="alice")
        self.bob = User.objects.get(username="bob")

    def run(self) -> None:
        """Every step in turn. Raises Fault at the first thing that is not right."""
        self.import_documents()
        self.release_with_itential_client()
        self.transfer_with_htm()
        self.release_and_transfer_natively()
        self.release_and_transfer_in_admin()
        self.show_audit()
        self.check_books()

    def say(self, text: str) -> None:
        """Tell the person at the terminal what has just been seen to work."""
        self.console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    # --- (1) and (2): Itential ---------------------------------------------------------------

    def import_documents(self) -> None:
        """Load task documents in Itential's own shape."""
        path = Path(settings.BASE_DIR) / "fixtures" / "itential_tasks.json"
        before = Task.objects.count()
        call_command("import_tasks", str(path), stdout=io.StringIO())
        imported = AuditEvent.objects.filter(event="imported", task_id=FIRST_ID)
        expect("import events of the first document", imported.count(), 1)
        self.say(f"import_tasks: {Task.objects.count() - before} task documents of Itential's")

    def release_with_itential_client(self) -> None:
        """Claim and release with the unmodified Itential client, as three different people."""
        route = f"/operations-manager/tasks/{FIRST_ID}"
        alice, bob, frank = (self.itential_client(name) for name in ("alice", "bob", "frank"))

        claimed = alice.post(f"{route}/claim")
        expect("claim", claimed.status_code, 200)
        owner = claimed.json()["data"]["metrics"]["owner"]
        expect("owner after claim", owner, self.alice.object_id)
        self.check_task(FIRST_ID, State.RESERVED, self.alice, "claimed")

        released = alice.post(f"{route}/release")
        expect("release", released.status_code, 200)
        expect("owner after release", released.json()["data"]["metrics"]["owner"], "")
        expect("claim_time", "claim_time" in released.json()["data"]["metrics"], False)
        self.check_task(FIRST_ID, State.READY, None, "released")

        alice.post(f"{route}/claim")
        expect("release by a colleague", bob.post(f"{route}/release").status_code, 200)
        last = self.check_task(FIRST_ID, State.READY, None, "released")
        expect("who released it", last.actor, "bob")

        version = Task.objects.get(pk=FIRST_ID).version
        try:
            frank.post(f"{route}/release")
        except HTTPStatusError as error:
            expect("release by an outsider", error.response.status_code, 404)
        else:
            raise Fault("frank released a task that he cannot see")
        expect("version after a refusal", Task.objects.get(pk=FIRST_ID).version, version)
        self.say(
            "Itential: alice claims and releases, bob releases what alice holds, frank gets 404"
        )

    def itential_client(self, name: str) -> Any:
        """The client of Itential's own kit, logged in as one of the cast."""
        host, port = self.url.removeprefix("http://").split(":")
        return platform_factory(
            host=host, port=int(port), use_tls=False, user=name, password=password_of(name)
        )

    # --- (3): IBM HTM ------------------------------------------------------------------------

    def transfer_with_htm(self) -> None:
        """Move 500 of bob's tasks to alice; three may not go, and only they are reported."""
        excluded = self.held_by_bob(1, alice_excluded=True)[0]
        ended = Task.objects.filter(state=State.COMPLETED).order_by("pk")[0].pk
        unknown = uuid4()
        good = self.held_by_bob(497)
        ids = [*good[:200], unknown, *good[200:300], ended, *good[300:], excluded]
        versions = dict(Task.objects.filter(pk__in=ids).values_list("pk", "version"))

        answer = httpx.put(
            f"{self.url}/rest/bpm/htm/v1/task/role/owner",
            params={"action": "transfer", "fromUser": "bob", "toUser": "alice"},
            json={"taskIDs": [tkiid(pk) for pk in ids]},
            auth=("dave", password_of("dave")),
            timeout=60,
        )
        expect("bulk transfer", answer.status_code, 200)
        failed = {item["tkiid"]: item["errorNumber"] for item in answer.json()["failedOperations"]}
        wanted = {
            tkiid(unknown): "CWTKA0024E",
            tkiid(ended): "CWTKA0062E",
            tkiid(excluded): "CWTKA0110E",
        }
        expect("failedOperations", failed, wanted)

        self.check_moved(good, versions, self.alice, "owner_transferred")
        for pk in (ended, excluded):
            expect("version of a refused task", Task.objects.get(pk=pk).version, versions[pk])
        self.say("IBM HTM: dave moves 497 of 500 from bob to alice, the other 3 are reported")
        for number in wanted.values():
            text = next(
                item["errorMessage"]
                for item in answer.json()["failedOperations"]
                if item["errorNumber"] == number
            )
            self.say(f"  {number}  {text}")

    # --- (4): native API and admin -----------------------------------------------------------

    def release_and_transfer_natively(self) -> None:
        """The same two acts by the native API: one release, one bulk transfer, one bulk release."""
        token = io.StringIO()
        call_command("token", "create", "dave", stdout=token)
        secret = next(word for word in token.getvalue().split() if word.startswith("htm_"))
        client = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Token {secret}"},
            timeout=60,
        )
        single, *many = self.held_by_bob(21)
        versions = dict(Task.objects.filter(pk__in=[single, *many]).values_list("pk", "version"))

        answer = client.post(
            f"/tasks/{single}/release/",
            json={"reason": "bob is leaving"},
            headers={"If-Match": f'"{versions[single]}"'},
        )
        expect("native release", answer.status_code, 200)
        expect("its version", answer.json()["version"], versions[single] + 1)
        self.check_task(single, State.READY, None, "released")

        answer = client.post(
            "/tasks/bulk/transfer/",
            json={
                "ids": [str(pk) for pk in many],
                "role": "owner",
                "from": {"user": "bob"},
                "to": {"user": "alice"},
                "reason": "bob is leaving",
            },
        )
        expect("native bulk transfer", answer.status_code, 200)
        expect("refused", answer.json()["refused"], [])
        self.check_moved(many, versions, self.alice, "owner_transferred")
        self.check_recorded(answer.json()["operation_id"], "transfer", many)

        answer = client.post(
            "/tasks/bulk/release/",
            json={"ids": [str(pk) for pk in many], "reason": "for whoever is free"},
        )
        expect("native bulk release", answer.status_code, 200)
        expect("done", [item["id"] for item in answer.json()["done"]], [str(pk) for pk in many])
        self.check_recorded(answer.json()["operation_id"], "release", many)
        for pk in many:
            self.check_task(pk, State.READY, None, "released")
        self.say("Native API: one release with If-Match, 20 transferred, 20 released")

    def release_and_transfer_in_admin(self) -> None:
        """The same by the admin's bulk actions, posting the forms that the pages hold."""
        browser = Browser(self.url)
        browser.log_in("alice", password_of("alice"))
        many = self.held_by_bob(12, led_by_alice=True)
        versions = dict(Task.objects.filter(pk__in=many).values_list("pk", "version"))

        to_alice = {"to_user": str(self.alice.pk), "from_user": str(self.bob.pk)}
        self.act_in_admin(browser, "transfer", many, {**to_alice, "reason": "bob is leaving"})
        self.check_moved(many, versions, self.alice, "owner_transferred")
        self.act_in_admin(browser, "release", many, {"reason": "for whoever is free"})
        for pk in many:
            self.check_task(pk, State.READY, None, "released")
        self.say("Admin: alice, team lead, takes over 12 of bob's tasks and releases them")

    def act_in_admin(
        self, browser: Browser, action: str, ids: Sequence[UUID], answers: dict[str, str]
    ) -> None:
        """Select tasks in the list, choose a bulk action, fill in its page, confirm the preview."""
        page = browser.get("/admin/tasks/task/")
        chosen = page.form("changelist-form").filled(
            {"action": action, "_selected_action": [str(pk) for pk in ids], "select_across": "0"}
        )
        preview = browser.submit(browser.submit(chosen).form("bulk-form").filled(answers))
        versions = dict(Task.objects.filter(pk__in=ids).values_list("pk", "version"))
        result = browser.submit(preview.form("confirm-form"))
        stored = UUID(result.url.rstrip("/").rsplit("/", 1)[-1])
        self.check_recorded(str(stored), action, ids)
        now = dict(Task.objects.filter(pk__in=ids).values_list("pk", "version"))
        expect("versions after it", now, {pk: version + 1 for pk, version in versions.items()})

    # --- (5): audit --------------------------------------------------------------------------

    def show_audit(self) -> None:
        """Print the history of the first document's task and verify its chain."""
        task = Task.objects.get(pk=FIRST_ID)
        faults = list(events.verify([task]))
        expect("faults in the chain", faults, [])
        self.say(f"Audit of {task.name} ({task.pk}), verified:")
        for event in AuditEvent.objects.filter(task_id=task.pk).order_by("version"):
            owner = event.after.get("owner", "-") or "nobody"
            self.say(
                f"  v{event.version:<3} {event.at:%H:%M:%S}  {event.event:10} by {event.actor:8} "
                f"via {event.channel:9} owner {owner:8} {bytes(event.hash).hex()[:16]}"
            )

    def check_books(self) -> None:
        """Versions, audit events and outbox rows agree over all tasks, and all chains hold."""
        versions = Task.objects.aggregate(total=Sum("version"))["total"]
        expect("audit events", AuditEvent.objects.count(), versions)
        expect("outbox rows", OutboxEvent.objects.count(), versions)
        expect("faults in all chains", list(events.verify()), [])
        self.say(f"Books: {versions:,} versions = audit events = outbox rows, all chains hold")

    # --- What the rows have to be ------------------------------------------------------------

    def held_by_bob(
        self, count: int, *, alice_excluded: bool = False, led_by_alice: bool = False
    ) -> list[UUID]:
        """Tasks bob holds that alice could have, or is excluded from, or runs as a team lead."""
        excluding = permission_ids()[TaskRole.EXCLUDED_OWNER]
        held = Task.objects.filter(owner=self.bob, state__in=HELD, on_hold=False)
        barred = held.filter(
            user_roles__user=self.alice, user_roles__permission_id=excluding
        ).values("pk")
        chosen = held.filter(pk__in=barred) if alice_excluded else held.exclude(pk__in=barred)
        if led_by_alice:
            team = self.alice.memberships.get(lead=True).group
            chosen = chosen.given_to("group", team.pk, TaskRole.POTENTIAL_OWNER)
        found = list(chosen.order_by("pk").values_list("pk", flat=True)[:count])
        expect("tasks of bob's to work with", len(found), count)
        return found

    def check_task(self, pk: UUID, state: State, owner: User | None, event: str) -> AuditEvent:
        """The task stands so, and its last audit event says so and awaits delivery."""
        task = Task.objects.get(pk=pk)
        expect(f"state of {pk}", task.state, state)
        expect(f"owner of {pk}", task.owner, owner)
        last = AuditEvent.objects.get(task_id=pk, version=task.version)
        expect(f"last event of {pk}", last.event, event)
        expect("its outbox row", OutboxEvent.objects.filter(event=last).count(), 1)
        return last

    def check_moved(
        self, ids: Sequence[UUID], versions: dict[UUID, int], owner: User, event: str
    ) -> None:
        """Each task has its new owner, one version more, and one event of one common operation."""
        now = Task.objects.filter(pk__in=ids)
        expect("tasks moved", now.filter(owner=owner, state__in=HELD).count(), len(ids))
        expect(
            "their versions",
            dict(now.values_list("pk", "version")),
            {pk: versions[pk] + 1 for pk in ids},
        )
        recorded = AuditEvent.objects.filter(event=event, task_id__in=ids)
        newest = [e for e in recorded if e.version == versions[e.task_id] + 1]
        expect("their events", len(newest), len(ids))
        expect("operations they are part of", len({e.operation_id for e in newest}), 1)

    def check_recorded(self, operation_id: str, operation: str, ids: Sequence[UUID]) -> None:
        """The bulk call is on record with all its tasks done."""
        stored = BulkOperation.objects.get(pk=operation_id)
        expect("recorded operation", stored.operation, operation)
        expect("recorded tasks", stored.ids, list(ids))
        expect("recorded as done", (stored.status, stored.done_count), ("done", len(ids)))
