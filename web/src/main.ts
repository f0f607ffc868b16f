// The page: what belongs to what. It speaks only the HTTP API, and puts everything that comes from outside there as text.

import { get } from "./api";
import { Chat } from "./chat";
import { Documents } from "./documents";
import { announce, button, confirmed, element, icon, make } from "./dom";
import { History } from "./history";
import { Jobs, dropped } from "./jobs";
import { whose } from "./me";
import { BetterModel, showModels } from "./models";
import { cycleTheme } from "./theme";

const question = element<HTMLTextAreaElement>("question");
const form = element<HTMLFormElement>("form");
const welcome = element("welcome");
const sidebar = element("sidebar");
const menu = element<HTMLButtonElement>("menu");
const narrow = matchMedia("(max-width: 48rem)");

const history = new History(() => drawHistory());
const documents = new Documents((files) => greet(files));
const jobs = new Jobs(
  () => documents.collection,
  () => documents.refresh(),
);
const model = element<HTMLSelectElement>("model");
const chat = new Chat({
  model: () => model.value,
  collection: () => documents.collection,
  history,
  onShown: (isEmpty) => {
    welcome.hidden = !isEmpty;
    drawHistory();
  },
});

// The first thing that is seen.

function greet(files: readonly { name: string }[] | null): void {
  const text = element("welcome-text");
  const ideas = element("ideas");
  ideas.replaceChildren();
  element("hand-over").hidden = files === null || files.length > 0;
  question.placeholder = files === null ? "Ask a question" : "Ask about your documents";
  if (files === null) {
    text.textContent = "Ask a question to begin.";
    return;
  }
  text.textContent = files.length
    ? "Ask something that is in them. The answer quotes its source, and each source opens at its place."
    : "Hand over a document, then ask about it. The answer quotes its source. Nothing leaves this machine unless you have placed a service elsewhere.";
  if (!files.length) return;
  const newest = files[0]!.name;
  for (const idea of ["What is in my documents?", `Summarise ${newest}`]) {
    ideas.append(make("li", {}, button({ class: "idea", title: idea }, idea, () => void ask(idea))));
  }
}

async function ask(text: string): Promise<void> {
  if (!text || chat.isAnswering) return;
  question.value = "";
  grow();
  await chat.ask(text);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void ask(question.value.trim());
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
question.addEventListener("input", grow);

function grow(): void {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight + 2, innerHeight * 0.4)}px`;
}

// Conversations.

function drawHistory(): void {
  const all = history.all();
  const list = element("conversations");
  element("history").hidden = !all.length && history.isKept;
  element("history-note").textContent = history.isKept ? "" : "This browser keeps no history.";
  element("history-clear").hidden = !all.length;
  list.replaceChildren(
    ...all.map((entry) => {
      const open = button({ class: "conversation", title: entry.title }, make("span", { class: "name" }, entry.title || "Chat"), () => {
        chat.open(entry.id);
        closeSidebar();
        question.focus();
      });
      if (entry.id === chat.id) open.setAttribute("aria-current", "true");
      return make(
        "li",
        {},
        open,
        button({ class: "quiet", "aria-label": `Delete the chat ${entry.title}`, title: "Delete" }, icon("bin"), () => {
          history.remove(entry.id);
          if (entry.id === chat.id) chat.begin();
          else element("new").focus();
          announce("The chat is deleted.");
        }),
      );
    }),
  );
}

element("new").addEventListener("click", () => {
  closeSidebar();
  chat.begin();
});
element("history-clear").append(icon("bin"));
element("history-clear").addEventListener("click", async () => {
  if (!(await confirmed("Delete all chats?", "They are kept in this browser only, and cannot be brought back.", "Delete all"))) return;
  history.clear();
  chat.begin();
});

// The side: a column, or a sheet on a small screen.

/** What is behind the sheet is not reached by the keyboard. */
function behind(is: boolean): void {
  for (const part of document.querySelectorAll<HTMLElement>("main > :not(header), header > :not(h1)")) part.inert = is;
}

function openSidebar(): void {
  sidebar.showPopover();
  behind(true);
  menu.setAttribute("aria-expanded", "true");
  element("new").focus();
}

function closeSidebar(): void {
  if (!sidebar.matches(":popover-open")) return;
  sidebar.hidePopover();
  behind(false);
  menu.setAttribute("aria-expanded", "false");
  menu.focus();
}

narrow.addEventListener("change", closeSidebar);
menu.addEventListener("click", (event) => {
  event.stopPropagation();
  openSidebar();
});
for (const id of ["sidebar-close", "models-close"]) element(id).append(icon("close"));
element("sidebar-close").addEventListener("click", closeSidebar);
sidebar.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeSidebar();
});
document.addEventListener("click", (event) => {
  const at = event.target as Node;
  if (at === document.body || at === document.documentElement || element("main").contains(at)) closeSidebar(); // beside the sheet
});

// Documents.

const files = element<HTMLInputElement>("files");
for (const input of [files, element<HTMLInputElement>("files-too")]) {
  input.addEventListener("change", () => {
    void jobs.hand([...(input.files ?? [])].map((file) => ({ file, name: file.name })));
    input.value = "";
    if (narrow.matches && !sidebar.matches(":popover-open")) openSidebar(); // where it is said how far they are
  });
}
let depth = 0;
const over = (is: boolean): void => {
  element("drop-here").hidden = !is;
};
const carries = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
document.addEventListener("dragenter", (event) => {
  if (carries(event) && !element("documents").hidden && ++depth === 1) over(true);
});
document.addEventListener("dragleave", (event) => {
  if (carries(event) && depth && --depth === 0) over(false);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  over(false);
  if (event.dataTransfer && carries(event)) {
    void dropped(event.dataTransfer).then(
      (parts) => jobs.hand(parts),
      (error: Error) => (element("documents-problem").textContent = error.message),
    );
  }
});
element<HTMLFormElement>("link-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = element<HTMLInputElement>("link");
  jobs.link(input.value.trim());
  input.value = "";
});

element("theme").addEventListener("click", () => announce(`Colours: ${cycleTheme(element("theme"))}`));
cycleTheme(element("theme"), false);

async function start(): Promise<void> {
  void whose().then((owner) => history.belongTo(owner));
  grow();
  if (!narrow.matches) question.focus();
  const models = await get<{ data: { id: string; contract?: string }[] }>("/v1/models").catch((error: Error) => {
    element("page-problem").textContent = error.message;
    return { data: [] };
  });
  showModels(model, models.data.filter((known) => !known.contract || known.contract === "chat").map((known) => known.id));
  await documents.refresh();
  welcome.hidden = chat.isBegun;
  await Promise.all([jobs.resume(), new BetterModel(element<HTMLButtonElement>("better")).start()]);
}

void start();
