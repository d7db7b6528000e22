// What both programs for npm's libraries need: the settings, and a device's key.
import { readFileSync } from 'node:fs';

export const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));

export const grantTypes = {
  exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
};
export const tokenTypes = {
  grant: 'urn:ietf:params:oauth:token-type:refresh_token',
  access: 'urn:ietf:params:oauth:token-type:access_token',
};

/** A new device: its id is the SHA-256 of the raw public key. */
export async function newDevice() {
  const keys = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  const raw = await crypto.subtle.exportKey('raw', keys.publicKey);
  const { kty, crv, x } = await crypto.subtle.exportKey('jwk', keys.publicKey);
  const id = Buffer.from(await crypto.subtle.digest('SHA-256', raw)).toString('hex');
  const canonical = JSON.stringify({ crv, kty, x });
  const hash = await crypto.subtle.digest('SHA-256', Buffer.from(canonical));
  return { id, keys, jwk: { kty, crv, x }, thumbprint: Buffer.from(hash).toString('base64url') };
}

/** Whoever holds authority reads this line and approves. */
export function askForApproval(userCode) {
  console.log(`approve ${userCode}`);
}

export function step(what) {
  console.log(`ok ${what}`);
}
