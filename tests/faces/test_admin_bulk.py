"""Operations on many tasks through the admin's page: chosen, told, looked at, confirmed, read."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.test import Client

from accounts.models import Membership, Role
from tasks import actions, errors, work_items
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task, TaskGroupRole
from tests.conftest import Cast
from tests.factories import GroupFactory, UserFactory, call_by, make_task, make_tasks, reference

from .admin_pages import LIST, client_of, fill, forms_of, page_of, select, stored

pytestmark = pytest.mark.django_db

BULKS = "/admin/tasks/bulkoperation/"


def held_by_bob(cast: Cast, count: int, **fields: Any) -> list[UUID]:
    """Tasks of the team that bob holds."""
    ids = [task.pk for task in make_tasks(count, cast.dave, [cast.noc], **fields)]
    assert len(actions.claim(ids, call=call_by(cast.bob, bulk=False)).done) == count
    return ids


def owners(ids: list[UUID]) -> set[str | None]:
    return set(Task.objects.filter(pk__in=ids).values_list("owner__username", flat=True))


def versions(ids: list[UUID]) -> list[int]:
    return list(Task.objects.filter(pk__in=ids).order_by("pk").values_list("version", flat=True))


def hand_over(client: Client, cast: Cast, ids: list[Any], **more: Any) -> Any:
    """From the list to the preview: hand over what bob holds to alice."""
    told = {"from_user": cast.bob.pk, "to_user": cast.alice.pk, "reason": "bob leaves", **more}
    return fill(client, select(client, "transfer", ids), **told)


# --- Who is offered what -------------------------------------------------------------------------


WORK = """claim complete release transfer suspend resume start stop assign delegate forward
    suspend_and_release comment skip""".split()
MAKING = ["set_priority", "activate", "exit"]
ADMINISTERING = ["reopen", "remove"]
MENUS = {
    "alice": {*WORK},
    "bob": {*WORK},
    "carol": {*WORK, *MAKING},
    "dave": {*WORK, *MAKING, *ADMINISTERING},
    "erin": set(),
    "svc_reader": set(),
    "root": {*WORK, *MAKING, *ADMINISTERING, "retry"},
}


@pytest.mark.parametrize("who", MENUS)
def test_the_menu_holds_what_the_account_may_do(cast: Cast, who: str) -> None:
    make_task(cast.dave)
    forms = forms_of(client_of(getattr(cast, who)).get(LIST))
    offered = [option for form in forms for option in form["options"].get("action", []) if option]
    assert set(offered) == MENUS[who]
    assert len(offered) == len(set(offered))


def test_what_is_not_offered_is_refused(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.erin)
    for action in ("release", "transfer"):
        data = {"action": action, "_selected_action": [str(pk) for pk in ids], "index": "0"}
        assert client.post(LIST, data).status_code == 403
    assert not BulkOperation.objects.exists()


def test_an_operation_is_its_actors_alone(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    client = client_of(cast.alice)
    draft = select(client, "transfer", ids)
    plan = hand_over(client, cast, ids)
    for who in (cast.dave, cast.root):
        other = client_of(who)
        for response in (draft, plan):
            assert other.get(response["Location"]).status_code == 404
            assert other.post(response["Location"]).status_code == 404
        assert other.get(BULKS).context["cl"].result_count == 0
    assert client.get(BULKS).context["cl"].result_count == 1
    assert client.get(f"{BULKS}{uuid4()}/").status_code == 404
    assert client.get(f"{BULKS}nothing/").status_code == 404


# --- The main job --------------------------------------------------------------------------------


def test_release_through_the_page(cast: Cast) -> None:
    ids = held_by_bob(cast, 5)
    client = client_of(cast.alice)
    draft = select(client, "release", ids)
    assert stored(draft).status == "draft"
    plan = fill(client, draft, reason="bob is ill")
    assert owners(ids) == {"bob"}
    assert stored(plan).status == "planned"
    assert "5 will be released" in client.get(plan["Location"]).content.decode()
    result = fill(client, plan)
    assert owners(ids) == {None}
    assert versions(ids) == [3] * 5
    operation = stored(result)
    assert (operation.status, operation.done_count, operation.refused) == ("done", 5, {})
    events = AuditEvent.objects.filter(operation_id=operation.pk)
    assert {(e.event, e.actor, e.channel, e.reason) for e in events} == {
        ("released", "alice", "admin", "bob is ill")
    }
    assert events.count() == 5
    assert OutboxEvent.objects.count() == AuditEvent.objects.count()
    assert "5 of 5 released" in client.get(result["Location"]).content.decode()


def test_hand_over_tells_what_will_and_what_will_not(cast: Cast) -> None:
    ids = held_by_bob(cast, 20)
    actions.complete(ids[:1], call=call_by(cast.bob))
    free = make_task(cast.dave, cast.noc)
    not_for_alice = held_by_bob(cast, 1)
    actions.grant(
        not_for_alice, call=call_by(cast.dave), role="excluded_owner", to=reference(cast.alice)
    )
    hidden = make_task(cast.dave, cast.field)
    unknown = uuid4()
    own = make_task(cast.dave, cast.noc)
    actions.claim([own.pk], call=call_by(cast.alice))
    all_ids = [*ids, free.pk, *not_for_alice, hidden.pk, unknown]
    client = client_of(cast.alice)
    plan = hand_over(client, cast, all_ids)
    preview = client.get(plan["Location"]).context["preview"]
    assert preview.done.count == 19
    assert len(preview.done.first) == 10
    assert [(batch.count, batch.reason) for batch in preview.refused] == [
        (2, "It is not there any more, or not for you."),
        (1, "A task that is “Done” does not allow transfer."),
        (1, "A task that is “Unassigned” does not allow transfer."),
        (1, "alice cannot receive this task: excluded from working on it."),
    ]
    assert [line.name for line in preview.refused[0].first] == [None, None]
    assert [(load.who, load.now, load.then) for load in preview.loads] == [
        ("alice", 1, 20),
        ("bob", 20, 1),
    ]
    before = versions([hidden.pk, free.pk, *ids[:1]])
    result = fill(client, plan)
    assert owners(ids[1:]) == {"alice"}
    assert owners(not_for_alice) == {"bob"}
    assert versions([hidden.pk, free.pk, *ids[:1]]) == before
    operation = stored(result)
    assert (operation.done_count, len(operation.refused)) == (19, 5)
    page = client.get(result["Location"]).context
    assert page["done"].count == 19
    assert sum(batch.count for batch in page["refused"]) == 5
    assert AuditEvent.objects.filter(operation_id=operation.pk).count() == 19
    assert OutboxEvent.objects.count() == AuditEvent.objects.count()


def test_the_preview_warns_of_owners_from_elsewhere(cast: Cast) -> None:
    ids = held_by_bob(cast, 3)
    client = client_of(cast.dave)
    plan = hand_over(client, cast, ids, to_user=cast.carol.pk)
    assert client.get(plan["Location"]).context["preview"].strangers == 3
    plan = hand_over(client, cast, ids)
    assert client.get(plan["Location"]).context["preview"].strangers == 0


def test_left_empty_from_means_me(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.bob)
    plan = fill(client, select(client, "transfer", ids), to_user=cast.alice.pk)
    fill(client, plan)
    assert owners(ids) == {"alice"}


def test_the_only_holder_is_proposed(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.alice)
    (form,) = forms_of(client.get(select(client, "transfer", ids)["Location"]))
    assert form["fields"]["from_user"] == [str(cast.bob.pk)]


def test_other_roles_and_groups(cast: Cast) -> None:
    Membership.objects.create(user=cast.frank, group=cast.change_board)
    ids = [task.pk for task in make_tasks(3, cast.dave, [cast.noc])]
    client = client_of(cast.alice)
    told = {"role": "potential_owner", "from_group": cast.noc.pk}
    plan = fill(client, select(client, "transfer", ids), **told, to_group=cast.change_board.pk)
    loads = client.get(plan["Location"]).context["preview"].loads
    assert [(load.who, load.now, load.then) for load in loads] == [
        ("change-board (group)", 0, 3),
        ("noc (group)", 3, 0),
    ]
    result = fill(client, plan)
    groups = TaskGroupRole.objects.filter(
        content_object__in=ids, permission__codename="potential_owner"
    )
    assert set(groups.values_list("group__name", flat=True)) == {"change-board"}
    # Alice has given away what she saw them by: the result stays hers to read, without names.
    page = client.get(result["Location"])
    assert "3 of 3 handed over" in page.content.decode()
    assert [line.name for line in page.context["done"].first] == [None] * 3


# --- What is done is what was confirmed ----------------------------------------------------------


def test_what_changed_since_the_preview_is_left_alone(cast: Cast) -> None:
    ids = held_by_bob(cast, 4)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    actions.release(ids[:1], call=call_by(cast.bob))
    actions.claim(ids[:1], call=call_by(cast.bob))
    assert owners(ids) == {"bob"}
    page = client.get(plan["Location"]).context["preview"]
    assert [(batch.count, batch.reason) for batch in page.refused] == [
        (1, "It was changed meanwhile.")
    ]
    result = fill(client, plan)
    assert owners(ids[:1]) == {"bob"}
    assert owners(ids[1:]) == {"alice"}
    assert stored(result).refused[str(ids[0])]["code"] == "stale_task"


def test_tasks_that_come_up_later_are_not_taken_along(cast: Cast) -> None:
    held_by_bob(cast, 2)
    client = client_of(cast.alice)
    query = f"?owner={cast.bob.pk}"
    draft = select(client, "transfer", [], query, select_across="1")
    later = held_by_bob(cast, 1)
    plan = fill(client, draft, to_user=cast.alice.pk)
    fill(client, plan)
    assert len(stored(plan).ids) == 2
    assert owners(later) == {"bob"}


def test_confirming_twice_changes_once(cast: Cast) -> None:
    ids = held_by_bob(cast, 3)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    (form,) = forms_of(client.get(plan["Location"]))
    for _ in range(3):
        assert client.post(plan["Location"], form["fields"]).status_code == 302
    assert versions(ids) == [3] * 3
    page = client.get(plan["Location"]).content.decode()
    assert "3 of 3 handed over" in page
    assert "carried out already" in page


def test_two_confirmations_at_once_change_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = held_by_bob(cast, 3)
    client, other = client_of(cast.alice), client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    carry_out = actions.carry_out

    def overtaken(operation: BulkOperation, **more: Any) -> Any:
        monkeypatch.setattr(actions, "carry_out", carry_out)
        other.post(plan["Location"])
        return carry_out(operation, **more)

    monkeypatch.setattr(actions, "carry_out", overtaken)
    assert client.post(plan["Location"]).status_code == 302
    assert versions(ids) == [3] * 3
    assert stored(plan).done_count == 3


def test_going_back_and_telling_anew_leaves_two_plans_that_each_do_what_they_showed(
    cast: Cast,
) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.dave)
    draft = select(client, "transfer", ids)
    first = fill(client, draft, from_user=cast.bob.pk, to_user=cast.alice.pk, reason="one")
    back = client.get(f"{draft['Location']}?plan={stored(first).pk}")
    (form,) = forms_of(back)
    assert form["fields"]["to_user"] == [str(cast.alice.pk)]
    assert "one" in back.content.decode()
    fill(client, draft, from_user=cast.bob.pk, to_user=cast.carol.pk, reason="two")
    fill(client, first)
    assert owners(ids) == {"alice"}


def test_nothing_changes_by_get(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.alice)
    draft = select(client, "transfer", ids)
    plan = hand_over(client, cast, ids)
    for response in (draft, plan):
        for query in ("", "?confirm=1&number=2"):
            url = response["Location"].split("?")[0] + query
            assert client.get(url).status_code == 200
            assert client.head(url).status_code == 200
            for method in ("put", "patch", "delete", "options"):
                assert getattr(client, method)(url).status_code == 405
    assert versions(ids) == [2, 2]
    assert not BulkOperation.objects.exclude(status__in=["draft", "planned"]).exists()


def test_confirming_needs_the_csrf_token(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    plan = hand_over(client_of(cast.alice), cast, ids)
    strict = client_of(cast.alice, enforce_csrf_checks=True)
    assert strict.post(plan["Location"]).status_code == 403
    assert versions(ids) == [2, 2]


def test_rights_lost_before_confirming_are_lost(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    cast.alice.memberships.update(lead=False)
    result = fill_anyway(client, plan)
    assert owners(ids) == {"bob"}
    assert {each["code"] for each in stored(result).refused.values()} == {"not_authorized"}


def fill_anyway(client: Client, plan: Any) -> Any:
    """Confirm from a page that was loaded before."""
    return client.post(plan["Location"])


def test_a_target_that_left_before_confirming(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.dave)
    plan = hand_over(client, cast, ids, to_user=cast.carol.pk)
    cast.carol.is_active = False
    cast.carol.save()
    response = client.post(plan["Location"])
    assert response.status_code == 400
    assert "carol is inactive" in response.content.decode()
    assert client.get(plan["Location"]).status_code == 400
    assert versions(ids) == [2, 2]
    assert stored(plan).status == "planned"


# --- Any number of rows --------------------------------------------------------------------------


def test_more_than_a_thousand_selected_rows(cast: Cast) -> None:
    ids = held_by_bob(cast, 1200)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    page = client.get(plan["Location"]).content.decode()
    assert page.count("<input") < 10  # not one for each row
    assert fill(client, plan, number="1200").status_code == 302
    assert owners(ids) == {"alice"}


def test_select_all_takes_what_the_filters_show(cast: Cast) -> None:
    ids = held_by_bob(cast, 1100)
    others = make_tasks(3, cast.dave, [cast.noc])
    actions.claim([others[0].pk], call=call_by(cast.alice))
    client = client_of(cast.alice)
    draft = select(client, "release", ids[:1], f"?owner={cast.bob.pk}&view=open", select_across="1")
    plan = fill(client, draft, reason="bob left")
    assert set(stored(plan).ids) == set(ids)
    for wrong in ("", "1101", "0", "x" * 5000):
        answer = fill(client, plan, number=wrong)
        assert answer.status_code == 400
        assert "Type 1100 to confirm" in answer.content.decode()
    assert versions(ids[:1]) == [2]
    fill(client, plan, number=" 1100 ")
    assert owners(ids) == {None}
    assert versions([others[0].pk]) == [2]


def test_the_typed_number_is_that_of_the_moment(cast: Cast) -> None:
    ids = held_by_bob(cast, 502)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    actions.release(ids[:1], call=call_by(cast.bob))
    answer = fill_number(client, plan, "502")
    assert answer.status_code == 400
    assert answer.context["preview"].done.count == 501
    assert fill(client, plan, number="501").status_code == 302
    assert stored(plan).done_count == 501


def fill_number(client: Client, plan: Any, number: str) -> Any:
    """Confirm from a page that was loaded before, with the number it showed."""
    return client.post(plan["Location"], {"number": number})


def test_an_interrupted_operation_is_continued(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = held_by_bob(cast, 7)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    monkeypatch.setattr("tasks.actions.units.UNIT", 3)
    lock, locked = work_items.lock, []

    def failing(*args: Any, locking: bool = True, **more: Any) -> Any:
        locked.append(locking)
        if locked.count(True) == 2 and locking:
            raise OperationalError("busy")
        return lock(*args, locking=locking, **more)

    monkeypatch.setattr(work_items, "lock", failing)
    client.post(plan["Location"])
    operation = stored(plan)
    assert (operation.status, operation.processed, operation.done_count) == ("running", 3, 3)
    assert "4 tasks have not been dealt with yet" in client.get(plan["Location"]).content.decode()
    fill(client, plan)
    operation.refresh_from_db()
    assert (operation.status, operation.processed, operation.done_count) == ("done", 7, 7)
    assert versions(ids) == [3] * 7


def test_the_bulk_limit_is_told_first(cast: Cast) -> None:
    ids = held_by_bob(cast, 3)
    Role.objects.filter(name="operations").update(bulk_limit=2)
    client = client_of(cast.alice)
    for selected, across in ((ids, "0"), ([], "1")):
        response = select(client, "release", selected, select_across=across)
        assert response.status_code == 413
        text = "3 tasks are more than the 2 that one call of yours may take."
        assert text in response.content.decode()
    assert not BulkOperation.objects.exists()
    assert select(client, "release", ids[:2]).status_code == 302


def test_the_bulk_limit_holds_at_every_step(cast: Cast) -> None:
    ids = held_by_bob(cast, 3)
    client = client_of(cast.alice)
    draft = select(client, "transfer", ids)
    plan = hand_over(client, cast, ids)
    Role.objects.filter(name="operations").update(bulk_limit=2)
    told = {"from_user": cast.bob.pk, "to_user": cast.alice.pk}
    assert fill(client, draft, **told).status_code == 413
    assert client.get(plan["Location"]).status_code == 413
    assert client.post(plan["Location"]).status_code == 413
    assert versions(ids) == [2] * 3


# --- Input that makes no sense -------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        {"select_across": "2"},
        {"select_across": "yes"},
        {"select_across": ""},
        {"select_across": ["0", "1"]},
        {"select_across": "1\0"},
        {"action": "nothing"},
        {"action": "delete_selected"},
        {"action": "claim\0"},
        {"_selected_action": "nothing"},
        {"_selected_action": "1"},
        {"_selected_action": "\0"},
        {"_selected_action": ["", ""]},
        {"_selected_action": "{00000000-0000-7000-8000-000000000000}"},
        {"_selected_action": "urn:uuid:00000000-0000-7000-8000-000000000000"},
    ],
)
def test_malformed_selections_are_refused(cast: Cast, sent: dict[str, Any]) -> None:
    ids = held_by_bob(cast, 1)
    data = {
        "action": "release",
        "select_across": "0",
        "_selected_action": [str(ids[0])],
        "index": "0",
        **sent,
    }
    response = client_of(cast.alice).post(LIST, data)
    assert response.status_code == 400
    assert "Human tasks" in response.content.decode()
    assert not BulkOperation.objects.exists()


def test_choosing_nothing_says_so(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    client = client_of(cast.alice)
    for data in (
        {"action": "", "_selected_action": [str(ids[0])]},
        {"action": "release", "select_across": "0"},
        {},
    ):
        page = client.post(LIST, data, follow=True)
        assert "nothing was changed" in page.content.decode()
    assert not BulkOperation.objects.exists()


def test_the_same_task_twice_counts_once(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    client = client_of(cast.alice)
    draft = select(client, "release", [ids[0], ids[0], str(ids[0]).upper()])
    assert stored(draft).ids == ids


def test_what_is_wrong_with_the_call_is_said_in_the_form(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    client = client_of(cast.dave)
    draft = select(client, "transfer", ids)
    gone = UserFactory(username="gone", is_active=False)
    empty = GroupFactory(name="empty")
    bob, alice, noc = cast.bob.pk, cast.alice.pk, cast.noc.pk
    for field, told in (
        ("to_user", {"from_user": bob, "to_user": bob}),
        ("to_user", {"from_user": bob, "to_user": gone.pk}),
        ("to_user", {"from_user": bob, "to_user": 10**9}),
        ("to_user", {"from_user": bob, "to_user": "x"}),
        ("to_user", {"from_user": bob, "to_user": ""}),
        ("to_group", {"from_user": bob, "to_user": alice, "to_group": noc}),
        ("to_group", {"from_user": bob, "to_group": noc}),
        ("to_group", {"role": "reader", "from_group": noc, "to_group": empty.pk}),
        ("to_user", {"role": "reader", "from_group": noc, "to_user": alice}),
        ("from_user", {"role": "reader", "to_user": alice}),
        ("from_group", {"from_user": bob, "from_group": noc, "to_user": alice}),
        ("role", {"role": "excluded_owner", "from_user": bob, "to_user": alice}),
        ("reason", {"from_user": bob, "to_user": alice, "reason": "x" * 2001}),
        ("reason", {"from_user": bob, "to_user": alice, "reason": "x\0"}),
    ):
        response = fill(client, draft, **{"from_user": "", "to_user": "", **told})
        assert response.status_code == 400, told
        assert field in response.context["form"].errors, told
    assert not BulkOperation.objects.filter(status="planned").exists()
    assert versions(ids) == [2]


def test_a_draft_cannot_be_carried_out(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    draft = stored(select(client_of(cast.bob), "release", ids))
    with pytest.raises(errors.InvalidArgument):
        actions.carry_out(draft, call=call_by(cast.bob))
    assert versions(ids) == [2]


def test_leftovers_are_cleared_away(cast: Cast) -> None:
    ids = held_by_bob(cast, 1)
    client = client_of(cast.alice)
    old = [stored(select(client, "release", ids)), stored(hand_over(client, cast, ids))]
    done = hand_over(client, cast, ids)
    fill(client, done)
    BulkOperation.objects.update(created_at="2020-01-01T00:00Z")
    select(client, "release", ids)
    left = set(BulkOperation.objects.values_list("pk", flat=True))
    assert stored(done).pk in left
    assert not left & {each.pk for each in old}


def test_the_result_links_to_the_tasks(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    client = client_of(cast.alice)
    plan = hand_over(client, cast, ids)
    fill(client, plan)
    page = client.get(plan["Location"]).content.decode()
    for task in Task.objects.filter(pk__in=ids):
        assert page_of(task) in page
    assert re.search(r"<dt>From</dt><dd><bdi>bob</bdi>", page)


def test_an_operation_of_another_face_is_readable_here(cast: Cast) -> None:
    ids = held_by_bob(cast, 2)
    call = call_by(cast.alice, bulk=True)
    actions.transfer(
        ids, call=call, role="owner", to=reference(cast.alice), from_=reference(cast.bob)
    )
    page = client_of(cast.alice).get(f"{BULKS}{call.operation_id}/")
    assert "2 of 2 handed over" in page.content.decode()
    actions.cancel_claim(ids, call=(other := call_by(cast.alice, bulk=True)))
    page = client_of(cast.alice).get(f"{BULKS}{other.operation_id}/")
    assert "Cancel claim" in page.content.decode()


# --- Undo ----------------------------------------------------------------------------------------


def test_what_was_done_is_undone_with_a_preview(cast: Cast) -> None:
    client = client_of(cast.alice)
    moved_on, *others = ids = held_by_bob(cast, 3)
    plan = hand_over(client, cast, ids)
    done = fill(client, plan)
    assert owners(ids) == {"alice"}
    actions.release([moved_on], call=call_by(cast.alice))
    (form,) = forms_of(client.get(done["Location"]))
    before = versions(ids)
    undoing = client.post(f"{BULKS}{stored(done).pk}/undo/", form["fields"])
    page = client.get(undoing["Location"]).content.decode()
    assert f'<a href="{BULKS}{stored(done).pk}/">Hand over, <time' in page
    assert "2 will be put back" in page
    assert "1 will not" in page
    assert versions(ids) == before
    after = client.get(fill(client, undoing)["Location"]).content.decode()
    assert "2 of 3 put back" in after
    assert owners(others) == {"bob"}
    assert owners([moved_on]) == {None}


def test_only_what_is_ones_own_and_can_be_undone_is_offered_for_undo(cast: Cast) -> None:
    (pk,) = held_by_bob(cast, 1)
    call = call_by(cast.alice, bulk=True)
    commented = actions.ACTIONS["comment"]([pk], call=call, text="so").operation_id
    client = client_of(cast.alice)
    assert b"undo/" not in client.get(f"{BULKS}{commented}/").content
    refused = client.post(f"{BULKS}{commented}/undo/", follow=True)
    assert b"cannot be undone" in refused.content
    assert client.get(f"{BULKS}{commented}/undo/").status_code == 405
    assert client_of(cast.bob).post(f"{BULKS}{commented}/undo/").status_code == 404
    assert not BulkOperation.objects.filter(operation="undo").exists()
