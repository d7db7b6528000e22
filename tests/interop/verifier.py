"""A verifier of hardtack tokens that was written from docs/token-profile.md alone.

It knows no Biscuit library: protobuf by hand, Ed25519 from `cryptography`. It shows
that the page is enough, and reads slowly and plainly. `vectors.py` holds it to the
test vectors.
"""

import base64
import binascii
import datetime
import hashlib
import json
import re
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

MAX_TEXT = 6144
BOUND = 5


class Refused(Exception):
    """A refusal: its code, and the block it names if it names one."""

    def __init__(self, code, block=None):
        super().__init__(f"{code} {'' if block is None else block}".strip())
        self.code, self.block = code, block


def malformed():
    return Refused("malformed_token")


# Protobuf (section 3). A schema maps field numbers to (name, kind, label); a kind
# is "uint", "bytes", "string", "any" or another schema.

PUBLIC_KEY = {1: ("algorithm", "uint", "required"), 2: ("key", "bytes", "required")}
EXTERNAL = {1: ("signature", "bytes", "required"), 2: ("public_key", PUBLIC_KEY, "required")}
SIGNED_BLOCK = {
    1: ("block", "bytes", "required"),
    2: ("next_key", PUBLIC_KEY, "required"),
    3: ("signature", "bytes", "required"),
    4: ("external", EXTERNAL, "optional"),
    5: ("version", "uint", "optional"),
}
PROOF = {1: ("secret", "bytes", "oneof"), 2: ("seal", "bytes", "oneof")}
BISCUIT = {
    1: ("root_key_id", "uint", "optional"),
    2: ("authority", SIGNED_BLOCK, "required"),
    3: ("blocks", SIGNED_BLOCK, "repeated"),
    4: ("proof", PROOF, "required"),
}

SET = {}
TERM = {
    1: ("variable", "uint", "oneof"),
    2: ("integer", "uint", "oneof"),
    3: ("string", "uint", "oneof"),
    4: ("date", "uint", "oneof"),
    5: ("bytes", "bytes", "oneof"),
    6: ("bool", "uint", "oneof"),
    7: ("set", SET, "oneof"),
    # What the profile has no use for is kept as it stands.
    8: ("null", "any", "oneof"),
    9: ("array", "any", "oneof"),
    10: ("map", "any", "oneof"),
}
SET[1] = ("set", TERM, "repeated")
PREDICATE = {1: ("name", "uint", "required"), 2: ("terms", TERM, "repeated")}
BINARY = {1: ("kind", "uint", "required"), 2: ("ffi_name", "uint", "optional")}
OP = {
    1: ("value", TERM, "oneof"),
    2: ("unary", "any", "oneof"),
    3: ("binary", BINARY, "oneof"),
    4: ("closure", "any", "oneof"),
}
EXPRESSION = {1: ("ops", OP, "repeated")}
RULE = {
    1: ("head", PREDICATE, "required"),
    2: ("body", PREDICATE, "repeated"),
    3: ("expressions", EXPRESSION, "repeated"),
    4: ("scope", "any", "repeated"),
}
CHECK = {1: ("queries", RULE, "repeated"), 2: ("kind", "uint", "optional")}
FACT = {1: ("predicate", PREDICATE, "required")}
BLOCK = {
    1: ("symbols", "string", "repeated"),
    2: ("context", "string", "optional"),
    3: ("version", "uint", "optional"),
    4: ("facts", FACT, "repeated"),
    5: ("rules", "any", "repeated"),
    6: ("checks", CHECK, "repeated"),
    7: ("scope", "any", "repeated"),
    8: ("public_keys", "any", "repeated"),
}


def read_varint(data, at):
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise malformed()
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise malformed()


def write_varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(schema, data):
    """A message as a dictionary of the fields that are set."""
    message = {name: [] for name, _, label in schema.values() if label == "repeated"}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire == 2:
            length, at = read_varint(data, at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise malformed()
        else:
            raise malformed()
        if number == 0:
            raise malformed()
        if number not in schema:
            continue  # lost, so that the message is not canonical
        name, kind, label = schema[number]
        if (kind == "uint") != (wire == 0):
            raise malformed()
        if isinstance(kind, dict):
            value = decode(kind, value)
        elif kind == "string":
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise malformed() from None
        if label == "repeated":
            message[name].append(value)
            continue
        if label == "oneof":
            for other, _, other_label in schema.values():
                if other_label == "oneof":
                    message.pop(other, None)
        message[name] = value
    for name, _, label in schema.values():
        if label == "required" and name not in message:
            raise malformed()
    return message


def encode(schema, message):
    out = b""
    for number in sorted(schema):
        name, kind, label = schema[number]
        values = message[name] if label == "repeated" else [message[name]] if name in message else []
        for value in values:
            if kind == "uint":
                out += write_varint(number << 3) + write_varint(value)
                continue
            if isinstance(kind, dict):
                value = encode(kind, value)
            elif kind == "string":
                value = value.encode()
            out += write_varint(number << 3 | 2) + write_varint(len(value)) + value
    return out


# Signatures (section 6).

LOW_ORDER = {
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
}
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def is_low_order(point):
    return point[:31] + bytes([point[31] & 0x7F]) in LOW_ORDER


def fits(key, message, signature):
    scalar = int.from_bytes(signature[32:], "little")
    if is_low_order(key) or is_low_order(signature[:32]) or scalar >= GROUP_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


ALG = bytes(4)
ONE = (1).to_bytes(4, "little")


def block_message(block, previous):
    key, external = block["next_key"]["key"], block.get("external")
    if "version" not in block:
        return block["block"] + (external["signature"] if external else b"") + ALG + key
    message = b"\0BLOCK\0\0VERSION\0" + ONE + b"\0PAYLOAD\0" + block["block"]
    message += b"\0ALGORITHM\0" + ALG + b"\0NEXTKEY\0" + key
    if previous:
        message += b"\0PREVSIG\0" + previous["signature"]
    if external:
        message += b"\0EXTERNALSIG\0" + external["signature"]
    return message


def check_signatures(blocks, proof, root):
    key, previous = root, None
    for i, block in enumerate(blocks):
        if not fits(key, block_message(block, previous), block["signature"]):
            raise Refused("bad_signature", i)
        external = block.get("external")
        if external:
            message = b"\0EXTERNAL\0\0VERSION\0" + ONE + b"\0PAYLOAD\0" + block["block"]
            message += b"\0PREVSIG\0" + previous["signature"]
            if not fits(external["public_key"]["key"], message, external["signature"]):
                raise Refused("bad_signature", i)
        key, previous = block["next_key"]["key"], block
    if "secret" in proof:
        own = Ed25519PrivateKey.from_private_bytes(proof["secret"]).public_key()
        good = own.public_bytes_raw() == key
    else:
        message = previous["block"] + ALG + key + previous["signature"]
        good = fits(key, message, proof["seal"])
    if not good:
        raise Refused("bad_signature", len(blocks))


# Blocks and checks (sections 3 to 5).

DEFAULT = (
    "read write resource operation right time role owner tenant namespace user team service admin "
    "email group member ip_address client client_ip domain path version cluster node hostname nonce query"
).split()
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DEVICE = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9-]{1,64}")
SCOPE = re.compile(r"\*|(?=.{1,64}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
LESS, LESS_OR_EQUAL, CONTAINS, PREFIX = 0, 2, 5, 6
SETS = {"accepts": "scopes", "audience": "audience", "method": "method", "operation": "operation"}


class Outside(Exception):
    """A block is not of the profile."""


def need(condition):
    if not condition:
        raise Outside


def resolve(symbols, number):
    table, index = (symbols, number - 1024) if number >= 1024 else (DEFAULT, number)
    need(index < len(table))
    return table[index]


def read_facts(block, symbols):
    facts = []
    for fact in block["facts"]:
        name = resolve(symbols, fact["predicate"]["name"])
        need(all("string" in term for term in fact["predicate"]["terms"]))
        facts.append((name, [resolve(symbols, t["string"]) for t in fact["predicate"]["terms"]]))
    return facts


def read_check(check, version, symbols):
    """A check as a pair of what it narrows and to what."""
    need("kind" not in check or check["kind"] == 0 and version >= 4)
    need(len(check["queries"]) == 1)
    query = check["queries"][0]
    need(not query["head"]["terms"] and not query["scope"] and len(query["body"]) == 1)
    need(resolve(symbols, query["head"]["name"]) == "query")
    fact = query["body"][0]
    name = resolve(symbols, fact["name"])
    need(len(fact["terms"]) == 1)
    term, expressions = fact["terms"][0], query["expressions"]
    if name == "holder":
        need("string" in term and not expressions)
        device = resolve(symbols, term["string"])
        need(DEVICE.fullmatch(device))
        return "holder", device
    need("variable" in term and len(expressions) == 1)
    resolve(symbols, term["variable"])
    ops = expressions[0]["ops"]
    need(len(ops) == 3 and "value" in ops[0] and "value" in ops[1] and "binary" in ops[2])
    left, right, operator = ops[0]["value"], ops[1]["value"], ops[2]["binary"]
    need("ffi_name" not in operator)
    kind = operator["kind"]
    if name in SETS and kind == CONTAINS:
        need(right == term and "set" in left)
        need(all("string" in member for member in left["set"]["set"]))
        members = {resolve(symbols, member["string"]) for member in left["set"]["set"]}
        if name == "accepts":
            need(all(SCOPE.fullmatch(member) for member in members))
        return SETS[name], members
    need(left == term)
    if name == "path" and kind == PREFIX:
        need("string" in right)
        prefix = resolve(symbols, right["string"])
        need(prefix.startswith("/") and prefix.endswith("/"))
        return "path", prefix
    need(name == "time" and kind in (LESS, LESS_OR_EQUAL) and "date" in right)
    return "not_after", right["date"] + (kind == LESS_OR_EQUAL)


class Block:
    def __init__(self, signed, index, shared):
        block = decode(BLOCK, signed["block"])
        if encode(BLOCK, block) != signed["block"]:
            raise malformed()
        version = block.get("version")
        need(version in (3, 4, 5))
        need("context" not in block and not block["scope"] and not block["public_keys"])
        need(not block["rules"])
        self.attested = "external" in signed
        if self.attested:
            need(index > 0 and "version" in signed and version == 5)
        symbols = [] if self.attested else shared
        for symbol in block["symbols"]:
            need(symbol not in DEFAULT and symbol not in symbols)
            symbols.append(symbol)
        self.facts = read_facts(block, symbols)
        self.checks = [read_check(check, version, symbols) for check in block["checks"]]

    def one(self, name, pattern):
        """The one fact of a name and one term."""
        found = [terms for fact, terms in self.facts if fact == name]
        need(len(found) == 1 and len(found[0]) == 1 and pattern.fullmatch(found[0][0]))
        return found[0][0]

    def only(self, *names):
        need(all(name in names for name, _ in self.facts))

    def count(self, kind):
        return sum(1 for found, _ in self.checks if found == kind)


def read_authority(block):
    need(not block.checks)
    block.only("authority", "scope")
    scopes = [terms for name, terms in block.facts if name == "scope"]
    need(scopes and all(len(terms) == 1 and SCOPE.fullmatch(terms[0]) for terms in scopes))
    return {"id": block.one("authority", UUID), "scopes": {terms[0] for terms in scopes}}


def read_grant(block):
    block.only("grant", "device", "service", "role")
    subjects = [name for name, _ in block.facts if name in ("device", "service")]
    need(len(subjects) == 1)
    subject = block.one(subjects[0], DEVICE if subjects[0] == "device" else NAME)
    need(all(kind in ("scopes", "not_after") for kind, _ in block.checks))
    need(block.count("scopes") == 1 and block.count("not_after") <= 1)
    grant = {"id": block.one("grant", UUID), "role": block.one("role", NAME)}
    return grant | {subjects[0]: subject, "checks": block.checks}


def read_session(block):
    need(len(block.facts) == 1 and block.facts[0][0] == "session")
    terms = block.facts[0][1]
    need(len(terms) == 2 and all(UUID.fullmatch(term) for term in terms))
    need(block.count("audience") == 1 and block.count("not_after") == 1)
    need(all(len(value) == 1 for kind, value in block.checks if kind == "audience"))
    return {"grant": terms[0], "id": terms[1], "checks": block.checks}


class Token:
    """A token of the profile whose keys are known and whose signatures fit."""

    def __init__(self, text, keys):
        if not text:
            raise Refused("missing_token")
        container, data = read_container(text)
        blocks = [container["authority"], *container["blocks"]]
        if len(blocks) > 8:
            raise Refused("outside_profile", 8)
        for i, block in enumerate(blocks):
            check_sizes(block, i)
        proof = container["proof"]
        sizes = {"secret": 32, "seal": 64}
        if not proof or any(len(value) != sizes[kind] for kind, value in proof.items()):
            raise malformed()
        root = keys.roots.get(container.get("root_key_id"))
        externals = [block["external"] for block in blocks if "external" in block]
        if root is None or any(e["public_key"]["key"] not in keys.attestation for e in externals):
            raise Refused("unknown_key")
        if encode(BISCUIT, container) != data:
            raise malformed()
        self.walk(blocks, proof, container["root_key_id"])
        check_signatures(blocks, proof, root)
        if self.session is None:
            raise Refused("grant_not_accepted")
        if self.session["grant"] != self.leaf["id"]:
            raise Refused("not_activated")

    def walk(self, blocks, proof, root_key_id):
        self.grants, self.session, self.holder = [], None, []
        shared = []
        for i, signed in enumerate(blocks):
            try:
                self.take(Block(signed, i, shared), i, len(blocks), proof)
            except Outside:
                raise Refused("outside_profile", i) from None
        if len(self.grants) > 4:
            raise Refused("outside_profile", 5)
        if len(self.holder) > 2:
            raise Refused("outside_profile", len(self.grants) + 4)
        if not self.grants:
            raise Refused("outside_profile", 0)
        if self.session is None and "secret" in proof:
            raise Refused("outside_profile", len(blocks) - 1)

    def take(self, block, index, count, proof):
        if index == 0:
            roots = [terms for name, terms in block.facts if name == "root"]
            if roots and len(roots[0]) == 1:
                need(not block.checks and len(block.facts) == 1)
                need(count == 1 and "seal" in proof)
                raise Refused("root_token_not_accepted")
            self.authority = read_authority(block)
        elif not block.attested:
            need(self.session is not None and not block.facts)
            self.holder.append(block.checks)
        elif self.session is not None:
            raise Outside
        elif any(name == "grant" for name, _ in block.facts):
            self.grants.append(read_grant(block))
        else:
            need(self.grants)
            self.session = read_session(block)

    @property
    def leaf(self):
        return self.grants[-1]

    def checks(self, kind):
        blocks = [grant["checks"] for grant in self.grants]
        blocks += [self.session["checks"], *self.holder]
        return [value for checks in blocks for found, value in checks if found == kind]

    def decide(self, request, required, keys, ended=(), feed_age=0):
        """Steps 14 to 21 of section 8."""
        if abs(feed_age) >= BOUND:
            raise Refused("revocations_stale")
        revoked = {end["id"] for end in ended if end["end"] == "revoked"}
        lineage = [self.authority["id"], *(g["id"] for g in self.grants), self.session["id"]]
        if revoked & set(lineage):
            raise Refused("revoked")
        if any(end["id"] == self.leaf["id"] for end in ended):
            raise Refused("retired")
        if any(request["now"] >= end for end in self.checks("not_after")):
            raise Refused("expired")
        if any(request["holder"] != device for device in self.checks("holder")):
            raise Refused("wrong_holder")
        if any(request["audience"] not in origins for origins in self.checks("audience")):
            raise Refused("wrong_audience")
        if any(request["method"] not in methods for methods in self.checks("method")):
            raise Refused("caveat_method")
        path = request["path"]
        stated = path if path is None or path.endswith("/") else path + "/"
        if any(stated is None or not stated.startswith(p) for p in self.checks("path")):
            raise Refused("caveat_path")
        if any(request["operation"] not in names for names in self.checks("operation")):
            raise Refused("caveat_operation")
        sets = [self.authority["scopes"], *self.checks("scopes")]
        asked = [keys.satisfying(scope) for scope in required] or [set(keys.implies) | {"*"}]
        if any(not scopes & accepted for accepted in asked for scopes in sets):
            raise Refused("insufficient_scope")


def read_container(text):
    if len(text.encode()) > MAX_TEXT:
        raise malformed()
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise malformed() from None
    if base64.urlsafe_b64encode(data).decode() != text:
        raise malformed()
    return decode(BISCUIT, data), data


def check_sizes(block, index):
    external = block.get("external")
    if block.get("version", 1) != 1:
        raise malformed()
    for key in ([external["public_key"]] if external else []) + [block["next_key"]]:
        if key["algorithm"] != 0:
            raise Refused("outside_profile", index)
        if len(key["key"]) != 32:
            raise malformed()
    for signature in [external["signature"]] if external else []:
        if len(signature) != 64:
            raise malformed()
    if len(block["signature"]) != 64:
        raise malformed()


class Keys:
    """Keys and scopes of `/.well-known/hardtack`."""

    def __init__(self, document):
        live = lambda entries: [e for e in entries if e["state"] != "retired"]
        raw = lambda entry: bytes.fromhex(entry["key"].removeprefix("ed25519/"))
        self.roots = {entry["id"]: raw(entry) for entry in live(document["root_keys"])}
        self.attestation = {raw(entry) for entry in live(document["attestation_keys"])}
        names = [scope["name"] for scope in document["scopes"]]
        self.implies = {}
        for scope in document["scopes"]:
            implied = set()
            for text in scope["implies"]:
                under = text.removesuffix("*")
                if text.endswith(".*"):
                    implied |= {name for name in names if name.startswith(under)}
                else:
                    implied.add(text)
            self.implies[scope["name"]] = implied

    def satisfying(self, required):
        """Every scope that satisfies a required one."""
        found = {required, "*"}
        while True:
            more = {name for name, implied in self.implies.items() if implied & (found - {"*"})}
            if more <= found:
                return found
            found |= more


# Proof of possession (section 11).


def verify_proof(proof, method, path, origin, token, now):
    """The device that a DPoP proof proves; None if it does not fit."""
    try:
        parts = proof.split(".")
        if len(proof) > 4096 or len(parts) != 3:
            return None
        header, claims = (json.loads(unpadded(part)) for part in parts[:2])
        jwk = header["jwk"]
        if header["typ"] != "dpop+jwt" or header["alg"] not in ("EdDSA", "Ed25519"):
            return None
        if "crit" in header or "d" in jwk or (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
            return None
        key, signature = unpadded(jwk["x"]), unpadded(parts[2])
        if len(key) != 32 or len(signature) != 64:
            return None
        if not fits(key, ".".join(parts[:2]).encode(), signature):
            return None
        if claims["htm"] != method or not same_url(claims["htu"], origin, path):
            return None
        if claims["iat"] < 0 or abs(now - int(claims["iat"])) > 70:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        if unpadded(claims["ath"]) != digest or not 1 <= len(claims["jti"].encode()) <= 256:
            return None
        return hashlib.sha256(key).hexdigest()
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def unpadded(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise ValueError("not canonical base64url")
    return data


def same_url(url, origin, path):
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}" == origin and (parts.path or "/") == path


def unix(text):
    return int(datetime.datetime.fromisoformat(text).timestamp())
