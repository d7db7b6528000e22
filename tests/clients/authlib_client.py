"""Authlib as a service and as a resource server."""

import json
import sys

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

ACCESS = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

with open(sys.argv[1], encoding="utf-8") as file:
    settings = json.load(file)
service, asker = settings["service"], settings["asker"]


def step(what):
    print(f"ok {what}", flush=True)


url = get_well_known_url(settings["issuer"], external=True)
server = AuthorizationServerMetadata(requests.get(url, timeout=30).json())
for member in ["issuer", "token_endpoint", "scopes_supported", "grant_types_supported"]:
    getattr(server, f"validate_{member}")()
for endpoint in ["introspection", "revocation", "token"]:
    getattr(server, f"validate_{endpoint}_endpoint_auth_methods_supported")()
assert server["issuer"] == settings["issuer"]
step("discovery")


def session(client, method):
    return OAuth2Session(client["name"], client["secret"], token_endpoint_auth_method=method)


for method in ["client_secret_basic", "client_secret_post"]:
    own = session(service, method)
    given = own.fetch_token(
        server["token_endpoint"], grant_type="client_credentials", scope="operator.read"
    )
    assert given["scope"] == "operator.read", given
    whoami = own.get(settings["gateway"] + "/.hardtack/whoami").json()
    assert whoami["service"] == service["name"], whoami
step("client credentials, basic and post")

narrow = session(service, "client_secret_post")
narrowed = narrow.fetch_token(
    server["token_endpoint"],
    grant_type=EXCHANGE,
    subject_token=given["access_token"],
    subject_token_type=ACCESS,
    scope="operator.read",
    expires_in="60",
)
assert narrowed["issued_token_type"] == ACCESS, narrowed
assert narrowed["expires_in"] <= 60, narrowed
step("token exchange")

rs = session(asker, "client_secret_basic")


def introspect(token):
    return rs.introspect_token(server["introspection_endpoint"], token=token).json()


found = introspect(narrowed["access_token"])
assert found["active"] and found["client_id"] == service["name"], found
assert introspect("garbage") == {"active": False}
step("introspection")

ended = rs.revoke_token(server["revocation_endpoint"], token=narrowed["access_token"])
assert ended.status_code == 401, "it is another service's"
ended = own.revoke_token(server["revocation_endpoint"], token=service["secret"])
assert ended.status_code == 200, ended.text
for token in [service["secret"], given["access_token"], narrowed["access_token"]]:
    assert introspect(token) == {"active": False}
step("revocation of the service token, and with it of its copies")
