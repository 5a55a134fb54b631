"""Addresses that may hold secrets: how they are shown, and what of them no message may hold."""

from collections.abc import Collection
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit


def shown_url(url: str, plain_options: Collection[str]) -> str:
    """The address without user and password, and of its options the plain ones alone."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an address that is none
        return f"{url.partition('://')[0]}://…"
    if not parts.netloc and "://" not in url:
        return url
    query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] in plain_options], safe="/:,")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{f'?{query}' if query else ''}"


def secrets_in(url: str, plain_options: Collection[str]) -> list[str]:
    """The password, and options that may be secret, as they stand in the address and as they are meant."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url.partition("://")[2]] if "@" in url else []
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    options = [option.partition("=")[::2] for option in parts.query.split("&")]
    found = [password, *(value for name, value in options if name not in plain_options)]
    return [text for one in found if one for text in {one, unquote(one)}]
