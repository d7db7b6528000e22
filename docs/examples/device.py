#!/usr/bin/env python3
"""usage: device.py API_URL GATEWAY_URL SCOPE[,SCOPE]... [KEY_FILE]"""
import hashlib, json, os, sys, time, uuid
import jwt, requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
if len(sys.argv) not in (4, 5): sys.exit(__doc__)
api, gateway, scopes, key_file = (argument.rstrip("/") for argument in (sys.argv[1:] + ["device.key"])[:4])
if not os.path.exists(key_file):  # 32 secret bytes, made once, for their owner alone
    os.write(os.open(key_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), Key.generate().private_bytes_raw())
key = Key.from_private_bytes(open(key_file, "rb").read())
header = {"typ": "dpop+jwt", "jwk": jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)}

def send(method, url, headers={}, claims={}, **body):  # with a proof of the key for this very request
    proof = {"htm": method, "htu": url, "iat": int(time.time()), "jti": str(uuid.uuid4())} | claims
    headers = headers | {"DPoP": jwt.encode(proof, key, "EdDSA", header)}
    try:
        answer = requests.request(method, url, headers=headers, timeout=30, **body)
        said = answer.json()
    except requests.RequestException as failure:
        sys.exit(f"{url}: {failure}")
    if said.get("code") == "use_dpop_nonce" and "nonce" not in claims:  # the server's nonce in the proof: once more
        return send(method, url, headers, claims | {"nonce": answer.headers["DPoP-Nonce"]}, **body)
    return said if answer.ok else sys.exit(f"refused: {said.get('detail') or said['error_description']} ({said['code']})")

print("device   ", hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest())
ask = {"role": "operator", "scopes": scopes.split(","), "name": "device.py"}
pairing = send("POST", api + "/v1/pairing-requests", json=ask)
if pairing["status"] == "pending":
    print("approve   hardtack devices approve", pairing["user_code"], flush=True)
while pairing["status"] == "pending":
    time.sleep(pairing["interval"])
    pairing = send("GET", api + "/v1/pairing-requests/" + pairing["id"])
if pairing["status"] != "approved":
    sys.exit(f"the request is {pairing['status']}: {pairing.get('reason', 'no reason given')}")
token = send("POST", api + "/oauth/token", data={"grant_type": "refresh_token", "refresh_token": pairing["grant"]})
print("exchanged", token["scope"], "for", token["expires_in"], "s")
access = token["access_token"]  # bound to the key: each use proves it, and names the token by its hash
ath = jwt.utils.base64url_encode(hashlib.sha256(access.encode()).digest()).decode()
whoami = send("GET", gateway + "/.hardtack/whoami", {"Authorization": "DPoP " + access}, {"ath": ath})
print("whoami   ", json.dumps(whoami))
