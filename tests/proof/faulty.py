"""The application that the server runs, in a process that has the fault named in PROOF_FAULT."""

import os
from importlib import import_module

from taskmanager.server import web_command

module, _, name = web_command("", 0, workers=0, threads=0)[-1].partition(":")
application = getattr(import_module(module), name)  # which sets Django up
import_module("tests.proof.faults").FAULTS[os.environ["PROOF_FAULT"]]()
