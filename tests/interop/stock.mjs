// The same as stock.py on a stock WebAssembly library, which the first argument names:
// `node --experimental-wasm-modules stock.mjs <its directory>`. The answer is the last line.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const directory = resolve(process.argv[2]);
const { version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
const { AuthorizerBuilder, Biscuit, BlockBuilder, PublicKey, SignatureAlgorithm } = await import(
  pathToFileURL(join(directory, "module/biscuit.js"))
);
// The default of 1 ms refuses at random on a busy machine.
const limits = { max_facts: 10_000, max_iterations: 1_000, max_time_micro: 20_000_000 };

function allows(token, code) {
  const builder = new AuthorizerBuilder();
  builder.addCode(code);
  const authorizer = builder.buildAuthenticated(token);
  try {
    authorizer.authorizeWithLimits(limits);
    return true;
  } catch (error) {
    if (error?.FailedLogic === undefined) throw error;
    return false;
  } finally {
    authorizer.free();
  }
}

function run(job, root) {
  let token = Biscuit.fromBase64(job.token, root);
  for (const code of job.narrow) {
    const block = new BlockBuilder();
    block.addCode(code);
    token = token.appendBlock(block);
  }
  const allowed = job.ask.map((ask) => ask.every((code) => allows(token, code)));
  return { token: token.toBase64(), allowed };
}

const asked = JSON.parse(readFileSync(0, "utf8"));
// Before version 0.6 there was one algorithm.
const root = PublicKey.fromString(asked.root, SignatureAlgorithm?.Ed25519);
const results = asked.jobs.map((job) => run(job, root));
const library = `biscuit-wasm ${version} on Node ${process.versions.node}`;
console.log(JSON.stringify({ library, results }));
