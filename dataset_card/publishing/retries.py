"""Asking a server again where that helps, and saying what it answered where it does not; secrets never leave here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import time
from traceback import walk_tb
from typing import TypeVar

import httpx2
import tenacity
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from thermvision.annotations.errors import RemoteError
from thermvision.curation.console import printable

T = TypeVar("T")
Tell = Callable[[str], None]

TRIES = 8  # some 40 s of waiting in all
LONGEST_WAIT = 300.0  # seconds; who asks for more is asked again by hand
AGAIN = (408, 425, 429, 500, 502, 503, 504)
_ERRORS = (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, KeyError, RuntimeError)
_SECRETS = re.compile(r"\b(hf_|api_org_)\w{6,}|(?<=Bearer )\S+|(?<=[?&]X-Amz-Signature=)\w+")
_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def scrub(text: object, token: str | None = None) -> str:
    """``text`` without tokens, on one line and without control characters.

    >>> scrub("refused: Bearer hf_abcdefghi", None), scrub("user my-secret", "my-secret")
    ('refused: Bearer ***', 'user ***')
    """
    plain = str(text)
    if token:
        plain = plain.replace(token, "***")
    return printable(_SECRETS.sub("***", plain))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an exception, or None where no answer came."""
    for one in chain(error):
        response = getattr(one, "response", None)
        if isinstance(one, httpx2.HTTPStatusError | HfHubHTTPError) and response is not None:
            return int(response.status_code)
    return None


def transient(error: BaseException) -> bool:
    """Whether asking again may help: busy or broken servers, timeouts, lost connections, bodies cut short."""
    if (status := status_of(error)) is not None:
        return status in AGAIN
    if any(isinstance(one, OfflineModeIsEnabled | httpx2.UnsupportedProtocol) for one in chain(error)):
        return False
    broken = (httpx2.TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    return any(isinstance(one, broken) for one in chain(error))


def ask(
    what: str,
    call: Callable[[], T],
    *,
    token: str | None,
    tell: Tell,
    again: Callable[[BaseException], bool] = transient,
) -> T:
    """The answer of ``call``, asked again while that may help; ``what`` it does, for messages, as in "read the tags".

    Raises:
        RemoteError: the server refused, or did not answer in the end.
    """

    def before(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        tell(scrub(f"cannot {what} now ({_seen(error)}); again in {pause:.1f} s", token))

    def worth(error: BaseException) -> bool:
        return isinstance(error, _ERRORS) and again(error) and _asked_pause(error) is not None

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=_pause,
        retry=tenacity.retry_if_exception(worth),
        before_sleep=before,
        reraise=True,
    )
    with explained(what, token):
        return retrying(call)


@contextmanager
def explained(what: str, token: str | None) -> Iterator[None]:
    """Turn what the client raises into a `RemoteError`: what was seen and what to type next, without secrets."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, _ERRORS) or _malformed(error)):
            raise
        message = _explain(what, error)
        # the chain ends here: the client's own exceptions carry headers and addresses
        raise RemoteError(scrub(message, token)) from None


def _malformed(error: BaseException) -> bool:
    """Whether the client, and not we, broke over an answer that is not what it takes for granted."""
    if not isinstance(error, TypeError | AttributeError | IndexError):
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("huggingface_hub.")


def _explain(what: str, error: BaseException) -> str:
    status = status_of(error)
    said = _seen(error)
    if any(isinstance(one, OfflineModeIsEnabled) for one in chain(error)):
        return f"cannot {what}: HF_HUB_OFFLINE is set; unset it and run the same command again"
    if any(isinstance(one, httpx2.UnsupportedProtocol) for one in chain(error)):
        return f"cannot {what}: HF_ENDPOINT is no address; unset it, or set it to one that begins with https://"
    if status == 401:
        advice = "type: hf auth login, or set HF_TOKEN to a token that is valid; what was sent is not sent again"
        return f"cannot {what}: the Hub does not take the token ({said}); {advice}"
    if status == 403:
        return f"cannot {what}: the token has no right to ({said}); use one that may write there, or another --repo"
    if status in AGAIN or status is None:
        later = "run the same command again: what was sent is not sent again"
        if _asked_pause(error) is None:
            return f"cannot {what}: the Hub asks to wait longer than {LONGEST_WAIT:.0f} s ({said}); {later}, later"
        return f"cannot {what}: {said}{f', {TRIES} times' if transient(error) else ''}; {later}"
    return f"cannot {what}: {said}"


def _seen(error: BaseException | None) -> str:
    """One line: the status and what the server said about it, or the name of what broke."""
    if error is None:
        return "no answer"
    status = status_of(error)
    for one in chain(error):
        if isinstance(one, HfHubHTTPError):
            words = one.server_message or str(one).splitlines()[0]
            return f"{status}, {' '.join(words.split())[:200]}"
    last = list(chain(error))[-1]
    return f"{type(last).__name__}: {' '.join(str(last).split())[:200]}"


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = _asked_pause(error) if error is not None else 0.0
    return max(_backoff(state), asked or 0.0)


def _asked_pause(error: BaseException) -> float | None:
    """Seconds the server asked to wait, 0.0 where it did not say; None where that is longer than we wait."""
    for one in chain(error):
        headers = getattr(getattr(one, "response", None), "headers", {})
        if text := headers.get("Retry-After"):
            try:
                seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time()
            except (ValueError, TypeError):
                return 0.0
            return max(seconds, 0.0) if seconds <= LONGEST_WAIT else None
    return 0.0
