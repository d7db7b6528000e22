// `openid-client` 6 as a device, as a service and as a resource server.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { askForApproval, grantTypes, newDevice, settings, step, tokenTypes } from './device.mjs';

const issuer = new URL(settings.issuer);
const discover = (id, secret, authentication) =>
  client.discovery(issuer, id, secret, authentication, { algorithm: 'oauth2' });

const device = await newDevice();
// A device that is not known yet brings its public key in the assertion's header.
const authentication = client.PrivateKeyJwt(device.keys.privateKey, {
  [client.modifyAssertion]: (header) => {
    header.jwk = device.jwk;
  },
});
const config = await discover(device.id, undefined, authentication);
assert.equal(config.serverMetadata().issuer, settings.issuer);
step('discovery');

const asked = await client.initiateDeviceAuthorization(config, { scope: 'operator.read' });
askForApproval(asked.user_code);
const paired = await client.pollDeviceAuthorizationGrant(config, asked);
assert.equal(paired.token_type, 'bearer');
assert.equal(paired.scope, 'operator.read');
step('device grant, by private_key_jwt');

const whoami = new URL('/.hardtack/whoami', settings.gateway);
const speaksFor = async (token, options) => {
  const answer = await client.fetchProtectedResource(
    config, token, whoami, 'GET', undefined, undefined, options,
  );
  return (await answer.json()).device_id;
};
assert.equal(await speaksFor(paired.access_token), device.id);
step('a bearer token at the gateway');

// The server wants a nonce, and the library asks again with it.
const DPoP = client.getDPoPHandle(config, device.keys);
const refreshed = await client.refreshTokenGrant(config, paired.refresh_token, undefined, { DPoP });
assert.equal(refreshed.token_type, 'dpop');
assert.equal(await speaksFor(refreshed.access_token, { DPoP }), device.id);
await assert.rejects(speaksFor(refreshed.access_token), /./, 'a bound token without its key');
step('refresh, bound by DPoP with a nonce');

const exchanged = await client.genericGrantRequest(
  config,
  grantTypes.exchange,
  {
    subject_token: paired.refresh_token,
    subject_token_type: tokenTypes.grant,
    requested_token_type: tokenTypes.access,
    scope: 'operator.read',
    audience: settings.gateway,
  },
  { DPoP },
);
assert.equal(exchanged.issued_token_type, tokenTypes.access);
assert.equal(await speaksFor(exchanged.access_token, { DPoP }), device.id);
step('token exchange');

const { service, asker } = settings;
for (const method of [client.ClientSecretBasic, client.ClientSecretPost]) {
  const own = await discover(service.name, service.secret, method(service.secret));
  const given = await client.clientCredentialsGrant(own, { scope: 'operator.read' });
  assert.equal(given.scope, 'operator.read');
  await assert.rejects(
    client.clientCredentialsGrant(own, { scope: 'operator.admin' }),
    { error: 'invalid_scope' },
  );
}
step('client credentials, basic and post');

const rs = await discover(asker.name, asker.secret, client.ClientSecretBasic(asker.secret));
const bearer = await client.tokenIntrospection(rs, paired.access_token);
assert.equal(bearer.active, true);
assert.equal(bearer.client_id, device.id);
const bound = await client.tokenIntrospection(rs, refreshed.access_token);
assert.equal(bound.token_type, 'DPoP');
assert.equal(bound.cnf.jkt, device.thumbprint);
assert.deepEqual(await client.tokenIntrospection(rs, 'garbage'), { active: false });
await assert.rejects(client.tokenIntrospection(config, paired.access_token), {
  error: 'insufficient_scope',
});
step('introspection');

await client.tokenRevocation(config, paired.access_token);
assert.deepEqual(await client.tokenIntrospection(rs, paired.access_token), { active: false });
assert.equal((await client.tokenIntrospection(rs, refreshed.access_token)).active, true);
await client.tokenRevocation(config, paired.refresh_token);
assert.deepEqual(await client.tokenIntrospection(rs, refreshed.access_token), { active: false });
await assert.rejects(client.refreshTokenGrant(config, paired.refresh_token), {
  error: 'invalid_grant',
});
step('revocation of a session, then of the grant');
