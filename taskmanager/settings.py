"""All settings, read from the environment."""

import sys
from pathlib import Path

import environ

from taskmanager import logs
from taskmanager.postgres import embedded_database
from taskmanager.secret_keys import key_from

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where things live -------------------------------------------------------------------------
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / ".data"))).resolve()
DEMO = env.bool("DEMO", default=False)
"""Demo mode: made-up accounts with printed passwords. Refused together with DATABASE_URL."""

# --- Secrets: from the environment, else made once and kept in the data folder ------------------
SECRET_KEY = env.str("SECRET_KEY", default="") or key_from(DATA_DIR / "secret.key")
AUDIT_KEY = env.str("AUDIT_KEY", default="") or key_from(DATA_DIR / "audit.key")
"""The HMAC key of the audit chain; it never enters the database."""

DEBUG = False
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
"""How many proxies of ours stand in front; only so many X-Forwarded-For hops are believed."""
HTTPS = env.bool("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 12 * 60 * 60
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0

# --- Applications -------------------------------------------------------------------------------
INSTALLED_APPS = [
    "taskmanager",
    "accounts",
    "tasks",
    "taskmanager.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "guardian",
    "axes",
    "csp",
    "procrastinate.contrib.django",
]

MIDDLEWARE = [
    "tasks.api.middleware.RequestIdMiddleware",
    "taskmanager.access_log.AccessLog",
    "taskmanager.metrics.Metrics",
    "taskmanager.health.HealthMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "tasks.api.middleware.RequestGuard",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "taskmanager.urls"
WSGI_APPLICATION = "taskmanager.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

FACES = {
    "/api/": "tasks.api.native.errors.refuse",
    "/rest/bpm/htm/": "tasks.api.htm.errors.refuse",
    **dict.fromkeys(
        ("/operations-manager/", "/login", "/logout", "/whoami"),
        "tasks.api.itential.errors.refuse",
    ),
}
"""Which face answers below which path when a request is refused before any view sees it."""
REFUSAL_PAGE = "taskmanager.errors.page"
"""What answers elsewhere: a page."""

# --- Database: PostgreSQL, always ---------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", default="")
EMBEDDED = not DATABASE_URL
DB_PREPARE = env.bool("DB_PREPARE", default=True)
"""Whether a connection is the same after a transaction, so that statements can be prepared, cursors
left open and notifications heard; switch off behind a pooler in transaction mode."""
STATEMENT_TIMEOUT_MS = env.int("STATEMENT_TIMEOUT_MS", default=30_000)
LOCK_TIMEOUT_MS = env.int("LOCK_TIMEOUT_MS", default=10_000)
"""How long a statement waits for a row or table that somebody else has locked."""

if EMBEDDED:
    database = embedded_database(
        DATA_DIR / env.str("PG_DATA_NAME", default="pg"),
        durable=env.bool("PG_DURABLE", default=True),
    )
else:
    database = environ.Env.db_url_config(DATABASE_URL)
    database["ENGINE"] = "taskmanager.backends.postgresql"

DATABASES = {
    "default": {
        **database,
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": not DB_PREPARE,
        "OPTIONS": {
            **database.get("OPTIONS", {}),
            "prepare_threshold": 1 if DB_PREPARE else None,
            # Seconds; two is the least that libpq knows. Every answer then comes within three.
            "connect_timeout": 2,
            "options": (
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} "
                "-c idle_in_transaction_session_timeout=60000"
            ),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Background work: procrastinate, its tables in our database ---------------------------------
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
PROCRASTINATE_IMPORT_PATHS = ["tasks.background"]

# --- Who may come in ----------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "accounts.backends.RoleBackend",
    "tasks.backends.TaskRoleBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "taskmanager.errors.no_csrf_token"

ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = False
GUARDIAN_MONKEY_PATCH_GROUP = False
SILENCED_SYSTEM_CHECKS = ["guardian.W001"]  # ours is a subclass: tasks.backends.TaskRoleBackend

AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.clients.client_network"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

OPEN_WORK_KEEPER = "tasks.leavers"
"""The module that says what becomes of an account's open work when it leaves."""

SCOPED_OPERATIONS = "tasks.lifecycle.scopes"
"""The module that says which operations a token can be limited to."""

# --- Faces --------------------------------------------------------------------------------------
NATIVE_BASIC_AUTH = env.bool("NATIVE_BASIC_AUTH", default=False)
"""Whether the native API takes user name and password too, beside tokens and sessions."""

OAUTH_TOKEN_SECONDS = env.int("OAUTH_TOKEN_SECONDS", default=3600)
"""How long a token holds that a client gets for its secret."""

THROTTLE_READ = env.int("THROTTLE_READ", default=0)
THROTTLE_WRITE = env.int("THROTTLE_WRITE", default=0)
"""Calls a minute of one account, in each process; 0 is no limit."""

CORS_ALLOWED_ORIGINS = env.list("CORS_ORIGINS", default=[])
"""Whose pages may call the native API from a browser, with a token; cookies are not for them."""
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = ["ETag", "Location", "Retry-After", "X-Request-ID"]

REST_FRAMEWORK = {
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttles.PerAccount"],
    "DEFAULT_PARSER_CLASSES": ["tasks.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "tasks.api.native.schema.OperationSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Human tasks",
    "DESCRIPTION": (
        "Work that waits for a person: find it, make it, act on it, on one task or on many. Every "
        "error is a problem document (RFC 9457) whose type leads to a page that explains it."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "tasks.api.native.schema.Generator",
    "PREPROCESSING_HOOKS": ["tasks.api.native.schema.of_this_face"],
    "POSTPROCESSING_HOOKS": [],
    "SCHEMA_PATH_PREFIX": "/api/",
    "ENFORCE_NON_BLANK_FIELDS": True,
}
MEDIA_ROOT = env.str("ATTACHMENTS_DIR", default=str(DATA_DIR / "attachments"))
"""Where attached files are kept; shared by all processes, and part of a backup."""
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_HANDLERS = [
    "tasks.api.whole_forms.WholeForms",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100
"""A selection of tasks in the admin is one field each; the body's limit holds as well."""

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"

STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- Logs: to standard error, for whoever runs the server to collect -----------------------------
LOG_FORMAT = env.str("LOG_FORMAT", default="text" if sys.stderr.isatty() else "json")
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
"""With it as a bearer token /metrics is answered to anybody, without it on this machine only."""
LOGGING = logs.configuration(LOG_FORMAT, LOG_LEVEL)
