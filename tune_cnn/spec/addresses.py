"""Shards by address, `webdataset:https://…`: an address that holds no secret, as names stand in records and exports."""

from urllib.parse import urlsplit

from tune_cnn.urls import shown_url

SCHEMES = ("http", "https")
PLAIN_OPTIONS = frozenset({"download", "generation", "raw", "ref", "versionId"})  # which file is meant: no secrets
QUERY = "TUNE_CNN_DATA_QUERY"  # the variable: what each shard's address ends with behind its ?, a signature
_KIND = "webdataset:"


def address_of(name: str) -> str | None:
    """The address that the name of a data set holds; None where it is none, or of a disk."""
    rest = name.removeprefix(_KIND)
    return rest if name.startswith(_KIND) and "://" in rest else None


def without_secrets(name: str) -> str:
    """The name itself; ValueError where its address isn't one that is read, or may hold a secret."""
    if (address := address_of(name)) is not None:
        _check(address)
    return name


def _check(address: str) -> None:
    shown = shown_url(address, PLAIN_OPTIONS)
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError(f"{shown} is no address; correct it") from None
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(
            f"webdataset reads shards by http:// and https://, got {shown}; give the https address of the bucket, or "
            "mount it and name the shards by their path"
        )
    if "@" in parts.netloc:
        raise ValueError(
            f"{shown} is given with a user or password, and records and exports hold data.name; leave them out here, "
            f"and put them into ~/.netrc of each node, as in: machine {parts.hostname} login USER password PASSWORD"
        )
    options = [option.partition("=")[0] for option in parts.query.split("&") if option]
    if parts.fragment or not PLAIN_OPTIONS.issuperset(options):
        raise ValueError(
            f"{shown} is given with something behind its ? or # that may be secret, and records and exports hold "
            f"data.name; leave it out here, and set {QUERY} to it on each node"
        )
    if any(letter in parts.path for letter in "*[]"):
        raise ValueError(
            f"a server lists no files, so {shown} can't be found; use braces, as in train-{{0000..0099}}.tar"
        )
