// A gateway, many clients of one device, and hardtack between them.
import { execFileSync, spawn } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket, { WebSocketServer } from "ws";

const [clients, messages] = process.argv.slice(2).map(Number);
const home = mkdtempSync(join(tmpdir(), "hardtack-measure-"));
const env = { HOME: home };

const gateway = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
await new Promise((listening) => gateway.once("listening", listening));
gateway.on("connection", (socket) => {
  socket.send('{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}');
  socket.on("message", (data) => {
    const { id, method } = JSON.parse(data);
    const payload = method === "connect"
      ? { type: "hello-ok", protocol: 4, server: { version: "x", connId: "c" }, features: { methods: [], events: [] },
          snapshot: { presence: [], health: {}, stateVersion: { presence: 0, health: 0 }, uptimeMs: 1 },
          policy: { maxPayload: 26214400, maxBufferedBytes: 52428800, tickIntervalMs: 30000 } }
      : "y".repeat(1024);
    socket.send(JSON.stringify({ type: "res", id, ok: true, payload }));
  });
});
const behind = `ws://127.0.0.1:${gateway.address().port}`;
const server = spawn(process.env.HARDTACK, ["serve", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0",
  "--openclaw-listen", "127.0.0.1:0", "--openclaw-upstream", behind, "--log-level", "error"],
  { env, stdio: ["ignore", "pipe", "inherit"] });
let told = "";
await new Promise((ready) => server.stdout.on("data", (text) => (told += text).includes("hardtack ready") && ready()));
const url = /OpenClaw clients: (\S+)/.exec(told)[1];

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const key = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
const device = createHash("sha256").update(key).digest("hex");
const scopes = ["operator.read"];
const who = { id: "gateway-client", version: "1", platform: "linux", mode: "backend" };

function connect() {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.on("error", resolve);
    socket.on("close", (_code, reason) => resolve(String(reason)));
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.event === "connect.challenge") {
        const { nonce, ts } = frame.payload;
        const signed = ["v2", device, who.id, who.mode, "operator", scopes.join(), ts, "", nonce].join("|");
        const proof = { id: device, publicKey: key.toString("base64url"), signedAt: ts, nonce,
          signature: sign(null, Buffer.from(signed), privateKey).toString("base64url") };
        const params = { minProtocol: 4, maxProtocol: 4, client: who, role: "operator", scopes, device: proof };
        socket.send(JSON.stringify({ type: "req", id: "c", method: "connect", params }));
      } else if (frame.id === "c" && frame.ok) {
        resolve(socket);
      }
    });
  });
}
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))[1]);
// Ticks of 10 ms, in this process and in the kernel for it.
const cpu = () => {
  const fields = readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
};

try {
  const refused = await connect();
  const id = /requestId: ([^)]+)/.exec(refused)[1];
  execFileSync(process.env.HARDTACK, ["devices", "approve", id], { env });
  const first = await connect();
  const before = resident();
  const open = [];
  for (let n = 0; n < clients; n += 25) {
    open.push(...(await Promise.all(Array.from({ length: 25 }, connect))));
  }
  const failed = open.filter((socket) => !(socket instanceof WebSocket));
  if (failed.length > 0) throw new Error(`${failed.length} are not let in: ${failed[0]}`);
  const each = (resident() - before) / open.length;
  console.log(`idle      ${open.length} clients, ${each.toFixed(1)} KiB each (${before} KiB before)`);

  const idle = cpu();
  await new Promise((wait) => setTimeout(wait, 10_000));
  console.log(`idle      ${((cpu() - idle) / 100).toFixed(1)} % of a CPU with all of them open`);

  const text = (id) => JSON.stringify({ type: "req", id: String(id), method: "health", params: "x".repeat(1024) });
  const used = cpu();
  const began = process.hrtime.bigint();
  await new Promise((done) => {
    let sent = 0, answered = 0;
    const next = () => sent < messages && first.send(text(sent++));
    first.on("message", () => (++answered === messages ? done() : next()));
    for (let n = 0; n < 64; n++) next();
  });
  const took = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(`messages  ${messages} there and back, ${(2 * messages / took).toFixed(0)}/s, ${((cpu() - used) * 1000 / messages / 2).toFixed(1)} µs of CPU each`);
} finally {
  server.kill("SIGTERM");
  gateway.close();
  rmSync(home, { recursive: true, force: true });
}
process.exit(0);
