"""requests-oauthlib as a service."""

import json
import sys

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

with open(sys.argv[1], encoding="utf-8") as file:
    settings = json.load(file)
service = settings["service"]
url = settings["issuer"] + "/oauth/token"

basic = {"auth": HTTPBasicAuth(service["name"], service["secret"])}
post = {"client_id": service["name"], "client_secret": service["secret"], "include_client_id": True}
for how in [basic, post]:
    client = BackendApplicationClient(service["name"], scope=["operator.read"])
    session = OAuth2Session(client=client)
    given = session.fetch_token(url, **how)
    assert given["scope"] == ["operator.read"], given
    whoami = session.get(settings["gateway"] + "/.hardtack/whoami").json()
    assert whoami["service"] == service["name"], whoami
print("ok client credentials, basic and post", flush=True)

client = BackendApplicationClient(service["name"], scope=["operator.admin"])
try:
    OAuth2Session(client=client).fetch_token(url, **basic)
except OAuth2Error as refused:
    assert refused.error == "invalid_scope", refused
    print("ok a refusal has a name", flush=True)
else:
    raise SystemExit("more was given than is held")
