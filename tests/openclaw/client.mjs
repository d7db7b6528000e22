// A client of openclaw-node as an application has it: it connects, waits for its
// approval and reconnects by itself. What happens is told on standard output, one
// JSON object a line; a line on standard input is a request.
import { createInterface } from "node:readline";
import { OpenClawClient } from "openclaw-node";

const options = JSON.parse(process.argv[2]);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const client = new OpenClawClient({
  reconnectIntervalMs: 100,
  maxReconnectAttempts: 100,
  ...options,
});

client.on("connected", () => tell({ event: "connected" }));
client.on("disconnected", () => tell({ event: "disconnected" }));
client.on("pairingRequired", (needed) => tell({ event: "pairingRequired", ...needed }));
client.on("error", (error) => tell({ event: "error", message: String(error?.message ?? error) }));
// What a failed attempt rejects with is told as an event already.
client.connect().catch(() => {});

for await (const line of createInterface({ input: process.stdin })) {
  const { method, params } = JSON.parse(line);
  client.request(method, params).then(
    (result) => tell({ result }),
    (error) => tell({ refused: String(error?.message ?? error) }),
  );
}
process.exit(0);
