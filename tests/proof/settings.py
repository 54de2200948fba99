"""The settings of the tests, on the database that the proof names."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["PROOF_DATABASE"]
