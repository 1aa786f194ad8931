"""Who may ask: a key that is compared in constant time and kept by no one."""

import hashlib
import hmac
from collections.abc import Callable

from starlette.datastructures import Headers

from ..errors import InputError

Allowed = Callable[[Headers], bool]


def bearer(api_key: str) -> Allowed:
    """Whether a request's headers carry ``Authorization: Bearer <api_key>``, once.

    Only digests are kept and compared: the time says nothing about the key or its length, and no
    repr, log or error can show it.

    Raises:
        InputError: The key is blank, or cannot be sent in a header.

    Examples:
        >>> allowed = bearer("secret")
        >>> allowed(Headers({"Authorization": "Bearer secret"})), allowed(Headers({}))
        (True, False)
    """
    if not api_key.strip():
        raise InputError("the API key is blank", hint="Give a key, or None for no key.")
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise InputError("the API key has characters that a header cannot carry")
    expected = _digest(api_key)

    def allowed(headers: Headers) -> bool:
        given = headers.getlist("authorization")
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        matches = hmac.compare_digest(_digest(key.strip()), expected)
        return matches and scheme.lower() == "bearer"

    return allowed


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
