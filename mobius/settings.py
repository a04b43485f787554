"""Wire Django: what an operator tunes is a row in the database, not a line here."""

import secrets
import sys
from pathlib import Path

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

from mobius import console_navigation as console
from mobius import env

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
environ.Env.read_env(BASE_DIR / ".env")

# --- where things are ------------------------------------------------------------------------

MOBIUS_HOME = Path(env.text("MOBIUS_HOME") or BASE_DIR / "var").resolve()
DATABASE_URL = env.url("DATABASE_URL", "sqlite", "postgres", "postgresql")
REDIS_URL = env.url("REDIS_URL", "redis", "rediss", "unix")
CACHE_REDIS_URL = env.url("CACHE_REDIS_URL", "redis", "rediss", "unix") or REDIS_URL
EMBEDDED = not DATABASE_URL or DATABASE_URL.startswith("sqlite")
try:
    MOBIUS_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(f"MOBIUS_HOME {MOBIUS_HOME} cannot be made: {error}") from None

SECRET_KEY = env.kept_secret(
    "DJANGO_SECRET_KEY",
    MOBIUS_HOME / "django_secret_key",
    embedded=EMBEDDED,
    make=lambda: secrets.token_urlsafe(64),
)
MOBIUS_MASTER_KEYS = env.master_keys(
    env.kept_secret(
        "MOBIUS_MASTER_KEY",
        MOBIUS_HOME / "master_key",
        embedded=EMBEDDED,
        make=env.new_master_key,
    )
)
DEBUG = env.flag("DJANGO_DEBUG")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
TRUSTED_PROXIES = env.words("TRUSTED_PROXIES")
BEHIND_TLS = env.flag("MOBIUS_BEHIND_TLS")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
LOG_LEVEL = env.choice("MOBIUS_LOG_LEVEL", "INFO", "DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMAT = env.choice("MOBIUS_LOG_FORMAT", "console", "json", "console")

# --- applications ----------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "mobius.console.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    # before Django's own, so that `migrate` also makes the database's functions and triggers
    "tenants",
    "llm_gateway",
]
if "runserver" in sys.argv:
    # Twisted costs every other command 60 MB and 0.65 s
    INSTALLED_APPS.insert(0, "daphne")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mobius.compression.PageCompression",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # before all that refuses: a refusal is a page too
    "mobius.headers.PageHeaders",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "mobius.guard.Guard",
]
ROOT_URLCONF = "mobius.urls"
ASGI_APPLICATION = "mobius.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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

# --- data ------------------------------------------------------------------------------------

if EMBEDDED:
    _path = DATABASE_URL.partition(":///")[2] or str(MOBIUS_HOME / "mobius.sqlite3")
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": _path,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                " PRAGMA recursive_triggers=OFF;",
            },
        }
    }
else:
    _database = env.postgres("DATABASE_URL", DATABASE_URL)
    # Persistent connections pile up under ASGI: Django's come from a pool, the writer has its own.
    _database["CONN_MAX_AGE"] = 0
    # What the pool gives is tried first: the database may have restarted meanwhile.
    _database["CONN_HEALTH_CHECKS"] = True
    _database["OPTIONS"]["pool"] = {"min_size": 0, "max_size": 10, "timeout": 5}
    DATABASES = {"default": _database}

# The same database in a role of its own, which alone may write the ledger (`grant_roles`).
LEDGER_DATABASE = None
if _url := env.url("LEDGER_DATABASE_URL", "postgres", "postgresql"):
    LEDGER_DATABASE = env.postgres("LEDGER_DATABASE_URL", _url)
    if LEDGER_DATABASE["NAME"] != DATABASES["default"]["NAME"]:
        raise ImproperlyConfigured(
            "LEDGER_DATABASE_URL has to name the same PostgreSQL database as DATABASE_URL, with"
            " another user"
        )

CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": CACHE_REDIS_URL}
    if CACHE_REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "mobius"},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people, pages ---------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = reverse_lazy("sign-in")
OIDC = env.oidc()
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
if OIDC is not None:
    AUTHENTICATION_BACKENDS.append("tenants.signin.sso.SsoBackend")
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = MOBIUS_HOME / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns where it is missing
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_TLS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["llm_gateway.api.access.Denied"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "llm_gateway.api.problems.problem_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Mobius",
    "DESCRIPTION": "One door to every LLM provider: native and management API.",
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "APPEND_COMPONENTS": {
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "mob_…"}}
    },
    "SECURITY": [{"key": []}],
}

# --- background ------------------------------------------------------------------------------

CELERY_BROKER_URL = env.url("CELERY_BROKER_URL", "redis", "rediss", "amqp") or REDIS_URL or None
# Who has no broker has no worker either: then each process does this work beside its requests.
BACKGROUND_IN_PROCESS = EMBEDDED or not CELERY_BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True

# --- mail ------------------------------------------------------------------------------------

_mail = env.mail("EMAIL_URL")
MAIL_IS_SET = bool(_mail)
globals().update(_mail)  # EMAIL_HOST and its like, by the names Django has for them
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM")
if MAIL_IS_SET and "@" not in DEFAULT_FROM_EMAIL:
    raise ImproperlyConfigured("EMAIL_FROM has to be the sender's address when EMAIL_URL is set")

# --- logs ------------------------------------------------------------------------------------

LOGGING_CONFIG = "mobius.logs.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}
UNFOLD = {
    "SITE_TITLE": "Mobius",
    "SITE_HEADER": "Mobius",
    "SITE_SUBHEADER": "LLM gateway",
    "SITE_SYMBOL": "all_inclusive",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": STATIC_URL + "llm_gateway/mark.svg"}
    ],
    "STYLES": [STATIC_URL + "llm_gateway/console.css"],
    "SCRIPTS": [STATIC_URL + "llm_gateway/console.js"],
    "ACCOUNT": {"navigation": [{"title": "My sign-in", "link": reverse_lazy("sign-in-mine")}]},
    "DASHBOARD_CALLBACK": "llm_gateway.admin.overview.dashboard",
    "SIDEBAR": {"navigation": console.NAVIGATION},
}
