"""The pages on which people log in: HTML that needs no script, in which everything that came from outside is text."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import quote

from weft.http.message import Response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""The page's own files, and forms to this server."""

HEADERS: Final = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    # An invitation's link stays here; without a referrer at all browsers would say that a form came from nowhere.
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
)

_PAGE: Final = Template((files("weft") / "web" / "login.html").read_text(encoding="utf-8"))
STYLE: Final = (files("weft") / "web" / "login.css").read_bytes()


def login_page(
    *,
    target: str,
    problem: str = "",
    name: str = "",
    accounts: bool,
    keys: bool,
    provider: str = "",
    status: int = 200,
) -> Response:
    """The page with every way to log in that there is.

    Args:
        target: The path to go to afterwards.
        problem: Why the last attempt did not work.
        name: What was typed, so that it need not be again.
        accounts: Whether there are local accounts.
        keys: Whether there are API keys.
        provider: The name of the OpenID Connect provider; empty: there is none.
        status: Of the reply.
    """
    parts = [_problem(problem)] if problem else []
    if provider:
        path = f"/login/oidc?next={quote(target, safe='')}"
        parts.append(f'<a class="main" href="{escape(path)}">Log in with {escape(provider)}</a>')
    if accounts:
        parts += ['<p class="or">or</p>'] if provider else []
        parts.append(_form("/login", target, _account_fields(name), "Log in", main=not provider))
    if keys:
        form = _form("/login", target, _KEY_FIELDS, "Log in with this key", main=not (provider or accounts))
        alone = not (provider or accounts)
        parts.append(form if alone else f"<details><summary>Use an API key</summary>{form}</details>")
    return _page("Log in", parts, status)


def invitation_page(*, token: str, name: str, problem: str = "", status: int = 200) -> Response:
    """The page on which somebody who was invited, or whose password was taken away, sets one."""
    fields = (
        f'<label for="name">Name</label><input id="name" name="username" value="{escape(name)}" readonly '
        'autocomplete="username">'
        '<label for="password">New password</label><input id="password" name="password" type="password" required '
        'minlength="12" maxlength="256" autocomplete="new-password" aria-describedby="rule" autofocus>'
        '<p id="rule" class="soft">At least 12 characters. Four words make a good one.</p>'
        f'<input type="hidden" name="token" value="{escape(token)}">'
    )
    parts = [_problem(problem)] if problem else []
    parts.append(
        f'<form method="post" action="/login/invitation">{fields}<button class="main">Set password</button></form>'
    )
    return _page("Choose a password", parts, status)


def known_page(*, name: str, target: str) -> Response:
    """The page of one who is logged in already."""
    parts = [
        f"<p>You are logged in as <b>{escape(name)}</b>.</p>",
        f'<a class="main" href="{escape(target)}">Go on</a>',
        '<form method="post" action="/logout"><button>Log out</button></form>',
    ]
    return _page("Log in", parts, 200)


def failed_page(problem: str, *, status: int) -> Response:
    """The page of a login that cannot go on."""
    return _page("Log in", [_problem(problem), '<a class="main" href="/login">Log in again</a>'], status)


_KEY_FIELDS: Final = (
    '<label for="key">API key</label>'
    '<input id="key" name="key" type="password" required maxlength="200" autocomplete="off" spellcheck="false">'
)


def _account_fields(name: str) -> str:
    focus = ("", " autofocus") if name else (" autofocus", "")
    return (
        f'<label for="name">Name or e-mail address</label><input id="name" name="name" value="{escape(name)}" required '
        f'maxlength="200" autocomplete="username" autocapitalize="none" spellcheck="false"{focus[0]}>'
        '<label for="password">Password</label><input id="password" name="password" type="password" required '
        f'maxlength="1000" autocomplete="current-password"{focus[1]}>'
    )


def _form(action: str, target: str, fields: str, button: str, *, main: bool) -> str:
    kind = ' class="main"' if main else ""
    return (
        f'<form method="post" action="{action}">{fields}<input type="hidden" name="next" value="{escape(target)}">'
        f"<button{kind}>{button}</button></form>"
    )


def _problem(text: str) -> str:
    return f'<p class="error" role="alert">{escape(text)}</p>'


def _page(heading: str, parts: list[str], status: int) -> Response:
    html = _PAGE.substitute(title=f"{heading} · Weft", heading=heading, body="\n".join(parts))
    return Response(status, HEADERS, html.encode(), "text/html; charset=utf-8")
