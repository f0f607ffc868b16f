// What this browser keeps for the page. A browser may keep nothing (a private window, a setting): the page works without.

/** What is kept under a name; null: nothing, or nothing can be. */
export function kept(name: string, storage: "localStorage" | "sessionStorage" = "localStorage"): string | null {
  try {
    return globalThis[storage].getItem(name);
  } catch {
    return null;
  }
}

/** Keep something; whether it could be. */
export function keep(name: string, value: string, storage: "localStorage" | "sessionStorage" = "localStorage"): boolean {
  try {
    globalThis[storage].setItem(name, value);
    return true;
  } catch {
    return false;
  }
}
