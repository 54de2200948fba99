"""The project's settings on a cluster of the tests' own, which need not survive a power cut."""

import os

os.environ.setdefault("PG_DATA_NAME", "pg-test")
os.environ.setdefault("PG_DURABLE", "0")
os.environ.setdefault("SECRET_KEY", "only for tests")
os.environ.setdefault("AUDIT_KEY", "only for tests too")

from taskmanager.settings import *  # noqa: F403

MEDIA_ROOT = DATA_DIR / "test-attachments"  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Otherwise each test client reads the names of all static files anew.
WHITENOISE_AUTOREFRESH = True
