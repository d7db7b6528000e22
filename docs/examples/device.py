#!/usr/bin/env python3
"""usage: device.py API_URL GATEWAY_URL SCOPE[,SCOPE]... [KEY_FILE]"""
import base64, hashlib, json, os, sys, time, uuid
from urllib import error, parse, request
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key

if len(sys.argv) not in (4, 5):
    sys.exit(__doc__)
api, gateway, scopes, key_file = (arg.rstrip("/") for arg in (sys.argv[1:] + ["device.key"])[:4])
if not os.path.exists(key_file):  # 32 secret bytes, made once, for their owner alone
    with open(key_file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(Key.generate().private_bytes_raw())
key = Key.from_private_bytes(open(key_file, "rb").read())
public = key.public_key().public_bytes_raw()
device = hashlib.sha256(public).hexdigest()

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

def jwt(header, claims):
    claims = {"iat": int(time.time()), "jti": str(uuid.uuid4())} | claims
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "EdDSA"} | header, claims))
    return text + "." + b64(key.sign(text.encode()))

def send(method, url, body=None, **headers):
    try:
        with request.urlopen(request.Request(url, body, headers, method=method), timeout=30) as answer:
            return json.load(answer)
    except error.HTTPError as refusal:
        text, nonce = refusal.read().decode(errors="replace"), refusal.headers.get("DPoP-Nonce")
        if nonce and '"use_dpop_nonce"' in text:
            return {"nonce": nonce}
        problem = json.loads(text) if text.startswith("{") else {}
        why = problem.get("detail") or problem.get("error_description") or refusal.reason
        sys.exit(f"refused: {why} ({problem.get('code', refusal.code)})")
    except (OSError, ValueError) as failure:
        sys.exit(f"{url}: {failure}")

def prove(method, path, body=None, **nonce):  # with a proof of the key for this very request
    header = {"typ": "dpop+jwt", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(public)}}
    proof = jwt(header, {"htm": method, "htu": api + path} | nonce)
    answer = send(method, api + path, body, DPoP=proof)
    if "nonce" in answer and not nonce:  # the server wants its nonce in the proof: once more
        return prove(method, path, body, **answer)
    return answer

print("device   ", device)
ask = {"role": "operator", "scopes": scopes.split(","), "name": "device.py"}
pairing = prove("POST", "/v1/pairing-requests", json.dumps(ask).encode())
if pairing["status"] == "pending":
    print("approve   hardtack devices approve", pairing["user_code"], flush=True)
while pairing["status"] == "pending":
    time.sleep(pairing["interval"])
    pairing = prove("GET", "/v1/pairing-requests/" + pairing["id"])
if pairing["status"] != "approved":
    sys.exit(f"the request is {pairing['status']}: {pairing.get('reason', 'no reason given')}")
claims = {"iss": device, "sub": device, "aud": api, "exp": int(time.time()) + 60}
token = send("POST", api + "/oauth/token", parse.urlencode({
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": pairing["grant"],
    "subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": jwt({"typ": "JWT"}, claims)}).encode())
print("exchanged", token["scope"], "for", token["expires_in"], "s")
whoami = send("GET", gateway + "/.hardtack/whoami", Authorization="Bearer " + token["access_token"])
print("whoami   ", json.dumps(whoami))
