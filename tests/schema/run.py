#!/usr/bin/env python3
"""Plays what /openapi.json allows, and what it forbids, against a server, with schemathesis.

    cargo build
    tests/schema/run.py [--seconds 45] [--binary target/debug/hardtack]

Plays as nobody, as the holder of an access token for everything, and as a device that holds
everything; for so many seconds each. Fails where an answer is not what the document says.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proof import proof

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SCOPES = ["operator.admin", "operator.pairing", "operator.read", "operator.write"]


class Server:
    """A new install, whose first device this is."""

    def __init__(self, binary, directory):
        self.directory = directory
        self.binary = binary
        self.log = open(directory / "log", "wb")
        self.child = subprocess.Popen(
            [binary, "serve", "--data-dir", directory / "data", "--listen", "127.0.0.1:0"]
            + ["--gateway-listen", "127.0.0.1:0", "--root-token-file", directory / "root"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        for line in self.child.stdout:
            if line.startswith("hardtack ready"):
                break
        else:
            sys.exit(f"the server did not start: {(directory / 'log').read_text()}")
        self.api = json.loads((directory / "data/server.json").read_text())["url"]

    def cli(self, *arguments, secret=None):
        """What the command says, as JSON."""
        run = [self.binary, *arguments, "--json", "--data-dir", self.directory / "data"]
        return json.loads(subprocess.run(run, check=True, capture_output=True, text=True, input=secret).stdout)

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(60)


def device(server):
    """A device that the root token approved: no approver's end takes it along."""
    key = Ed25519PrivateKey.generate()
    asked = f"{server.api}/v1/pairing-requests"
    ask = {"role": "operator", "scopes": SCOPES, "name": "schema"}
    answer = requests.post(asked, json=ask, headers={"DPoP": proof(key, "POST", asked)}, timeout=30)
    url = f"{asked}/{answer.json()['id']}"
    root = (server.directory / "root").read_text().strip().removeprefix("HARDTACK_ROOT_TOKEN=")
    requests.post(f"{url}/approve", headers={"Authorization": f"Bearer {root}"}, timeout=30).raise_for_status()
    grant = requests.get(url, headers={"DPoP": proof(key, "GET", url)}, timeout=30).json()["grant"]
    return {"api": server.api, "grant": grant, "key": key.private_bytes_raw().hex()}


def play(server, caller, name, arguments):
    """One caller's requests."""
    file = server.directory / f"{name}.json"
    file.write_text(json.dumps(caller))
    print(f"== {name}", flush=True)
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
    command += ["run", f"{server.api}/openapi.json", "--max-time", str(arguments.seconds), "--warnings", "off"]
    if not caller:
        # Without a credential there is nothing that has to be accepted.
        command += ["--exclude-checks", "positive_data_acceptance"]
    if arguments.seed is not None:
        command += ["--seed", str(arguments.seed)]
    environment = os.environ | {"HARDTACK_TEST_CALLER": str(file), "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks"}
    return subprocess.run(command, env=environment, cwd=server.directory, check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=45)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/debug/hardtack")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hardtack-schema-") as directory:
        server = Server(arguments.binary.resolve(), Path(directory))
        try:
            token = server.cli("token", "exchange", "--audience", server.api, "--ttl", "1h", "--scopes", ",".join(SCOPES))
            callers = {"nobody": {}, "token": {"token": token["access_token"]}, "device": device(server)}
            failed = [name for name, caller in callers.items() if play(server, caller, name, arguments)]
        finally:
            code = server.end()
        if failed or code:
            sys.exit(f"failed: {', '.join(failed) or f'the server ended with {code}'}")


if __name__ == "__main__":
    main()
