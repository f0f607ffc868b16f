// What is in: the documents of a collection, and the collections.

import { Refusal, get, send } from "./api";
import { open } from "./cited";
import { announce, button, confirmed, element, icon, make } from "./dom";
import { keep, kept } from "./storage";

interface FileEntry {
  name: string;
  chunks: number;
  added_at?: number | null;
  title?: string | null;
  pages?: number | null;
  outcome?: string | null;
  reason?: string | null;
}

interface Collections {
  indices: string[];
  collections?: { name: string; files: number; chunks: number }[];
}

/** What people call the collection without a name. */
export const DEFAULT = "default";
/** Of a list: who has more searches. */
const MAX_SHOWN = 200;
/** So many can be looked through without a search. */
const FEW = 6;
const NEW = "\n"; // no name of a collection: it has no line breaks
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

const section = element("documents");
const list = element<HTMLUListElement>("list");
const search = element<HTMLInputElement>("search");
const select = element<HTMLSelectElement>("collection");
const problem = element("documents-problem");
const remove = element<HTMLButtonElement>("collection-delete");

export class Documents {
  private files: FileEntry[] = [];
  private names: string[] = [];
  private current = DEFAULT;
  private asked = 0;

  /**
   * @param onChange What is in has changed: how many, and the newest ones' names; null: this server keeps no documents.
   */
  constructor(private readonly onChange: (files: readonly { name: string }[] | null) => void) {
    search.addEventListener("input", () => this.draw());
    select.addEventListener("change", () => void this.choose(select.value));
    remove.addEventListener("click", () => void this.deleteCollection());
    this.current = kept("weft.collection", "sessionStorage") ?? DEFAULT;
  }

  /** The collection's name as the API takes it: empty is the default one. */
  get collection(): string {
    return this.current === DEFAULT ? "" : this.current;
  }

  /** Read what is in, anew. */
  async refresh(): Promise<void> {
    const asked = ++this.asked;
    try {
      const [files, known] = await Promise.all([
        get<{ files: FileEntry[] }>(`/v1/dataprep/files?${new URLSearchParams({ index_name: this.collection })}`),
        get<Collections>("/v1/dataprep/collections"),
      ]);
      if (asked !== this.asked) return;
      this.files = files.files.sort((one, other) => (other.added_at ?? 0) - (one.added_at ?? 0) || one.name.localeCompare(other.name));
      this.names = known.collections?.map((entry) => entry.name) ?? known.indices;
      problem.textContent = "";
    } catch (error) {
      if (asked !== this.asked) return;
      if (error instanceof Refusal && error.status === 404) {
        section.hidden = true;
        this.onChange(null);
        return;
      }
      problem.textContent = (error as Error).message;
    }
    this.draw();
    this.onChange(this.files);
  }

  /** Show another collection, and ask it from now on. */
  async switchTo(name: string): Promise<void> {
    this.current = name || DEFAULT;
    keep("weft.collection", this.current, "sessionStorage");
    search.value = "";
    this.files = [];
    await this.refresh();
  }

  private async choose(value: string): Promise<void> {
    if (value !== NEW) return this.switchTo(value);
    select.value = this.current;
    const name = await newName(this.names);
    if (!name) return;
    await this.switchTo(name);
    announce(`Collection ${name}. It is made with its first document.`);
    element("files").focus();
  }

  private draw(): void {
    const names = [...new Set([DEFAULT, ...this.names, this.current])];
    select.replaceChildren(
      ...names.map((name) => make("option", { value: name }, name === DEFAULT ? "Default collection" : name)),
      make("option", { value: NEW }, "New collection …"),
    );
    select.value = this.current;
    remove.hidden = !this.files.length;
    search.parentElement!.hidden = this.files.length <= FEW;
    const wanted = search.value.trim().toLowerCase();
    const found = this.files.filter((file) => `${file.name} ${file.title ?? ""}`.toLowerCase().includes(wanted));
    list.replaceChildren(...found.slice(0, MAX_SHOWN).map((file) => this.item(file)));
    element("count").textContent = this.files.length ? String(this.files.length) : "";
    const more = element("list-more");
    more.textContent = !found.length
      ? this.files.length
        ? "No document has that in its name."
        : ""
      : found.length > MAX_SHOWN
        ? `and ${found.length - MAX_SHOWN} more: search for them`
        : "";
  }

  private item(file: FileEntry): HTMLElement {
    const said = [
      file.pages ? `${file.pages} ${file.pages === 1 ? "page" : "pages"}` : "",
      `${file.chunks} ${file.chunks === 1 ? "passage" : "passages"}`,
      file.outcome === "partly" ? `in part: ${file.reason ?? "not all of it could be read"}` : "",
    ];
    const name = button({ class: "file", title: file.name }, [icon("file"), make("span", { class: "name" }, file.name), make("span", { class: "soft" }, said.filter(Boolean).join(" · "))], (event) =>
      open({ source: file.name, title: file.title ?? file.name, collection: this.collection }, event.currentTarget as HTMLElement),
    );
    return make(
      "li",
      {},
      name,
      button({ class: "quiet", "aria-label": `Delete ${file.name}`, title: "Delete" }, icon("bin"), () => this.delete(file.name)),
    );
  }

  private async delete(name: string): Promise<void> {
    if (!(await confirmed("Delete this document?", `${name} will no longer be found. The file itself stays where you have it.`, "Delete"))) return;
    await this.send(name, `${name} is deleted.`);
    (list.querySelector("button") ?? element("files")).focus();
  }

  private async deleteCollection(): Promise<void> {
    const count = this.files.length;
    const what = this.current === DEFAULT ? "the default collection" : `the collection ${this.current}`;
    if (!(await confirmed(`Delete ${what}?`, `All of its ${count} ${count === 1 ? "document" : "documents"} will no longer be found.`, "Delete all"))) return;
    if (await this.send("all", `Deleted ${what}.`)) {
      await this.switchTo(DEFAULT);
      select.focus();
    }
  }

  private async send(path: string, done: string): Promise<boolean> {
    let failure = "";
    try {
      await send("/v1/dataprep/delete", { file_path: path, index_name: this.collection });
      announce(done);
    } catch (error) {
      failure = (error as Error).message;
    }
    await this.refresh();
    if (failure) problem.textContent = failure;
    return !failure;
  }
}

/** Ask for a collection's name; empty: never mind. */
function newName(taken: readonly string[]): Promise<string> {
  const dialog = element<HTMLDialogElement>("new-collection");
  const input = element<HTMLInputElement>("new-collection-name");
  const wrong = element("new-collection-problem");
  input.value = wrong.textContent = "";
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  const form = dialog.querySelector("form")!;
  const check = (event: SubmitEvent): void => {
    if ((event.submitter as HTMLButtonElement | null)?.value !== "yes") return;
    const name = input.value.trim();
    if (taken.includes(name)) wrong.textContent = "There is one of that name.";
    else if (!NAME.test(name)) wrong.textContent = "A name has letters, digits, dots, dashes and underscores, and begins with a letter or digit.";
    else return;
    event.preventDefault();
    input.setAttribute("aria-invalid", "true");
    input.focus();
  };
  form.addEventListener("submit", check);
  return new Promise((resolve) =>
    dialog.addEventListener(
      "close",
      () => {
        form.removeEventListener("submit", check);
        input.removeAttribute("aria-invalid");
        resolve(dialog.returnValue === "yes" ? input.value.trim() : "");
      },
      { once: true },
    ),
  );
}
