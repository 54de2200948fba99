"""What the documents tell people to type works, and prints what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import connection

from tasks import actions
from tasks.lifecycle import State
from tasks.models import BulkOperation, Task
from tests.conftest import Cast
from tests.factories import call_by, make_tasks

from .live import ROOT, environment, tokens

SECONDS = 120
"""After which a document that is followed is stuck."""

FENCE = re.compile(r"^```(sh|python) ?(\S*)\n(.*?)^```$", re.M | re.S)
PROMISE = re.compile(r"^# prints (.*)$", re.M)
MARK = "=== block "


class Block(NamedTuple):
    """A piece of a document to be run: commands, or a program to be kept under a name."""

    language: str
    name: str
    text: str


def blocks(text: str) -> list[Block]:
    """The pieces of a document, in order."""
    return [Block(*found) for found in FENCE.findall(text)]


def follow(text: str, folder: Path, port: int) -> list[str]:
    """What the commands of a document print, block by block, run in order in one shell.

    A program is written to its file where it stands.

    The folder stands for the checkout, the server of the tests for that of the demo. Tokens are
    issued beforehand: a start of Django for each takes most of the time.
    """
    secrets = tokens("alice", "frank", "svc-integration")
    cases = "\n".join(f"'token create {name}') echo {secrets[name]};;" for name in secrets)
    (folder / "run").write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 1;;\nesac\n')
    (folder / "run").chmod(0o755)
    shutil.copy(ROOT / "README.md", folder)
    script = ["set -eu"]
    for block in blocks(text):
        if block.language == "python":
            script.append(f"cat >{block.name} <<'PROGRAM'\n{block.text}PROGRAM")
        else:
            script += [f"echo '{MARK}'", f"echo '{MARK}' >&2", block.text]
    done = subprocess.run(
        ["sh"],
        input="\n".join(script).replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}"),
        cwd=folder,
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stderr.replace(f"{MARK}\n", "") == "", done.stdout
    assert done.returncode == 0, done.stdout
    return done.stdout.split(f"{MARK}\n")[1:]


@pytest.fixture
def worker(django_db_setup: None) -> Iterator[None]:
    """The background worker of the server."""
    line = [sys.executable, str(ROOT / "manage.py"), "worker"]
    quiet = environment(connection.settings_dict["NAME"], LOG_LEVEL="ERROR")
    process = subprocess.Popen(line, cwd=ROOT, env=quiet)
    yield
    process.terminate()
    assert process.wait(20) == 0


def test_the_guide_does_what_it_says(
    committed_cast: Cast, port: int, worker: None, tmp_path: Path
) -> None:
    guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    printed = follow(guide, tmp_path, port)

    commands = [block.text for block in blocks(guide) if block.language == "sh"]
    for command, output in zip(commands, printed, strict=True):
        lines = iter(output.splitlines())
        for promise in PROMISE.findall(command):
            assert promise in lines, (promise, output)
    assert sum(len(PROMISE.findall(command)) for command in commands) > 25

    made = {task.name: task for task in Task.objects.all()}
    assert Task.objects.filter(external_id__startswith="GUIDE-", state=State.COMPLETED).count() == 1
    assert made["Watch link 1"].owner == committed_cast.bob  # moved, and put back
    assert made["Check core-rtr-2"].output == {"checked": "core-rtr-2"}
    given_back = made["Check what?"]
    assert (given_back.state, given_back.on_hold) == (State.READY, True)
    assert BulkOperation.objects.filter(operation="undo").count() == 1


def test_the_readme_calls_each_face(committed_cast: Cast, port: int, tmp_path: Path) -> None:
    tasks = make_tasks(2, committed_cast.dave, [committed_cast.noc])
    actions.claim([task.pk for task in tasks], call=call_by(committed_cast.bob))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    calls = readme.partition("## One call for each face")[2].partition("\n## ")[0]
    tokens = readme.partition("### Access for programs")[2].partition("\n### ")[0]

    printed = "".join(follow(calls + tokens, tmp_path, port))

    assert Task.objects.filter(owner=committed_cast.bob).count() == 1
    moved = Task.objects.get(owner=None)
    assert moved.attachments.count() == moved.comments.count() == 1
    assert '"name":"wall display"' in printed
    assert "problems" not in printed


def test_a_document_that_is_wrong_is_noticed(
    committed_cast: Cast, port: int, tmp_path: Path
) -> None:
    text = "```sh\ncurl -sS http://127.0.0.1:8000/api/v1/ | python3 -c 'import nothing'\n```\n"
    with pytest.raises(AssertionError, match="No module named 'nothing'"):
        follow(text, tmp_path, port)
