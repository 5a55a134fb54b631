"""What must be secret travels sealed with the cluster's token: who can open it may run code on the cluster anyway."""

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.fernet import Fernet, InvalidToken

from tune_cnn.errors import InputError

_PURPOSE = b"tune_cnn submit 1\0"  # so that the key is of no use for anything else that the token may ever seal


def seal(secrets: Mapping[str, str], token: str) -> bytes:
    """Environment variables as ciphertext that the token alone opens."""
    return _key(token).encrypt(json.dumps(dict(secrets)).encode())


def unseal(sealed: bytes, token: str) -> dict[str, str]:
    """The variables; InputError where another token has sealed them."""
    try:
        opened: dict[str, str] = json.loads(_key(token).decrypt(sealed))
    except InvalidToken:
        raise InputError(
            "what was sent along can't be opened: this node has another token than the machine that submitted; give "
            "both the same ~/.ray/auth_token"
        ) from None
    return opened


def _key(token: str) -> Fernet:
    # The token is 256 random bits (`ray get-auth-token --generate`), so one hash makes a key of it, without stretching
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(_PURPOSE + token.strip().encode()).digest()))
