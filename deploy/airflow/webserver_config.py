"""Flask-AppBuilder settings behind FabAuthManager: accounts in Airflow's database.

Single sign-on (OAuth, LDAP) is configured here: mount your own file over this one.
"""

from __future__ import annotations

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
AUTH_USER_REGISTRATION = False
WTF_CSRF_ENABLED = True
# Browsers send the cookie on links from elsewhere, never on cross-site form posts.
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
# Slows password guessing. Counted per api-server process.
RATELIMIT_ENABLED = True
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "20 per minute"
RATELIMIT_STORAGE_URI = "memory://"
