// The page on which API keys are made, listed, rotated and revoked. It shows what /v1/keys says, and keeps nothing.

import { get, leadsToLogin, send } from "./api";
import { announce, button, confirmed, copyButton, element, make } from "./dom";

interface Key {
  id: string;
  name: string;
  tenant: string;
  owner: string;
  readers?: string[] | null;
  roles?: string[];
  scopes?: string[];
  created_at: number;
  expires_at?: number;
  revoked_at?: number;
  used_at?: number;
  old_until?: number;
}

interface Made {
  key: Key;
  secret: string;
}

const day = (seconds: number): string => new Date(seconds * 1000).toLocaleDateString();
const input = (id: string): HTMLInputElement => element<HTMLInputElement>(id);

/** The words of a field that has several, with commas or spaces between them. */
function words(id: string): string[] {
  return input(id).value.split(/[\s,]+/).filter(Boolean);
}

/** Do something that the server may refuse, and say what it says. */
async function tried(act: () => Promise<unknown>): Promise<void> {
  element("problem").textContent = "";
  try {
    await act();
  } catch (error) {
    element("problem").textContent = (error as Error).message;
  }
}

function show(made: Made, what: string): void {
  element("made").hidden = false;
  element("made-title").textContent = `${made.key.name}: ${what}`;
  element("secret").textContent = made.secret;
  element("copy").replaceChildren(copyButton("Copy the key", () => made.secret));
  element("made").scrollIntoView({ block: "nearest" });
  announce(`${what} of ${made.key.name} is shown on the page.`);
}

function facts(key: Key): string {
  const said = [
    `of ${key.tenant}`,
    key.owner !== key.name && `for ${key.owner}`,
    key.roles?.length && `may: ${key.roles.join(", ")}`,
    key.scopes?.length && `only: ${key.scopes.join(", ")}`,
    key.readers?.length && `reads: ${key.readers.join(", ")}`,
    key.revoked_at ? `revoked ${day(key.revoked_at)}` : key.expires_at && `until ${day(key.expires_at)}`,
    key.used_at ? `used ${day(key.used_at)}` : "never used",
    key.old_until && key.old_until * 1000 > Date.now() && `the secret before holds until ${new Date(key.old_until * 1000).toLocaleString()}`,
  ];
  return said.filter(Boolean).join(" · ");
}

function entry(key: Key, holds: boolean): HTMLLIElement {
  const acts = holds && [
    button({ "aria-label": `Give ${key.name} a new secret` }, "New secret", () => rotate(key)),
    button({ "aria-label": `Revoke ${key.name}` }, "Revoke", () => revoke(key)),
  ];
  return make(
    "li",
    {},
    make("div", { class: "grow" }, make("b", {}, key.name), " ", make("code", { class: "soft" }, key.id), make("p", { class: "soft" }, facts(key))),
    ...(acts || []),
  );
}

async function list(): Promise<void> {
  const { keys } = await get<{ keys: Key[] }>("/v1/keys");
  const holds = (key: Key): boolean => !key.revoked_at && !(key.expires_at && key.expires_at * 1000 <= Date.now());
  const now = keys.filter(holds);
  const old = keys.filter((key) => !holds(key));
  element("keys").replaceChildren(...now.map((key) => entry(key, true)));
  element("old").replaceChildren(...old.map((key) => entry(key, false)));
  element("none").hidden = now.length > 0;
  element("ended").hidden = old.length === 0;
}

async function rotate(key: Key): Promise<void> {
  const text = "The one in use holds for 24 hours more.";
  if (!(await confirmed(`A new secret for ${key.name}?`, text, "Make it"))) return;
  await tried(async () => {
    show(await send<Made>(`/v1/keys/${key.id}/rotate`, {}), "the new secret");
    await list();
  });
}

async function revoke(key: Key): Promise<void> {
  const text = "Whoever uses it is refused within seconds. It cannot be undone.";
  if (!(await confirmed(`Revoke ${key.name}?`, text, "Revoke"))) return;
  await tried(async () => {
    await send(`/v1/keys/${key.id}`, undefined, "DELETE");
    element("made").hidden = true;
    announce(`${key.name} is revoked.`);
    await list();
  });
}

element("new").addEventListener("submit", (event) => {
  event.preventDefault();
  void tried(async () => {
    const days = input("days").valueAsNumber;
    const readers = words("readers");
    const made = await send<Made>("/v1/keys", {
      name: input("name").value.trim(),
      tenant: input("tenant").value.trim(),
      owner: input("owner").value.trim(),
      readers: readers.length ? readers : null,
      roles: words("roles"),
      scopes: words("scopes"),
      expires_at: Number.isNaN(days) ? null : Date.now() / 1000 + days * 86_400,
    });
    element<HTMLFormElement>("new").reset();
    show(made, "the key");
    await list();
  });
});

leadsToLogin();
void tried(list);
