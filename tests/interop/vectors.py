"""Holds verifier.py to the test vectors. Ends with 1 at the first difference."""

import json
import pathlib
import sys

from verifier import Keys, Refused, Token, unix, verify_proof

VECTORS = pathlib.Path(__file__).parents[2] / "crates/token/tests/vectors"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def outcome(attempt):
    try:
        attempt()
        return "ok", None
    except Refused as refused:
        return refused.code, refused.block


def decided(vector, asked, keys):
    request = asked | {"now": unix(asked["now"])}
    token = Token(vector["token"], keys)
    ended = asked.get("ended", [])
    token.decide(request, asked["required"], keys, ended, asked.get("feed_age", 0))


def said(token):
    """What a token says, as far as a vector writes it without Datalog."""
    return {
        "authority": token.authority["id"],
        "scopes": sorted(token.authority["scopes"]),
        "grants": [
            (g["id"], g.get("device"), g.get("service"), g["role"]) for g in token.grants
        ],
        "session": (token.session["id"], token.session["grant"]),
        "holder": [len(checks) for checks in token.holder],
    }


def written(says):
    return {
        "authority": says["authority"],
        "scopes": says["scopes"],
        "grants": [(g["id"], g["device"], g["service"], g["role"]) for g in says["grants"]],
        "session": (says["session"]["id"], says["session"]["grant"]),
        "holder": [len(checks) for checks in says["holder"]],
    }


def main():
    document = load("keys")
    keys, checked, wrong = Keys(document), 0, []

    def expect(name, found, expected):
        nonlocal checked
        checked += 1
        if found != expected:
            wrong.append(f"{name}: {found}, and not {expected}")

    for vector in load("accepted"):
        name = vector["name"]
        expect(name, said(Token(vector["token"], keys)), written(vector["says"]))
        for asked in vector["decisions"]:
            found, _ = outcome(lambda: decided(vector, asked, keys))
            expect(f"{name}: {asked}", found, asked["decision"])
    for vector in load("refused"):
        found = outcome(lambda: Token(vector["token"], keys))
        expect(vector["name"], found, (vector["code"], vector.get("block")))
    for vector in load("proofs"):
        asked = (vector[k] for k in ("proof", "method", "path", "origin", "token"))
        found = verify_proof(*asked, unix(vector["now"]))
        expect(vector["name"], found, vector["device_id"])

    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{checked - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
