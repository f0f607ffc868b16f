// Which model name is asked; and which language model is behind it: "Use a better model".

import { Refusal, get, refusal, request, send } from "./api";
import { announce, button, element, make } from "./dom";
import { safe } from "./markdown";
import { keep, kept } from "./storage";

const KEY = "weft.model";

/** Offer the model names; one alone is no choice. */
export function showModels(select: HTMLSelectElement, names: string[]): void {
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  const last = kept(KEY);
  if (last && names.includes(last)) select.value = last;
  select.addEventListener("change", () => keep(KEY, select.value));
  element("model-choice").hidden = names.length < 2;
}

interface Switch {
  model: string;
  state: "asking" | "fetching" | "starting" | "done" | "failed" | "cancelled";
  done_bytes?: number;
  total_bytes?: number | null;
  error?: string;
}

interface ServiceModel {
  name: string;
  contract: string;
  model: string;
  server: string;
  parameters: number | null;
  default_model: string;
  is_default: boolean;
  fixed: string;
  switch: Switch | null;
}

interface Offer {
  model: string;
  name: string;
  contract: string;
  source: "server" | "file" | "catalogue" | "hub";
  where: string;
  parameters: number | null;
  download_bytes: number | null;
  memory_bytes: number | null;
  fits: boolean;
  licence: string | null;
  licence_url: string | null;
  description: string;
}

interface Choices {
  services: ServiceModel[];
  offers: Offer[];
  free_memory_bytes: number | null;
}

const PATH = "/v1/models/choices";
const ASK_MS = 700;
/** From so many weights on a model answers in its own words well enough to come first. */
const LARGE = 1e9;

const dialog = element<HTMLDialogElement>("models");
const now = element("models-now");
const progress = element("models-progress");
const bar = element<HTMLProgressElement>("models-bar");
const line = element("models-line");
const problem = element("models-problem");
const offers = element<HTMLUListElement>("models-offers");
const form = element<HTMLFormElement>("models-form");
const address = element<HTMLInputElement>("models-url");
const name = element<HTMLInputElement>("models-name");
const key = element<HTMLInputElement>("models-key");
const back = element<HTMLButtonElement>("models-back");
const service = element<HTMLSelectElement>("models-service");

export class BetterModel {
  private choices: Choices | null = null;
  private isAsking = false;

  constructor(private readonly opener: HTMLButtonElement) {
    opener.addEventListener("click", () => void this.open());
    element("models-close").addEventListener("click", () => dialog.close());
    element("models-cancel").addEventListener("click", () => void this.toDefault());
    back.addEventListener("click", () => void this.toDefault());
    service.addEventListener("change", () => this.draw());
    // What was typed and not sent is forgotten: a key is in no form that waits.
    dialog.addEventListener("close", () => (key.value = ""));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const model = name.value.trim();
      void this.choose(address.value.trim() + (model ? `#${model}` : ""), key.value);
      key.value = "";
    });
  }

  /** Find out whether there is a choice, and show what answers now. */
  async start(): Promise<void> {
    try {
      await this.read();
    } catch {
      return; // this server offers none, or not to this browser: the page does without
    }
    this.opener.hidden = !this.services().length;
    if (this.isBusy()) void this.follow();
  }

  private async open(): Promise<void> {
    dialog.showModal();
    problem.textContent = "";
    await this.read().catch((error: Error) => (problem.textContent = error.message));
    if (this.isBusy()) void this.follow();
  }

  private services(): ServiceModel[] {
    return this.choices?.services.filter((one) => one.contract === "chat" && !one.fixed) ?? [];
  }

  private chosen(): ServiceModel | undefined {
    const all = this.services();
    return all.find((one) => one.name === service.value) ?? all[0];
  }

  private isBusy(): boolean {
    const state = this.chosen()?.switch?.state;
    return state === "asking" || state === "fetching" || state === "starting";
  }

  private async read(): Promise<void> {
    this.choices = await get<Choices>(PATH);
    this.draw();
  }

  private draw(): void {
    const all = this.services();
    const before = service.value;
    service.replaceChildren(...all.map((one) => make("option", { value: one.name }, one.name)));
    if (all.some((one) => one.name === before)) service.value = before;
    service.parentElement!.hidden = all.length < 2;
    const current = this.chosen();
    if (!current) return;
    const isSmall = current.parameters !== null && current.parameters < LARGE;
    element("better-name").textContent = current.is_default && isSmall ? "Use a better model" : current.model;
    this.opener.title = `${current.model}: use another model`;
    now.replaceChildren(make("b", {}, current.model), ` answers now${where(current)}.`);
    const busy = this.isBusy();
    const last = current.switch;
    progress.hidden = !busy;
    if (busy) this.tell(last!);
    else if (last?.state === "failed") problem.textContent = `${last.model}: ${last.error ?? "it could not be used"}`;
    back.hidden = current.is_default || busy;
    back.textContent = `Back to ${current.default_model || "the default"}`;
    const found = this.choices!.offers.filter((offer) => offer.contract === "chat" && offer.model !== current.model && offer.model !== current.default_model);
    element("models-none").hidden = found.length > 0;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["model"] : undefined;
    offers.replaceChildren(...found.map((offer) => this.offer(offer, current, busy)));
    if (focused !== undefined) [...offers.querySelectorAll("button")].find((one) => one.dataset["model"] === focused)?.focus();
    for (const control of form.querySelectorAll<HTMLButtonElement>("button")) control.disabled = busy;
  }

  private offer(offer: Offer, current: ServiceModel, busy: boolean): HTMLElement {
    const licence = offer.licence && safe(offer.licence_url ?? "");
    const said = [
      offer.source === "server" ? `on ${offer.where}` : offer.source === "file" ? "on this machine" : offer.download_bytes ? `${bytes(offer.download_bytes)} to fetch` : "to be fetched",
      offer.memory_bytes ? `takes ${bytes(offer.memory_bytes)} of memory` : "",
      offer.fits ? "" : "more than is free now",
    ];
    const use = button({ "aria-label": `Use ${offer.name}`, "data-model": offer.model }, "Use", () => this.choose(offer.model));
    use.disabled = busy || !offer.fits;
    const isCurrent = !current.is_default && current.switch?.state === "done" && current.switch.model === offer.model;
    return make(
      "li",
      {},
      make(
        "div",
        {},
        make("b", {}, offer.name),
        make("p", { class: "soft" }, said.filter(Boolean).join(" · ")),
        offer.description ? make("p", { class: "soft" }, offer.description) : null,
        offer.licence
          ? make("p", { class: "soft" }, "Licence: ", licence ? make("a", { href: licence, target: "_blank", rel: "noopener noreferrer" }, offer.licence) : offer.licence)
          : null,
      ),
      isCurrent ? make("span", { class: "soft" }, "in use") : use,
    );
  }

  private tell(last: Switch): void {
    const { done_bytes: done = 0, total_bytes: total } = last;
    if (last.state === "fetching" && total) {
      bar.max = total;
      bar.value = done;
    } else bar.removeAttribute("value");
    line.textContent =
      last.state === "fetching"
        ? `Fetching ${last.model}: ${bytes(done)}${total ? ` of ${bytes(total)}` : ""}`
        : last.state === "asking"
          ? `Asking for ${last.model} …`
          : `Starting ${last.model} beside the one that answers …`;
  }

  private async choose(model: string, secret = ""): Promise<void> {
    problem.textContent = "";
    const wanted = { model, service: this.chosen()?.name, ...(secret && { key: secret }) };
    dialog.scrollTop = 0; // how far it is stands at the top
    try {
      const response = await request(PATH, {
        method: "POST",
        headers: { "content-type": "application/json", prefer: "respond-async" },
        body: JSON.stringify(wanted),
      });
      if (!response.ok) throw await refusal(response);
      await this.follow();
    } catch (error) {
      problem.textContent = (error as Error).message;
    }
  }

  /** Look how far the switch is until it has ended. */
  private async follow(): Promise<void> {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      for (;;) {
        await this.read();
        if (!this.isBusy()) break;
        await new Promise((resolve) => setTimeout(resolve, ASK_MS));
      }
      const last = this.chosen()?.switch;
      if (last?.state === "done") announce(`${this.chosen()!.model} answers now.`);
    } catch (error) {
      problem.textContent = (error as Error).message;
    } finally {
      this.isAsking = false;
    }
  }

  /** Back to the model of the spec; a switch that is under way is given up. */
  private async toDefault(): Promise<void> {
    const current = this.chosen();
    if (!current) return;
    problem.textContent = "";
    try {
      await send(`${PATH}/${encodeURIComponent(current.name)}`, undefined, "DELETE");
      await this.read();
      announce(`${this.chosen()?.model} answers now.`);
    } catch (error) {
      if (error instanceof Refusal && error.status === 409) return; // it was given up meanwhile
      problem.textContent = (error as Error).message;
    }
    element("models-close").focus();
  }
}

function where(current: ServiceModel): string {
  const size = current.parameters && current.parameters >= 1e6 ? `, ${weights(current.parameters)} parameters` : "";
  return `${size}${current.server ? `, on ${current.server}` : ", in this installation"}`;
}

function weights(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(count < 1e10 ? 1 : 0)} billion` : `${Math.round(count / 1e6)} million`;
}

function bytes(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${Math.round(count / 1e6)} MB`;
}
