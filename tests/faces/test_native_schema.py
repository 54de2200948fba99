"""The OpenAPI document of the native API: current, served, with examples that run; its pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tasks.api.native import problems
from tasks.api.native.docs import described
from tasks.api.native.schema import Generator
from tasks.api.native.schema.operations import TOLD, told_of
from tasks.errors import reasons
from tests.conftest import Cast
from tests.proof.routes.world import CALLERS, SCENES, World
from tests.proof.wire import Sent, one_connection, send, undone

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def document() -> Any:
    """The document as it is made now."""
    return json.loads(described(basic=False))


def operations(document: Any) -> list[tuple[str, str, Any]]:
    """Method, path and operation of all there are."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_committed_document_is_current(document: Any) -> None:
    validate_schema(document)
    made = OpenApiYamlRenderer().render(document, renderer_context={})
    assert COMMITTED.read_bytes() == made, "make it anew: ./run schema"


def test_every_operation_has_an_id_of_its_own_and_says_how_it_can_fail(document: Any) -> None:
    found = operations(document)
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(set(ids)) == len(ids) > 95
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", one) for one in ids)
    for method, path, operation in found:
        assert operation["description"], path
        assert {"400", "406", "429", "500", "503"} <= operation["responses"].keys()
        assert "security" in operation or path == "/api/oauth/token/"
        if method != "GET" and path not in ("/api/oauth/token/", "/api/v1/tokens/"):
            named = {one.get("$ref", "").rpartition("/")[2] for one in operation["parameters"]}
            assert ("Idempotency-Key" in named) == ("tokens" not in path), path


def test_basic_credentials_stand_in_it_where_the_site_takes_them(settings: Any) -> None:
    settings.NATIVE_BASIC_AUTH = True
    schemes = Generator().get_schema(public=True)["components"]["securitySchemes"]
    assert schemes.keys() == {"basic", "oauth2", "session", "token"}


def test_it_is_served_to_anybody_as_json(db: None, document: Any) -> None:
    answer = Client().get("/api/schema/", headers={"Accept": "application/yaml"})
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json() == document
    assert yaml.safe_load(COMMITTED.read_text()) == document
    wrong = Client().get("/api/schema/?version=2")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_parameter")


def test_an_operation_nobody_has_told_of_is_an_error() -> None:
    class Unknown:
        operation = ""

    with pytest.raises(LookupError, match=r"Unknown\.get"):
        told_of(Unknown(), "get")
    assert all(callable(getattr(view, action)) for view, action in TOLD)


def test_the_examples_run(cast: Cast, document: Any) -> None:
    """Each example is sent for tasks in all states, by several people, until one answers well."""
    world = World(cast)
    with one_connection():
        refused = [
            f"{method} {path}: {told}"
            for method, path, operation in operations(document)
            if (example := _example(operation)) is not None
            and (told := _tried(world, method, path, example)) is not None
        ]
    assert refused == []


def _example(operation: Any) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content["examples"]["example"]["value"] if "examples" in content else None


def _tried(world: World, method: str, path: str, example: Any) -> str | None:
    """What was answered last, where nothing was answered well."""
    told = "nothing"
    for scene in SCENES:
        pk = str(world.task(scene).pk)
        for who in CALLERS:
            body = {**example, "ids": [pk]} if "ids" in example else example
            place = pk if "bulk-operations" not in path else str(world.claimed.pk)
            headers = world.bearer(who)
            with undone():
                answer = send(Sent(method, path.replace("{id}", place), headers=headers, json=body))
            if answer.status < 300 and ("ids" not in example or answer.json()["done"]):
                return None
            told = f"{answer.status} {answer.content[:300]!r}"
    return told


# --- Pages ----------------------------------------------------------------------------------------


def page(path: str, status: int = 200) -> str:
    """A page that anybody may see, within the content policy and from files of ours."""
    answer = Client().get(path)
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    text = str(answer.content.decode())
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", text)
    for asset in re.findall(r'(?:src|href)="(/static/[^"]*)"', text):
        assert finders.find(asset.removeprefix("/static/")), asset
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    return text


def test_the_page_of_the_document_loads_nothing_from_elsewhere(db: None) -> None:
    text = page("/api/docs/")
    assert 'data-document="/api/schema/"' in text
    assert "swagger-ui-bundle.js" in text


def test_every_code_is_explained_where_its_problem_documents_lead(db: None) -> None:
    known = {kind.code for kind in reasons()}
    assert known <= problems.PROBLEMS.keys()
    index = page("/problems/")
    for code, each in problems.PROBLEMS.items():
        assert f'href="/problems/{code}/"' in index
        text = page(f"/problems/{code}/")
        assert str(each.status) in text
    assert "A task in state … does not allow …<" in page("/problems/invalid_task_state/")
    answer = Client().get("/api/v1/tasks/").json()
    assert answer["title"] in page(answer["type"])


def test_a_code_that_there_is_not_has_no_page(db: None) -> None:
    for path in ("/problems/no_such_code/", "/problems/invalid_id", "/problems/%00/"):
        assert Client().get(path).status_code in (400, 404)
    assert Client().post("/problems/").status_code == 405


def test_all_codes_that_an_operation_refuses_with_are_explained(document: Any) -> None:
    codes: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            codes.update(one for one in value.get("enum", ()) if isinstance(one, str))
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, (dict, list)):
                collect(inner)

    collect(document)
    # No operation that is declared answers that its method is not.
    assert problems.PROBLEMS.keys() - codes == {"method_not_allowed"}
