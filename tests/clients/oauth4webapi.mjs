// `oauth4webapi` 3: the same with every request by hand, from the gateway's
// challenge on.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import { askForApproval, grantTypes, newDevice, settings, step, tokenTypes } from './device.mjs';

const gateway = new URL(settings.gateway);
const resource = await oauth
  .resourceDiscoveryRequest(gateway)
  .then((answer) => oauth.processResourceDiscoveryResponse(gateway, answer));
const issuer = new URL(resource.authorization_servers[0]);
const as = await oauth
  .discoveryRequest(issuer, { algorithm: 'oauth2' })
  .then((answer) => oauth.processDiscoveryResponse(issuer, answer));
step('discovery, from the protected resource to the authorization server');

const device = await newDevice();
const client = { client_id: device.id };
const byKey = oauth.PrivateKeyJwt(device.keys.privateKey, {
  [oauth.modifyAssertion]: (header) => {
    header.jwk = device.jwk;
  },
});
const asked = await oauth
  .deviceAuthorizationRequest(as, client, byKey, { scope: 'operator.read' })
  .then((answer) => oauth.processDeviceAuthorizationResponse(as, client, answer));

/** Polls as RFC 8628 section 3.5 says. */
async function poll() {
  const answer = await oauth.deviceCodeGrantRequest(as, client, byKey, asked.device_code);
  try {
    return await oauth.processDeviceCodeResponse(as, client, answer);
  } catch (error) {
    const waiting = error instanceof oauth.ResponseBodyError;
    if (waiting && ['authorization_pending', 'slow_down'].includes(error.error)) return undefined;
    throw error;
  }
}
assert.equal(await poll(), undefined, 'nobody has approved yet');
askForApproval(asked.user_code);
let paired;
while (!paired) {
  await new Promise((wake) => setTimeout(wake, asked.interval * 1000));
  paired = await poll();
}
step('device grant, by private_key_jwt');

const DPoP = oauth.DPoP(client, device.keys);
/** Sends a request again with the nonce that the server asks for. */
async function withNonce(send) {
  try {
    return await send();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return send();
  }
}
const refresh = () =>
  oauth
    .refreshTokenGrantRequest(as, client, oauth.None(), paired.refresh_token, { DPoP })
    .then((answer) => oauth.processRefreshTokenResponse(as, client, answer));
await assert.rejects(refresh(), (error) => oauth.isDPoPNonceError(error), 'a nonce is wanted');
const refreshed = await refresh();
assert.equal(refreshed.token_type, 'dpop');
step('refresh, bound by DPoP with a nonce');

const exchange = (authentication, subject, type, options) =>
  oauth
    .genericTokenEndpointRequest(as, client, authentication, grantTypes.exchange, {
      subject_token: subject,
      subject_token_type: type,
      scope: 'operator.read',
    }, options)
    .then((answer) => oauth.processGenericTokenEndpointResponse(as, client, answer));
const bearer = await exchange(byKey, paired.refresh_token, tokenTypes.grant);
assert.equal(bearer.token_type, 'bearer');
const bound = await withNonce(() =>
  exchange(oauth.None(), paired.refresh_token, tokenTypes.grant, { DPoP }),
);
const narrowed = await exchange(oauth.None(), bearer.access_token, tokenTypes.access);
step('token exchange of a grant and of an access token');

const whoami = new URL('/.hardtack/whoami', settings.gateway);
for (const [token, options] of [
  [bearer.access_token, undefined],
  [narrowed.access_token, undefined],
  [refreshed.access_token, { DPoP }],
  [bound.access_token, { DPoP }],
]) {
  const answer = await oauth.protectedResourceRequest(
    token, 'GET', whoami, undefined, undefined, options,
  );
  assert.equal((await answer.json()).device_id, device.id);
}
step('tokens at the gateway');

const { service, asker } = settings;
const own = { client_id: service.name };
for (const method of [oauth.ClientSecretBasic, oauth.ClientSecretPost]) {
  const given = await oauth
    .clientCredentialsGrantRequest(as, own, method(service.secret), { scope: 'operator.read' })
    .then((answer) => oauth.processClientCredentialsResponse(as, own, answer));
  assert.equal(given.scope, 'operator.read');
}
step('client credentials, basic and post');

const rs = { client_id: asker.name };
const introspect = (token) =>
  oauth
    .introspectionRequest(as, rs, oauth.ClientSecretPost(asker.secret), token)
    .then((answer) => oauth.processIntrospectionResponse(as, rs, answer));
assert.equal((await introspect(bearer.access_token)).scope, 'operator.read');
assert.equal((await introspect(bound.access_token)).cnf.jkt, device.thumbprint);
assert.equal((await introspect(paired.refresh_token)).active, false, 'a grant opens nothing');
step('introspection');

const revoke = (token) =>
  oauth
    .revocationRequest(as, client, byKey, token)
    .then((answer) => oauth.processRevocationResponse(answer));
await revoke(bearer.access_token);
assert.equal((await introspect(narrowed.access_token)).active, false, 'copies end with it');
assert.equal((await introspect(bound.access_token)).active, true);
await revoke(paired.refresh_token);
assert.equal((await introspect(bound.access_token)).active, false);
await revoke('garbage');
step('revocation of a session, then of the grant');
