"""The admin's list and task page: who enters, who sees what, what the buttons do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Role
from tasks import actions, reading
from tasks.models import AuditEvent, Channel, OutboxEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import JobFactory, UserFactory, call_by, make_task, make_tasks, reference

from .admin_pages import LIST, client_of, fill, forms_of, page_of, stored

pytestmark = pytest.mark.django_db


def names(response: Any) -> set[str]:
    """The names of the tasks that a list shows."""
    assert response.status_code == 200
    return {task.name for task in response.context["cl"].result_list}


# --- Entering ------------------------------------------------------------------------------------


def log_in(user: Any, password: str = "") -> tuple[Client, Any]:
    client = Client()
    page = client.get("/admin/", follow=True)
    (form,) = forms_of(page)
    data = {"username": user.username, "password": password or f"{user.username}-demo"}
    url = page.redirect_chain[-1][0]
    return client, client.post(url, {**form["fields"], **data})


@pytest.mark.parametrize(
    "who", ["alice", "bob", "carol", "dave", "erin", "frank", "svc_reader", "root"]
)
def test_every_account_with_a_reading_role_enters(cast: Cast, who: str) -> None:
    client, response = log_in(getattr(cast, who))
    assert response["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert client.get(LIST).status_code == 200


def test_others_do_not_enter(cast: Cast) -> None:
    client, _ = log_in(cast.svc_integration)
    assert "/admin/login/" in client.get("/admin/")["Location"]
    assert "/admin/login/" in client.get(LIST)["Location"]
    assert b"not authorized" in client.get("/admin/login/").content
    _, wrong = log_in(cast.alice, "wrong")
    assert wrong.status_code == 200
    leaver = UserFactory(username="leaver", is_active=False, system_roles=["admin"])
    assert log_in(leaver)[1].status_code == 200
    assert "/admin/login/" in Client().get(LIST)["Location"]


def test_guessing_ends_with_429(cast: Cast) -> None:
    answers = [log_in(cast.alice, "wrong")[1] for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert int(answers[-1]["Retry-After"]) > 0
    assert log_in(cast.alice)[1].status_code == 429


def test_pages_keep_the_strict_content_policy(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = client_of(cast.alice)
    client.post(f"{page_of(task).removesuffix('change/')}do/transfer/")
    for url in ("/admin/", LIST, page_of(task), "/admin/tasks/bulkoperation/", "/admin/tasks/"):
        response = client.get(url)
        assert response.status_code == 200, url
        assert "default-src 'self'" in response["Content-Security-Policy"]
        page = response.content.decode()
        assert not re.search(
            r"<style|\sstyle=|\son\w+=\"|<script(?![^>]*\bsrc=)|(src|href|action)=\"https?:", page
        )


def test_the_first_page_counts_what_the_account_sees(cast: Cast) -> None:
    late = timezone.now() - timedelta(hours=1)
    for task in make_tasks(3, cast.dave, [cast.noc], due_at=late)[:1]:
        actions.claim([task.pk], call=call_by(cast.alice))
    tiles = client_of(cast.alice).get("/admin/").context["tiles"]
    assert [tile.number for tile in tiles] == ["2", "1", "0", "3"]
    assert [tile.number for tile in client_of(cast.frank).get("/admin/").context["tiles"]] == [
        "0"
    ] * 4


def test_a_database_that_is_away_is_503(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(cast.alice)

    def away(_: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(reading, "visible", away)
    response = client.get(LIST)
    assert (response.status_code, response["Retry-After"]) == (503, "5")


# --- The list ------------------------------------------------------------------------------------


def test_the_list_shows_what_is_visible_and_nothing_else(cast: Cast) -> None:
    make_task(cast.dave, cast.noc, name="for noc")
    make_task(cast.dave, cast.field, name="for field")
    expected = {
        "alice": {"for noc"},
        "bob": {"for noc"},
        "carol": {"for field"},
        "dave": {"for noc", "for field"},
        "erin": {"for noc", "for field"},
        "frank": set(),
        "root": {"for noc", "for field"},
    }
    for who, seen in expected.items():
        response = client_of(getattr(cast, who)).get(LIST)
        assert names(response) == seen, who
        assert response.context["cl"].result_count == len(seen)


def test_nothing_in_the_list_tells_of_a_hidden_task(cast: Cast) -> None:
    job = JobFactory(name="Secret job")
    hidden = make_task(
        cast.dave, cast.field, name="Secret", job=job, source="x", external_id="secret-1"
    )
    actions.claim([hidden.pk], call=call_by(cast.carol))
    client = client_of(cast.bob)
    pairs = [
        (f"q={hidden.pk}", f"q={uuid4()}"),
        ("q=secret", "q=nothing"),
        ("q=secret-1", "q=secret-2"),
        (f"owner={cast.carol.pk}", f"owner={cast.frank.pk}"),
        (f"group={cast.field.pk}", f"group={cast.change_board.pk}"),
    ]
    for for_hidden, for_missing in pairs:
        there, not_there = client.get(f"{LIST}?{for_hidden}"), client.get(f"{LIST}?{for_missing}")
        assert names(there) == names(not_there) == set()
        assert there.context["cl"].result_count == 0
        assert b"Secret" not in there.content


def test_views_and_filters(cast: Cast) -> None:
    past = timezone.now() - timedelta(days=1)
    made = {
        name: make_task(cast.dave, cast.noc, name=name, **more)
        for name, more in {
            "free": {},
            "alices": {"priority": 1},
            "bobs": {},
            "done": {},
            "late": {"due_at": past},
        }.items()
    }
    make_task(cast.dave, cast.field, name="elsewhere")
    actions.claim([made["alices"].pk], call=call_by(cast.alice))
    actions.claim([made["bobs"].pk, made["done"].pk], call=call_by(cast.bob))
    actions.complete([made["done"].pk], call=call_by(cast.bob))
    Task.objects.filter(name="bobs").update(on_hold=True)
    client = client_of(cast.alice)
    for query, expected in {
        "": {"free", "alices", "bobs", "done", "late"},
        "view=mine": {"alices"},
        "view=available": {"free", "late"},
        "view=team": {"free", "alices", "bobs", "late"},
        "view=open": {"free", "alices", "bobs", "late"},
        "view=finished": {"done"},
        "view=on_hold": {"bobs"},
        "view=overdue": {"late"},
        "state=ready": {"free", "late"},
        "state=on_hold": {"bobs"},
        "priority=1": {"alices"},
        f"owner={cast.bob.pk}": {"bobs", "done"},
        f"group={cast.noc.pk}&state=completed": {"done"},
        f"view=open&owner={cast.bob.pk}&q=ob": {"bobs"},
    }.items():
        assert names(client.get(f"{LIST}?{query}")) == expected, query


def test_search_by_name_id_external_id_and_job(cast: Cast) -> None:
    job = JobFactory(name="Core upgrade")
    task = make_task(cast.dave, cast.noc, name="Swap it", job=job, source="x", external_id="INC-1")
    make_task(cast.dave, cast.noc, name="Other")
    client = client_of(cast.alice)
    for term in ("swap", "IT swap", str(task.pk), str(task.pk).upper(), "INC-1", "core upg"):
        assert names(client.get(LIST, {"q": term})) == {"Swap it"}, term
    for term in ("INC", "swap other", "%", "_", "'"):
        assert names(client.get(LIST, {"q": term})) == set(), term


@pytest.mark.parametrize(
    "query",
    [
        "view=nothing",
        "state=nothing",
        "priority=11",
        "priority=x",
        "owner=x",
        "owner=%C2%B2",
        "owner=99999999999999999999999",
        "group=-1",
        "p=0",
        "p=99999",
        "p=x",
        "nothing=1",
        "input__password__startswith=s",
        "secret_pointers__isnull=False",
        "owner__password__startswith=p",
        "head__isnull=False",
        "_to_field=head",
        "q=%00",
    ],
)
def test_an_address_without_meaning_is_refused(cast: Cast, query: str) -> None:
    make_task(cast.dave, cast.noc)
    for method in ("get", "post"):
        sent = {"action": "release", "select_across": "1"} if method == "post" else {}
        response = getattr(client_of(cast.alice), method)(f"{LIST}?{query}", sent)
        assert response.status_code == 400, query


def test_the_list_asks_a_constant_number_of_queries(cast: Cast) -> None:
    client = client_of(cast.alice)

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(LIST).status_code == 200
        return len(queries)

    make_tasks(3, cast.dave, [cast.noc], job=JobFactory())
    count()
    few = count()
    for _ in range(5):
        tasks = make_tasks(5, cast.dave, [cast.noc], job=JobFactory())
        actions.claim([tasks[0].pk], call=call_by(cast.bob))
    assert count() == few <= 8


def test_pages_of_a_long_list_hold_every_task_once(cast: Cast) -> None:
    made = {task.pk for task in make_tasks(120, cast.dave, [cast.noc])}
    client = client_of(cast.alice)
    for order in ("", "&o=3", "&o=-6"):
        pages = [client.get(f"{LIST}?p={n}{order}").context["cl"].result_list for n in (1, 2, 3)]
        shown = [task.pk for page in pages for task in page]
        assert len(shown) == 120
        assert set(shown) == made


def test_counting_is_bounded(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.admin.filters import BoundedPaginator

    monkeypatch.setattr(BoundedPaginator, "BOUND", 60)
    make_tasks(70, cast.dave, [cast.noc])
    response = client_of(cast.alice).get(LIST)
    assert response.context["cl"].result_count == 60
    assert b"More than 60 tasks" in response.content


def test_there_is_no_way_to_add_change_or_delete(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = client_of(cast.root)
    for path in ("add/", f"{task.pk}/delete/", f"{task.pk}/history/", f"{task.pk}/"):
        assert client.get(LIST + path).status_code == 404
        assert client.post(LIST + path).status_code == 404
    assert client.post(page_of(task), {"name": "other"}).status_code == 405
    assert "delete_selected" not in client.get(LIST).content.decode()


# --- The page of a task --------------------------------------------------------------------------


def without_token(response: Any) -> bytes:
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", response.content)


def test_hidden_and_missing_answer_alike(cast: Cast) -> None:
    hidden = make_task(cast.dave, cast.field)
    client = client_of(cast.bob)
    for path in ("change/", "do/claim/", "do/release/", "do/transfer/", "do/nothing/"):
        answers = [
            getattr(client, method)(f"{LIST}{pk}/{path}")
            for method in ("get", "post")
            for pk in (hidden.pk, uuid4())
        ]
        for there, not_there in (answers[:2], answers[2:]):
            assert there.status_code == not_there.status_code
            assert without_token(there) == without_token(not_there)
        assert answers[2].status_code == (405 if path == "change/" else 404)
    assert client.get(page_of(hidden)).status_code == 404


@pytest.mark.parametrize(
    "spelling", ["nothing", "%00", "{}", "0", "..", "01a2002f8ac87fbfbc6859064c325e28"]
)
def test_wrong_spellings_of_an_id(cast: Cast, spelling: str) -> None:
    assert client_of(cast.root).get(f"{LIST}{spelling}/change/").status_code in (400, 404)


def test_an_id_is_read_in_any_case(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    assert (
        client_of(cast.bob)
        .get(
            page_of(task).upper().replace("/ADMIN/TASKS/TASK/", LIST).replace("CHANGE/", "change/")
        )
        .status_code
        == 200
    )


def test_secrets_are_for_those_who_work_the_task(cast: Cast) -> None:
    task = make_task(
        cast.dave,
        cast.noc,
        input={"device": "core-1", "password": "hunter2"},
        secret_pointers=["/input/password"],
    )
    worker = client_of(cast.bob).get(page_of(task)).content.decode()
    reader = client_of(cast.erin).get(page_of(task)).content.decode()
    assert worker.count("hunter2") == 1  # in the data, not in the history
    assert "hunter2" not in reader
    assert "******" in reader
    assert "core-1" in reader


def test_names_are_text_whatever_they_hold(cast: Cast) -> None:
    evil = "<script>alert(1)</script> \u202e \x1b[31m"
    task = make_task(
        cast.dave, cast.noc, name=evil[:25], description=evil, job=JobFactory(name=evil)
    )
    client = client_of(cast.alice)
    response = client.post(f"{LIST}{task.pk}/do/transfer/")
    for url in (LIST, page_of(task), response["Location"]):
        assert b"<script>alert" not in client.get(url).content


def test_the_history_says_who_did_what_when_and_why(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    actions.claim([task.pk], call=call_by(cast.bob, Channel.ITENTIAL, reason=None))
    actions.release([task.pk], call=call_by(cast.alice, Channel.NATIVE, reason="He is ill."))
    events = client_of(cast.bob).get(page_of(task)).context["events"]
    assert [(event.who, event.did, event.via, event.reason) for event in events] == [
        ("alice", "released it", "native API", "He is ill."),
        ("bob", "claimed it", "Itential", None),
        ("dave", "created the task", "command line", None),
    ]
    assert {(c.what, c.before, c.after) for c in events[0].changes} == {
        ("state", "Assigned", "Unassigned"),
        ("actual owner", "bob", "nobody"),
    }


def test_a_long_history_has_pages(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    for _ in range(30):
        actions.claim([task.pk], call=call_by(cast.bob))
        actions.release([task.pk], call=call_by(cast.bob))
    client = client_of(cast.bob)
    first = client.get(page_of(task)).context
    assert [event.version for event in first["events"]] == list(range(61, 11, -1))
    rest = client.get(f"{page_of(task)}?before={first['older']}").context
    assert [event.version for event in rest["events"]] == list(range(11, 0, -1))
    assert rest["older"] is None
    assert client.get(f"{page_of(task)}?before=x").status_code == 400


def test_times_are_those_of_the_account(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, due_at=timezone.now().replace(hour=12, minute=0))
    assert b", 12:00" in client_of(cast.alice).get(page_of(task)).content
    cast.alice.time_zone = "Asia/Tokyo"
    cast.alice.save()
    assert b", 21:00" in client_of(cast.alice).get(page_of(task)).content


def buttons(user: Any, task: Task) -> dict[str, str]:
    context = client_of(user).get(page_of(task)).context
    return {button.name: button.why_not for button in (*context["buttons"], *context["more"])}


def test_buttons_say_why_not(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    assert buttons(cast.erin, task) == {}
    assert buttons(cast.bob, task)["claim"] == ""
    assert "Unassigned" in buttons(cast.bob, task)["release"]
    actions.claim([task.pk], call=call_by(cast.bob))
    assert buttons(cast.alice, task)["release"] == ""
    assert "Assigned" in buttons(cast.alice, task)["claim"]
    assert "bob" in buttons(cast.bob, task)["claim"]
    offered = set(buttons(cast.bob, task))
    assert offered > {"claim", "complete", "release", "transfer", "suspend", "comment"}
    assert not offered & {"resume", "exit", "remove", "retry"}


def press(user: Any, task: Task, name: str) -> tuple[Client, Any]:
    client = client_of(user)
    forms = forms_of(client.get(page_of(task)))
    (form,) = [form for form in forms if form["attrs"]["action"].endswith(f"/do/{name}/")]
    return client, client.post(form["attrs"]["action"], form["fields"])


def test_claim_and_release_by_button(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    _, response = press(cast.bob, task, "claim")
    assert response["Location"] == page_of(task)
    task.refresh_from_db()
    assert (task.state, task.owner, task.version) == ("reserved", cast.bob, 2)
    press(cast.bob, task, "release")
    task.refresh_from_db()
    assert (task.state, task.owner, task.version) == ("ready", None, 3)
    events = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
    assert [(event.event, event.channel) for event in events][1:] == [
        ("claimed", "admin"),
        ("released", "admin"),
    ]
    assert OutboxEvent.objects.count() == events.count() == 3


def test_a_button_that_came_too_late_says_so(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = client_of(cast.bob)
    actions.claim([task.pk], call=call_by(cast.alice))
    page = client.post(f"{LIST}{task.pk}/do/claim/", follow=True)
    assert "does not allow claim" in page.content.decode()
    task.refresh_from_db()
    assert (task.owner, task.version) == (cast.alice, 2)


def test_releasing_what_a_colleague_holds_asks_why(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    actions.claim([task.pk], call=call_by(cast.bob))
    client, asked = press(cast.alice, task, "release")
    assert stored(asked).status == "draft"
    assert fill(client, asked).status_code == 400
    previewed = fill(client, asked, reason="He is ill.")
    fill(client, previewed)
    task.refresh_from_db()
    assert (task.state, task.version) == ("ready", 3)
    assert AuditEvent.objects.get(task_id=task.pk, version=3).reason == "He is ill."


def test_nothing_changes_by_get(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = client_of(cast.bob)
    for name in ("claim", "release", "transfer"):
        for method in ("get", "head", "options", "put", "delete"):
            assert getattr(client, method)(f"{LIST}{task.pk}/do/{name}/").status_code == 405
    client.get(LIST, {"action": "release", "_selected_action": str(task.pk), "index": "0"})
    task.refresh_from_db()
    assert task.version == 1


def test_a_post_without_csrf_token_changes_nothing(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = client_of(cast.bob, enforce_csrf_checks=True)
    assert client.post(f"{LIST}{task.pk}/do/claim/").status_code == 403
    task.refresh_from_db()
    assert task.version == 1


def test_an_excluded_account_sees_no_more_than_its_roles(cast: Cast) -> None:
    people_of = {TaskRole.EXCLUDED_OWNER: [reference(cast.frank)]}
    task = make_task(cast.dave, cast.noc, people_of=people_of)
    assert client_of(cast.frank).get(page_of(task)).status_code == 404


# --- Looking up people ---------------------------------------------------------------------------


def looked_up(client: Client, url: str, field: str = "owner", term: str = "") -> Any:
    source = ("tasks", "task") if field == "owner" else ("tasks", "taskgrouprole")
    parameters = {"app_label": source[0], "model_name": source[1], "field_name": field}
    return client.get(url, {**parameters, "term": term})


def test_targets_are_active_and_holders_may_have_left(cast: Cast) -> None:
    UserFactory(username="bo-leaver", is_active=False)
    client = client_of(cast.alice)
    targets = looked_up(client, "/admin/autocomplete/", term="bo").json()["results"]
    holders = looked_up(client, f"{LIST}holders/", term="bo").json()["results"]
    assert [each["text"] for each in targets] == ["bob"]
    assert [each["text"] for each in holders] == ["bo-leaver (inactive)", "bob"]
    groups = looked_up(client, "/admin/autocomplete/", "group", "noc").json()["results"]
    assert [each["text"] for each in groups] == ["noc"]


def test_looking_up_needs_its_permission(cast: Cast) -> None:
    role = Role.objects.get(name="operations")
    role.permissions.remove(*role.permissions.filter(codename__in=["view_user", "view_group"]))
    client = client_of(cast.alice)
    for field in ("owner", "group"):
        for url in ("/admin/autocomplete/", f"{LIST}holders/"):
            assert looked_up(client, url, field).status_code == 403
    page = client.get(f"{LIST}?owner={cast.bob.pk}").content.decode()
    assert "bob" not in page
    assert 'value="transfer"' not in client.get(LIST).content.decode()
