"""The native API against bad input and odd requests: always a problem document, never a change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.lifecycle import State
from tests.conftest import Cast
from tests.core.cases import CASES
from tests.factories import make_task

from .native_client import MISSING, TASKS, Api, assert_problem, bulk_path, everything, task_path

DEEP = "[" * 65 + "]" * 65

BAD_BODIES = {
    "whitespace": (b" ", "empty_body"),
    "array": (b"[]", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "text": (b'"x"', "not_an_object"),
    "number": (b"7", "not_an_object"),
    "not JSON": (b"{'a': 1}", "invalid_json"),
    "cut off": (b'{"name": "x"', "invalid_json"),
    "two documents": (b"{} {}", "invalid_json"),
    "duplicate key": (b'{"reason": "a", "reason": "b"}', "duplicate_key"),
    "NUL": (b'{"reason": "a\\u0000"}', "nul_character"),
    "NUL in a key": (b'{"a\\u0000": 1}', "nul_character"),
    "lone surrogate": (b'{"reason": "\\ud800"}', "lone_surrogate"),
    "surrogate in a key": (b'{"\\udfff": 1}', "lone_surrogate"),
    "NaN": (b'{"output": NaN}', "not_a_number"),
    "Infinity": (b'{"output": [-Infinity]}', "not_a_number"),
    "1e400": (b'{"output": 1e400}', "number_out_of_range"),
    "65 bits": (b'{"output": 9223372036854775808}', "number_out_of_range"),
    "too deep": (b'{"output": ' + DEEP.encode() + b"}", "too_deep"),
    "too many keys": (
        json.dumps({"output": {str(n): n for n in range(2001)}}).encode(),
        "too_many_keys",
    ),
    "not UTF-8": (b'{"reason": "\xff"}', "invalid_utf8"),
    "UTF-16": ('{"reason": "x"}'.encode("utf-16"), "invalid_utf8"),
    "BOM": (b"\xef\xbb\xbf{}", "byte_order_mark"),
    "long text": (b'{"reason": "' + b"x" * 65_537 + b'"}', "string_too_long"),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
@pytest.mark.parametrize("route", ["single", "bulk", "create"])
def test_bad_bodies_are_refused_on_every_route(cast: Cast, kind: str, route: str) -> None:
    body, code = BAD_BODIES[kind]
    task = make_task(cast.carol, cast.noc)
    path = {
        "single": task_path(task.pk, "finish"),
        "bulk": bulk_path("finish"),
        "create": TASKS,
    }[route]
    before = everything()
    assert_problem(Api(cast.dave).post(path, body), 400, code)
    assert everything() == before


def test_a_pointer_leads_to_the_offence(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    path = task_path(task.pk, "finish")
    document = assert_problem(
        Api(cast.bob).post(path, b'{"output": {"a/b": ["x\\u0000"]}}'), 400, "nul_character"
    )
    assert document["errors"][0]["pointer"] == "/output/a~1b/0"
    document = assert_problem(
        Api(cast.bob).post(path, {"a~/b": 1, "reason": 7}), 400, "invalid_body"
    )
    assert [(error["pointer"], error["code"]) for error in document["errors"]] == [
        ("/a~0~1b", "unknown_field"),
        ("/reason", "invalid"),
    ]
    document = assert_problem(Api(cast.bob).post(path, {"x" * 60_000: 1}), 400, "invalid_body")
    assert len(document["errors"][0]["pointer"]) == 1000


@pytest.mark.parametrize(
    ("name", "body", "pointer", "code"),
    [
        ("assign", {}, "/to", "required"),
        ("assign", {"to": None}, "/to", "null"),
        ("assign", {"to": "bob"}, "/to", "invalid"),
        ("assign", {"to": []}, "/to", "invalid"),
        ("assign", {"to": {}}, "/to", "one_of_two"),
        ("assign", {"to": {"user": "bob", "group": "noc"}}, "/to", "one_of_two"),
        ("assign", {"to": {"user": ""}}, "/to/user", "blank"),
        ("assign", {"to": {"user": 7}}, "/to/user", "invalid"),
        ("assign", {"to": {"user": "x" * 151}}, "/to/user", "max_length"),
        ("assign", {"to": {"name": "bob", "user": "bob"}}, "/to/name", "unknown_field"),
        ("assign", {"to": {"user": "bob"}, "from": {"user": "x"}}, "/from", "unknown_field"),
        ("transfer", {"to": {"user": "bob"}}, "/role", "required"),
        ("transfer", {"role": 1, "to": {"user": "bob"}}, "/role", "invalid"),
        ("transfer", {"role": "owner", "to": {"user": "bob"}, "from": None}, "/from", "null"),
        (
            "transfer",
            {"role": "owner", "to": {"user": "bob"}, "from_": {"user": "x"}},
            "/from_",
            "unknown_field",
        ),
        ("grant", {"role": "reader"}, "/to", "required"),
        ("revoke", {"role": "reader"}, "/from", "required"),
        ("finish", {"finish_state": True}, "/finish_state", "invalid"),
        ("nominate", {}, "/people", "required"),
        ("nominate", {"people": []}, "/people", "invalid"),
        ("nominate", {"people": {"user": "bob"}}, "/people/user", "unknown_field"),
        ("nominate", {"people": {"users": ["bob", None]}}, "/people/users/1", "null"),
        ("delegate", {}, "/to", "required"),
        ("forward", {"to": {"user": "bob"}, "from": "me"}, "/from", "invalid"),
        ("suspend", {"until": "tomorrow"}, "/until", "invalid"),
        ("suspend", {"until": "2040-01-01T00:00:00"}, "/until", "invalid"),
        ("suspend", {"until": 2208988800}, "/until", "invalid"),
        ("suspend", {"keep_data": True}, "/keep_data", "unknown_field"),
        ("suspend_and_release", {"keep_data": "yes"}, "/keep_data", "invalid"),
        ("suspend_and_release", {"keep_data": None}, "/keep_data", "null"),
        ("resume", {"until": None}, "/until", "unknown_field"),
        ("save_output", {}, "/output", "required"),
        ("save_fault", {"fault_name": 7}, "/fault_name", "invalid"),
        ("fail", {"fault_name": None}, "/fault_name", "null"),
        ("raise_error", {"error": {}}, "/error", "unknown_field"),
        ("set_priority", {}, "/priority", "required"),
        ("set_priority", {"priority": "1"}, "/priority", "invalid"),
        ("set_priority", {"priority": None}, "/priority", "null"),
        ("comment", {}, "/text", "required"),
        ("comment", {"text": ""}, "/text", "blank"),
        ("comment", {"text": ["x"]}, "/text", "invalid"),
        ("attach", {"name": "x"}, "/content", "required"),
        ("attach", {"content": "YQ=="}, "/name", "required"),
        ("attach", {"name": "x", "content": "YQ="}, "/content", "invalid"),
        ("attach", {"name": "x", "content": "Y Q=="}, "/content", "invalid"),
        ("attach", {"name": "x", "content": "ä"}, "/content", "invalid"),
        ("attach", {"name": "x", "content": 7}, "/content", "invalid"),
        ("attach", {"name": "x", "content": "YQ==", "file": "x"}, "/file", "unknown_field"),
        ("update", {}, "", "required"),
        ("update", {"reason": "none"}, "", "required"),
        ("update", {"values": {"name": "x"}}, "/values", "unknown_field"),
        ("update", {"state": "completed"}, "/state", "read_only"),
        ("update", {"flags": {"skippable": True}}, "/flags", "read_only"),
        ("update", {"permitted_operations": []}, "/permitted_operations", "read_only"),
        ("update", {"name": None}, "/name", "null"),
        ("update", {"name": "x" * 256}, "/name", "max_length"),
        ("update", {"priority": "1"}, "/priority", "invalid"),
        ("update", {"due_at": "2040-01-01"}, "/due_at", "invalid"),
        ("update", {"custom_properties": None}, "/custom_properties", "null"),
        ("update", {"skippable": 1}, "/skippable", "invalid"),
        ("claim", {"output": {}}, "/output", "unknown_field"),
        ("claim", {"reason": ["x"]}, "/reason", "invalid"),
    ],
)
def test_arguments_are_checked_singly_and_in_bulk(
    cast: Cast, name: str, body: dict[str, Any], pointer: str, code: str
) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    for path, more in (
        (task_path(task.pk, name), {}),
        (bulk_path(name), {"ids": [str(task.pk)]}),
    ):
        document = assert_problem(Api(cast.dave).post(path, {**body, **more}), 400, "invalid_body")
        ((error),) = document["errors"]
        assert (error["pointer"], error["code"]) == (pointer, code)
    assert everything() == before


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("nominate", {"people": {}}, "/people"),
        ("suspend", {"until": "2001-01-01T00:00:00Z"}, "/until"),
        ("set_priority", {"priority": 11}, "/priority"),
        ("comment", {"text": "  "}, "/text"),
        ("fail", {"fault_name": "x" * 256}, "/fault_name"),
        ("raise_error", {"fault_name": "a\u202eb"}, "/fault_name"),
        ("update", {"name": "  "}, "/name"),
        ("update", {"priority": -1}, "/priority"),
        ("update", {"output_schema": {"type": "nonsense"}}, "/output_schema"),
        ("attach", {"name": "../plan", "content": ""}, "/name"),
        ("attach", {"name": "a\\b", "content": ""}, "/name"),
        ("attach", {"name": "..", "content": ""}, "/name"),
        ("attach", {"name": "a\r\nSet-Cookie: x", "content": ""}, "/name"),
        ("attach", {"name": "a\u202egpj.exe", "content": ""}, "/name"),
        ("attach", {"name": "x" * 256, "content": ""}, "/name"),
        ("attach", {"name": "x", "content": "", "content_type": "html"}, "/content_type"),
        ("attach", {"name": "x", "content": "", "content_type": "a/b\r\nX: y"}, "/content_type"),
    ],
)
def test_what_the_core_refuses_is_told_by_pointer(
    cast: Cast, name: str, body: dict[str, Any], pointer: str
) -> None:
    case = next(case for case in CASES if case.name == name)
    task = case.task(cast, State.CREATED if "output_schema" in body else None)
    before = everything()
    api = Api(cast.dave)
    for path, more in (
        (task_path(task.pk, name), {}),
        (bulk_path(name), {"ids": [str(task.pk)]}),
    ):
        document = assert_problem(api.post(path, {**body, **more}), 400, "invalid_argument")
        assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert everything() == before


def test_a_finish_state_that_is_none_is_refused(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    body = {"finish_state": "perhaps"}
    response = Api(cast.bob).post(task_path(task.pk, "finish"), body)
    document = assert_problem(response, 400, "invalid_argument")
    assert document["errors"][0]["pointer"] == "/finish_state"
    assert_problem(Api(cast.frank).post(task_path(task.pk, "finish"), body), 404, "task_not_found")


@pytest.mark.parametrize("member", ["input", "output"])
def test_task_data_may_be_long(cast: Cast, member: str) -> None:
    data = {"configuration": "x" * 1_000_000}
    api = Api(cast.bob if member == "output" else cast.carol)
    if member == "output":
        task = make_task(cast.carol, cast.noc)
        response = api.post(task_path(task.pk, "finish"), {"output": data})
    else:
        response = api.post(TASKS, {"name": "x", "input": data})
    assert response.status_code in (200, 201)
    assert response.json()[member] == data


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json-patch+json",
        "*/*",
        "application/*",
    ],
)
def test_other_content_types_are_refused(cast: Cast, kind: str) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    for path in (task_path(task.pk, "claim"), bulk_path("claim"), TASKS):
        response = Api(cast.dave).send("POST", path, b"{}", kind)
        assert response.status_code == 415, kind
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["code"] in ("unsupported_media_type", "unsupported_charset")
    assert everything() == before


def test_json_may_name_its_charset_and_no_body_needs_no_type(cast: Cast) -> None:
    for kind, body in (
        ("application/json; charset=UTF-8", b"{}"),
        ("Application/JSON", b"{}"),
        ("", b""),
        ("application/x-www-form-urlencoded", b""),
    ):
        task = make_task(cast.carol, cast.noc)
        response = Api(cast.bob).send("POST", task_path(task.pk, "claim"), body, kind)
        assert response.status_code == 200, kind


@pytest.mark.parametrize(
    "pk",
    [
        "x",
        "1",
        "0",
        "-1",
        "bulk",
        "null",
        "01900000000070008000000000000000",
        "{01900000-0000-7000-8000-000000000000}",
        "01900000-0000-7000-8000-00000000000",
        "01900000-0000-7000-8000-0000000000000",
        "01900000-0000-7000-8000-00000000000g",
        "01900000-0000-7000-8000-00000000000٠",
        "01900000-0000-7000-8000-000000000000 ",
        "01900000-0000-7000-8000-000000000000%0A",
        "urn:uuid:01900000-0000-7000-8000-000000000000",
        "' or 1=1 --",
        "_TKI:a.b.c.d",
        "..",
        "%252e",
    ],
)
def test_ids_of_every_wrong_spelling_are_refused_before_anybody_is_asked(
    cast: Cast, pk: str
) -> None:
    for api in (Api(), Api(cast.dave)):
        if pk != "bulk":
            assert_problem(api.post(task_path(pk, "claim")), 400, "invalid_id")
        assert_problem(api.get(task_path(pk)), 400, "invalid_id")


def test_ids_are_read_in_any_case(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    response = Api(cast.bob).post(task_path(str(task.pk).upper(), "claim"))
    assert response.json()["id"] == str(task.pk)


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1",
        "/api/v2/",
        "/api/v1/tasks",
        "/api/v1/nothing/",
        f"/api/v1/tasks/{MISSING}",
        f"/api/v1/tasks/{MISSING}/claim",
        f"/api/v1/tasks/{MISSING}/cancel_claim/",
        f"/api/v1/tasks/{MISSING}/Claim/",
        f"/api/v1/tasks/{MISSING}/claim/again/",
        "/api/v1/tasks/bulk/nothing/",
        "/api/v1//tasks/",
        "/api/<script>",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_paths_are_problems_too(cast: Cast, path: str, method: str) -> None:
    for api in (Api(), Api(cast.bob)):
        api.client.handler.enforce_csrf_checks = True
        response = api.send(method, path, b"{}", "application/json", Accept="text/html")
        document = assert_problem(response, 404, "not_found")
        assert document["errors"] == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", TASKS, "GET, POST, HEAD, OPTIONS"),
        ("DELETE", TASKS, "GET, POST, HEAD, OPTIONS"),
        ("PATCH", TASKS, "GET, POST, HEAD, OPTIONS"),
        ("TRACE", TASKS, "GET, POST, HEAD, OPTIONS"),
        ("BREW", TASKS, "GET, POST, HEAD, OPTIONS"),
        ("POST", "/api/v1/", "GET, HEAD, OPTIONS"),
        ("GET", bulk_path("claim"), "POST, OPTIONS"),
        ("PUT", task_path(MISSING), "GET, PATCH, DELETE, HEAD, OPTIONS"),
        ("POST", task_path(MISSING), "GET, PATCH, DELETE, HEAD, OPTIONS"),
        ("POST", f"{task_path(MISSING)}comments/", "GET, HEAD, OPTIONS"),
        ("POST", f"{task_path(MISSING)}attachments/", "GET, HEAD, OPTIONS"),
        ("DELETE", f"{task_path(MISSING)}attachments/1/", "GET, HEAD, OPTIONS"),
        ("PUT", f"{task_path(MISSING)}permitted-operations/", "GET, HEAD, OPTIONS"),
        ("GET", task_path(MISSING, "claim"), "POST, OPTIONS"),
        ("DELETE", task_path(MISSING, "claim"), "POST, OPTIONS"),
    ],
)
def test_methods_that_do_not_exist(cast: Cast, method: str, path: str, allow: str) -> None:
    response = Api(cast.dave).send(method, path)
    document = assert_problem(response, 405, "method_not_allowed")
    assert response["Allow"] == allow
    assert method in document["detail"]
    assert_problem(Api().send(method, path), 401, "not_authenticated")


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_methods_are_not_overridden(cast: Cast, header: str) -> None:
    response = Api(cast.dave).send("POST", TASKS, b"{}", "application/json", **{header: "GET"})
    assert_problem(response, 400, "method_override")


def test_what_the_guard_refuses_has_this_shape(cast: Cast) -> None:
    api = Api(cast.bob)
    assert_problem(api.get(f"{TASKS}?owner=%00"), 400, "nul_character")
    assert_problem(api.get(f"{TASKS}?owner=%FF"), 400, "invalid_utf8")
    assert_problem(api.get(f"{TASKS}?owner={'x' * 9000}"), 414, "url_too_long")
    assert_problem(api.post(TASKS, b"x" * (10 * 1024 * 1024 + 1)), 413, "body_too_large")
    chunked = api.send("POST", TASKS, b"", "application/json", Transfer_Encoding="chunked")
    assert chunked.status_code in (400, 411)
    assert chunked["Content-Type"] == "application/problem+json"
    packed = api.send("POST", TASKS, b"{}", "application/json", Content_Encoding="gzip")
    assert_problem(packed, 415, "content_encoding")


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("application/json", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/*", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200, "text/html; charset=utf-8"),
        ("application/xml", 406, "application/problem+json"),
        ("image/png", 406, "application/problem+json"),
        ("nonsense", 406, "application/problem+json"),
    ],
)
def test_answers_are_json_or_for_browsers_pages(
    cast: Cast, accept: str, status: int, kind: str
) -> None:
    task = make_task(cast.carol, cast.noc)
    for path in ("/api/v1/", TASKS, task_path(task.pk)):
        response = Api(cast.bob).get(path, Accept=accept)
        assert (response.status_code, response["Content-Type"]) == (status, kind)


def test_query_parameters_are_refused_where_there_are_none(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    for method, path in (
        ("GET", "/api/v1/"),
        ("GET", task_path(task.pk)),
        ("POST", task_path(task.pk, "claim")),
        ("POST", bulk_path("claim")),
        ("POST", TASKS),
    ):
        response = Api(cast.bob).send(method, f"{path}?limit=5")
        assert_problem(response, 400, "invalid_parameter")
    assert everything() == before


def test_options_tell_what_there_is_and_no_more(cast: Cast) -> None:
    response = Api(cast.frank).send("OPTIONS", task_path(MISSING, "claim"))
    assert response.status_code == 200
    assert set(response.json()) == {"name", "description", "renders", "parses"}
    assert_problem(Api().send("OPTIONS", TASKS), 401, "not_authenticated")


@pytest.mark.parametrize("name", ["a\u202eb", "a\x1b[31mb", "\ufeff"])
def test_marks_of_direction_and_control_codes_in_names_are_refused(cast: Cast, name: str) -> None:
    before = everything()
    assert_problem(Api(cast.carol).post(TASKS, {"name": name}), 400, "invalid_argument")
    assert everything() == before


def test_markup_in_names_does_no_harm(cast: Cast) -> None:
    name = "<script>alert(1)</script>'\"&"
    shown = Api(cast.carol).post(TASKS, {"name": name}).json()
    assert shown["name"] == name
    for path in (TASKS, task_path(shown["id"])):
        page = Api(cast.carol).get(path, Accept="text/html").content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_method_that_is_not_there_is_said_before_what_is_wrong_with_the_call(cast: Cast) -> None:
    path = f"{task_path(MISSING, 'claim')}?unknown=1"
    answer = Api(cast.bob).send("PUT", path, If_Match="no tag")
    assert_problem(answer, 405, "method_not_allowed")
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob, **{"Idempotency-Key": "once"})
    assert api.post(task_path(task.pk, "claim")).status_code == 200
    assert_problem(api.send("PUT", task_path(task.pk, "claim")), 405, "method_not_allowed")
