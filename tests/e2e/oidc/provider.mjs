// A provider of the make "oidc-provider", for tests: one client with a secret, PKCE required, JWTs as access tokens.
// node provider.mjs PORT KEYS.json CALLBACKS.txt
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const [port, keys, callbacks] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const jwks = JSON.parse(readFileSync(keys, "utf8"));
const accounts = {
  ann: { sub: "ann", email: "ann@example.org", groups: ["staff", "weft-admin"] },
  bob: { sub: "bob", email: "bob@example.org", groups: [] },
};

const provider = new Provider(issuer, {
  jwks,
  clients: [
    {
      client_id: "weft-page",
      client_secret: "a secret of the page with : and % in it",
      redirect_uris: ["http://127.0.0.1/login/callback"],
      grant_types: ["authorization_code", "client_credentials"],
      response_types: ["code"],
      id_token_signed_response_alg: "ES256",
    },
  ],
  cookies: { keys: ["of a test"] },
  scopes: ["openid", "email", "groups"],
  claims: { openid: ["sub"], email: ["email"], groups: ["groups"] },
  pkce: { required: () => true },
  findAccount: (ctx, id) => accounts[id] && { accountId: id, claims: () => accounts[id] },
  ttl: { AccessToken: 300 },
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // urn:AUDIENCE:ALGORITHM:SECONDS
      getResourceServerInfo: (ctx, resource) => {
        const [, audience, alg, seconds] = resource.split(":");
        return { scope: "api", audience, accessTokenTTL: Number(seconds), accessTokenFormat: "jwt", jwt: { sign: { alg } } };
      },
    },
  },
});
// The gateway's port is known only when it has started.
provider.Client.prototype.redirectUriAllowed = (uri) => readFileSync(callbacks, "utf8").split("\n").includes(uri);
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
