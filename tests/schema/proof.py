"""DPoP proofs (RFC 9449) of an Ed25519 key."""

import base64
import hashlib
import time
import uuid

import jwt


def proof(key, method, url, token=None):
    """A DPoP proof for this request, and for this token where there is one."""
    claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": str(uuid.uuid4())}
    if token is not None:
        digest = hashlib.sha256(token.encode()).digest()
        claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.encode(claims, key, "EdDSA", {"typ": "dpop+jwt", "jwk": jwk})
