"""Does on the stock Python library what standard input asks, one JSON document:

{"root": "<hex>", "jobs": [{"token", "narrow": [Datalog of a block, …], "ask": [[Datalog, …], …]}]}

Each job's token is verified and narrowed; an ask is allowed if each of its evaluations
is. Prints {"library", "results": [{"token": the narrowed one, "allowed": [bool, …]}]}.
"""

import importlib.metadata
import json
import sys
from datetime import timedelta

from biscuit_auth import (
    Algorithm,
    AuthorizationError,
    AuthorizerBuilder,
    Biscuit,
    BlockBuilder,
    PublicKey,
)


def allows(token, code):
    builder = AuthorizerBuilder(code)
    limits = builder.limits()
    # The default of 1 ms refuses at random on a busy machine.
    limits.max_time = timedelta(seconds=20)
    builder.set_limits(limits)
    try:
        builder.build(token).authorize()
    except AuthorizationError:
        return False
    return True


def run(job, root):
    token = Biscuit.from_base64(job["token"], root)
    for block in job["narrow"]:
        token = token.append(BlockBuilder(block))
    return {
        "token": token.to_base64(),
        "allowed": [all(allows(token, code) for code in ask) for ask in job["ask"]],
    }


def main():
    asked = json.load(sys.stdin)
    root = PublicKey.from_bytes(bytes.fromhex(asked["root"]), Algorithm.Ed25519)
    results = [run(job, root) for job in asked["jobs"]]
    library = f"biscuit-python {importlib.metadata.version('biscuit-python')}"
    json.dump({"library": library, "results": results}, sys.stdout)


if __name__ == "__main__":
    main()
