// Who looks at the page, where the gateway asks that: for the line that says so, and so that chats are not shown to others.

import { get, leadsToLogin, request } from "./api";
import { announce, element } from "./dom";

interface Me {
  caller: string;
  tenant: string;
  roles: string[];
  can_log_in: boolean;
  can_log_out: boolean;
}

/** Whose chats this browser keeps under which name; empty: there is nobody in particular. */
export async function whose(): Promise<string> {
  const me = await get<Me>("/v1/me").catch(() => null);
  if (!me) return "";
  if (me.can_log_in || me.can_log_out) leadsToLogin();
  element("login").hidden = !me.can_log_in;
  element("me").hidden = !me.can_log_out;
  element("me-name").textContent = me.caller;
  if (me.roles.includes("admin")) {
    // A gateway may take no keys: then there is no such page.
    const keys = await request("/keys", { method: "HEAD" }).catch(() => null);
    element("administer").hidden = !keys?.ok;
  }
  element("logout").addEventListener("click", async () => {
    const reply = await request("/logout", { method: "POST", redirect: "manual" }).catch((error: Error) => {
      announce(error.message);
      return null;
    });
    if (reply) location.assign("/login");
  });
  return me.caller ? `${me.tenant}/${me.caller}` : "";
}
