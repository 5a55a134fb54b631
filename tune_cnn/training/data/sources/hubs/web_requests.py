"""One request to a web server: over TLS, sent on without passwords, and asked again where it may go well later.

No message quotes what a library says of a request: it names the whole address.
"""

import datetime
import functools
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from netrc import NetrcParseError, netrc
from pathlib import Path
from time import sleep
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from tune_cnn.errors import DataError
from tune_cnn.spec.addresses import SCHEMES
from tune_cnn.text import printable

TRIES = 5
FIRST_WAIT_S = 0.5  # doubled after each try: 7.5 s in all, in which a server starts again
PATIENCE_S = 300.0  # in all, with a server that says when to come again: its tries aren't counted
TIMEOUT_S = (10, 60)  # to be connected; between two pieces of an answer
CONNECTIONS = 64  # that are kept open: as many threads as a node has cores may read images
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be others a moment later
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # variables by which requests finds whom it trusts
NOT_ITS_TIME_OR_NAME = {9, 10, 62, 64}  # OpenSSL's codes: not yet valid, expired, another host's, another IP address's

Made = TypeVar("Made")


class Lost(Exception):
    """It may go well another time."""

    def __init__(self, why: str = "", wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s  # until when the server asks to wait; None: it doesn't say


def tried(shown: str, once: Callable[[], Made], so_far: Callable[[], int] = lambda: 0) -> Made:
    """TRIES times at most, with waits between; where a server says when to come again, until PATIENCE_S have gone by.

    so_far: bytes that have come; tries are counted anew where one has brought more than any before it.
    """
    failed, waited_s, most = 0, 0.0, so_far()
    while True:
        try:
            return once()
        except Lost as lost:
            if so_far() > most:
                failed, most = 0, so_far()
            if lost.wait_s is not None:
                wait_s = max(lost.wait_s, FIRST_WAIT_S)  # also where it says 0
                if waited_s + wait_s > PATIENCE_S:
                    raise DataError(_asked_to_wait(shown, lost, waited_s)) from None
                waited_s += wait_s
                sleep(wait_s)
                continue
            failed += 1
            if failed == TRIES:
                raise DataError(
                    f"data: shard {shown} could not be read in {TRIES} tries ({lost}); look at the server and the "
                    "network, and start again"
                ) from None
            sleep(FIRST_WAIT_S * 2 ** (failed - 1))


def _asked_to_wait(shown: str, lost: Lost, waited_s: float) -> str:
    return (
        f"data: the server of {shown} is too busy ({lost}): it asks to come again in {lost.wait_s:,.0f} s, after "
        f"{waited_s:,.0f} s of waiting; start again later, or set data.cache: jpeg, by which each shard is asked for "
        "once"
    )


@contextmanager
def answered(shown: str, method: str, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """What is said to that request, in pieces yet to be read; also through redirects.

    Lost where it may go well another time, also for what is read of the answer; DataError where it can't.
    """
    try:
        with _session(os.getpid()).request(
            method,
            url,
            headers={"Accept-Encoding": "identity", **headers},  # a tar as it is, whose bytes can be counted
            stream=True,
            timeout=TIMEOUT_S,
            allow_redirects=True,
        ) as answer:
            if answer.status_code in PASSING:
                raise Lost(f"HTTP {answer.status_code}", _wait_s(answer.headers.get("Retry-After", "")))
            yield answer
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
        raise DataError(f"data: {shown} can't be asked for ({type(error).__name__}); correct it") from None
    except requests.RequestException as error:
        if refused := _why_no_tls(shown, error):
            raise DataError(refused) from None
        raise Lost(_reason(error)) from None


def sent_on_to(answer: requests.Response) -> str:
    """The host that answered, where a redirect led to another one; empty where the one that was asked did."""
    first, last = urlsplit((answer.history or [answer])[0].url), urlsplit(answer.url)
    return "" if first.netloc == last.netloc else printable(last.netloc.rpartition("@")[2])


def _wait_s(told: str) -> float | None:
    """Of a Retry-After: seconds, or a date; None where it is neither."""
    if told.strip().isdecimal():
        return float(told)
    try:
        until = parsedate_to_datetime(told)
    except ValueError:
        return None
    if until.tzinfo is None:  # as -0000 is read, which is UTC too
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


class _Session(requests.Session):
    """Connections that stay open from one request to the next, whichever thread asks."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """A password goes on to the same place alone, or is the one that ~/.netrc has for the new host by name.

        requests would look the new address up by its host alone, and so send a password on to another port, in plain
        text, or to any host by netrc's `default`.
        """
        headers, url = prepared_request.headers, prepared_request.url or ""
        before = response.request.url or ""
        if not self.should_strip_auth(before, url):
            return
        headers.pop("Authorization", None)
        old, new = urlsplit(before), urlsplit(url)
        if old.hostname != new.hostname and (old.scheme, new.scheme) != ("https", "http") and _has_line(new.hostname):
            super().rebuild_auth(prepared_request, response)


def _has_line(host: str | None) -> bool:
    """Whether ~/.netrc names that host."""
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            if (found := path.expanduser()).exists():
                return host in netrc(str(found)).hosts
        except (NetrcParseError, OSError):  # requests passes over it as well
            return False
    return False


@functools.cache
def _session(_process: int) -> requests.Session:
    """One a process. DataError where it is told to trust what can't be read."""
    _check_bundle()
    session = _Session()
    for scheme in SCHEMES:
        session.mount(f"{scheme}://", HTTPAdapter(pool_maxsize=CONNECTIONS))
    return session


def _check_bundle() -> None:
    for name in BUNDLES:
        if given := os.environ.get(name):
            path = Path(given)
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": given})
            except OSError as error:  # ssl's errors are such too
                raise DataError(
                    f"data: {name} is {printable(given)}, which can't be read as certificates "
                    f"({error.strerror or error}); set it to a file of certificates in PEM format, or remove it"
                ) from error
            return


def _why_no_tls(shown: str, error: BaseException) -> str:
    """What to do where the server's certificate isn't taken, or it speaks no TLS; empty where that isn't the reason."""
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            why = printable(inner.verify_message)
            if inner.verify_code in NOT_ITS_TIME_OR_NAME:
                return (
                    f"data: the certificate of the server of {shown} isn't valid ({why}); have the server given one "
                    "that is, set this node's clock, or name the host as the certificate does"
                )
            return (
                f"data: the certificate of the server of {shown} isn't trusted ({why}); where you trust who signed "
                f"it, set {BUNDLES[0]} on each node to a file of that authority's certificate (PEM), as for curl's "
                "--cacert"
            )
        if isinstance(inner, ssl.SSLError) and inner.reason == "WRONG_VERSION_NUMBER":
            return f"data: the server of {shown} speaks no TLS on that port; name its port for https, or write http://"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    """What the system says of what was at the bottom of it, else the name of that."""
    *_, bottom = _chain(error)
    return bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else type(bottom).__name__
