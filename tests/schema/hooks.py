"""Who schemathesis is when it calls: nobody, the holder of an access token, or a device.

HARDTACK_TEST_CALLER names a JSON file: {} for nobody, {"token"} for a bearer token,
{"grant", "key"} for a device, which proves its key anew for each request (RFC 9449).
"""

import json
import os

import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proof import proof

with open(os.environ["HARDTACK_TEST_CALLER"], encoding="utf-8") as file:
    CALLER = json.load(file)


class Caller:
    """Puts the caller's credential in the place of what was made up for it."""

    def get(self, case, _context):
        return case.operation.path

    def set(self, case, path, _context):
        if not path.startswith(("/v1/", "/oauth/introspect")):
            return
        if "token" in CALLER:
            case.headers["Authorization"] = f"Bearer {CALLER['token']}"
            case.headers.pop("DPoP", None)
            return
        url = CALLER["api"] + case.formatted_path
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(CALLER["key"]))
        if (case.method, path) == ("POST", "/v1/pairing-requests"):
            case.headers.pop("Authorization", None)
            case.headers["DPoP"] = proof(key, case.method, url)
            return
        case.headers["Authorization"] = f"DPoP {CALLER['grant']}"
        case.headers["DPoP"] = proof(key, case.method, url, CALLER["grant"])


if CALLER:
    schemathesis.auth(refresh_interval=None)(Caller)
