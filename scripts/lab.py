"""What the measuring scripts share: servers that end with the script, and what they use."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SECRET = "0123456789abcdef0123456789abcdef"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def put(text, *pairs):
    """The shipped text with each of these in the place of what stands there once."""
    for old, new in pairs:
        if text.count(old) != 1:
            sys.exit(f"`{old}` stands {text.count(old)} times in a configuration, not once")
        text = text.replace(old, new)
    return text


def tool(name, package):
    """A program of the machine's."""
    path = os.environ["PATH"] + ":/usr/sbin"
    for place in path.split(":"):
        if os.access(f"{place}/{name}", os.X_OK):
            return f"{place}/{name}"
    sys.exit(f"there is no `{name}` (Debian's package {package})")


class App:
    """The application behind the proxy: says what it got, and sends back what comes after an upgrade."""

    def __init__(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        reader = connection.makefile("rb")
        try:
            while first := reader.readline():
                self.answer(connection, reader, first.decode("latin-1").split(" "))
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def answer(self, connection, reader, first):
        headers = []
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.strip().lower(), value.strip()))
        found = dict(headers)
        seen = {"method": first[0], "target": first[1], "headers": headers}
        self.seen.append(seen)
        if found.get("upgrade"):
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                               b"Upgrade: websocket\r\n\r\n")
            while data := reader.read1(65536):
                connection.sendall(data)
            return
        seen["body"] = self.body(reader, found)
        text = json.dumps(seen).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    @staticmethod
    def body(reader, headers):
        size = 0
        if "chunked" in headers.get("transfer-encoding", ""):
            while length := int(reader.readline(), 16):
                size += len(reader.read(length))
                reader.readline()
            reader.readline()
        elif left := int(headers.get("content-length", 0)):
            size = len(reader.read(left))
        return size


class Process:
    """A server, its children included."""

    def __init__(self, *command, cpu=None, port=None, **more):
        pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*pinned, *map(str, command)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if port is None else self.log, stderr=self.log, **more)
        self.pid = self.process.pid
        self.port = port
        if port is None:
            self.port = int(self.process.stdout.readline() or self.failed(command))
        while not answers(self.port):
            if self.process.poll() is not None:
                self.failed(command)
            time.sleep(0.02)

    def failed(self, command):
        self.log.seek(0)
        sys.exit(f"{command[0]} does not start:\n{self.log.read().decode()}")

    def pids(self):
        """The process and all below it."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, read(task).split())
        return found

    def cpu_nanos(self):
        """What all threads have spent on processors."""
        return sum(int(read(stat).split()[0] or 0) for pid in self.pids()
                   for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"))

    def memory(self):
        """Resident bytes."""
        return sum(resident(pid) for pid in self.pids())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def read(path):
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended since it was listed.
        return "0"


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Hardtack(Process):
    """A hardtack server with a data directory of its own, and its CLI."""

    def __init__(self, binary, home, *options, cpu=None):
        self.binary, self.cpu = binary, cpu
        home.mkdir(exist_ok=True)
        (home / "secret").write_text(SECRET)
        self.data = home / "data"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "HARDTACK_DATA_DIR": str(self.data),
                    "XDG_CONFIG_HOME": str(home / "config")}
        self.ports = (free_port(), free_port())
        self.options = ["--listen", f"127.0.0.1:{self.ports[0]}", "--gateway-listen",
                        f"127.0.0.1:{self.ports[1]}", *map(str, options)]
        self.start()

    def start(self):
        """Starts it, again if it was stopped. Gives the seconds until it is ready."""
        began = time.monotonic()
        Process.__init__(self, self.binary, "serve", *self.options, cpu=self.cpu, port=self.ports[1],
                         env=self.env)
        while fetch(self.ports[0], "/readyz")[0] != 200:
            time.sleep(0.001)
        return time.monotonic() - began

    def run(self, *words, **more):
        command = [self.binary, *map(str, words)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, **more)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
        return done.stdout.strip()

    def device(self, profile, scopes):
        """Pairs a device of that profile; its id."""
        pair = ["pair", "--scopes", scopes, "--profile", profile, "--no-wait", "--json"]
        asked = json.loads(self.run(*pair).splitlines()[0])
        self.run("devices", "approve", asked["id"])
        # Fetches the grant.
        self.run(*pair)
        return asked["device_id"]

    def token(self, profile, *more):
        return self.run("token", "exchange", "--profile", profile, "--ttl", "1h", *more)

    def counted(self, metric, *labels):
        """The sum of a metric over all series with these labels."""
        lines = fetch(self.ports[0], "/metrics")[1].splitlines()
        wanted = [line for line in lines if line.startswith(metric) and all(one in line for one in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)


def fetch(port, path, **headers):
    """Status and text of an answer; 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def nginx(home, site, port, cpu=None):
    """nginx with one worker and this site."""
    home.mkdir()
    (home / "site.conf").write_text(site)
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {home}/{kind};" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
        f"events {{ worker_connections 4096; }}\n"
        f"http {{ access_log off; keepalive_requests 100000000; {temporary} include site.conf; }}\n")
    return Process(tool("nginx", "nginx-light"), "-p", home, "-c", "nginx.conf", "-e",
                   home / "error.log", cpu=cpu, port=port)


def build():
    """Builds hardtack and the bare servers; the paths of both programs."""
    command = ["cargo", "build", "--quiet", "--locked", "--release"]
    bare = REPOSITORY / "target/bare"
    subprocess.run(command, cwd=REPOSITORY, check=True)
    subprocess.run([*command, "--manifest-path", "benches/bare/Cargo.toml", "--target-dir", bare],
                   cwd=REPOSITORY, check=True)
    return REPOSITORY / "target/release/hardtack", bare / "release/bare"
