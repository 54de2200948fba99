"""The tests' settings on the very database of the test that starts a server."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["PROOF_DATABASE"]
