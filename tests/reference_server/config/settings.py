"""Settings of the reference server, for tests on one machine only.

REFERENCE_DATABASE  path of the SQLite file; by default db.sqlite3 in the current folder.
REFERENCE_ENCODING  "form" or "json": how this server reads a report.
REFERENCE_REDIS     port of a Redis on this machine: reports go there, and triggers are worked out from them.
"""

import os

from django.core.exceptions import ImproperlyConfigured

SECRET_KEY = "protects nothing: no sessions, no signed data, loopback only"
# Off, as in production. With DEBUG on, a POST to a path without its slash is answered with 500.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

REPORT_ENCODING = os.environ.get("REFERENCE_ENCODING", "form")
if REPORT_ENCODING not in ("form", "json"):
    raise ImproperlyConfigured(
        f"REFERENCE_ENCODING is {REPORT_ENCODING!r}: set it to form or json."
    )

# None: reports go to the database.
REDIS_PORT = int(os.environ.get("REFERENCE_REDIS", 0)) or None

INSTALLED_APPS = ["monitor"]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "config.urls"
USE_TZ = True
TIME_ZONE = "UTC"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("REFERENCE_DATABASE", "db.sqlite3"),
        "OPTIONS": {
            # The commands read and write while the server runs, each connection in a thread.
            "init_command": "PRAGMA journal_mode = WAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# By default Django hides the cause of a 500 when DEBUG is off.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
