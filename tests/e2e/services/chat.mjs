// A chat service in plain Node: says one text word by word, whole or streamed. A script, not a model.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

const MAX_BYTES = 8 * 1024 * 1024;
const WINDOW = 4096;
const SENTENCE = "This is what the script in Node says, word by word.";

class Failure extends Error {
  constructor(status, code, message, param = null) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

let running = 0;

function asked(request) {
  const refuse = (param, message) => {
    throw new Failure(400, "invalid_request", message, param);
  };
  if (typeof request !== "object" || request === null || Array.isArray(request)) refuse(null, "the body must be an object");
  const { messages, n = 1, stop, max_tokens, max_completion_tokens } = request;
  if (!Array.isArray(messages) || !messages.length) refuse("messages", "'messages' must be a list with a message in it");
  if (n !== null && n !== 1) refuse("n", "one answer is made for a request");
  const words = messages.map((m) => String(m?.content ?? "")).join(" ").split(/\s+/u).filter(Boolean).length;
  if (words > WINDOW) throw new Failure(400, "context_length_exceeded", `the prompt has ${words} words`, "messages");
  let text = max_tokens > 100 ? `${SENTENCE} `.repeat(200) : SENTENCE;
  for (const end of [stop ?? []].flat()) if (text.includes(end)) text = text.slice(0, text.indexOf(end));
  const pieces = text.match(/\S+\s*/gu) ?? [];
  const bound = max_completion_tokens ?? max_tokens ?? pieces.length;
  const said = pieces.slice(0, bound);
  const finish = said.length < pieces.length ? "length" : "stop";
  const usage = { prompt_tokens: Math.max(words, 1), completion_tokens: said.length, total_tokens: Math.max(words, 1) + said.length };
  return { said, finish, usage };
}

async function read(request) {
  const type = request.headers["content-type"] ?? "application/json";
  if (!/^application\/(.+\+)?json\b/.test(type)) throw new Failure(415, "unsupported_media_type", `not ${type}`);
  const tooLarge = () => new Failure(413, "payload_too_large", `at most ${MAX_BYTES} bytes are read`);
  if (Number(request.headers["content-length"] ?? 0) > MAX_BYTES) throw tooLarge();
  const blocks = [];
  let size = 0;
  for await (const block of request) {
    if ((size += block.length) > MAX_BYTES) throw tooLarge();
    blocks.push(block);
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(blocks)));
  } catch (error) {
    throw new Failure(400, "invalid_request", `the body is not JSON in UTF-8: ${error.message}`);
  }
}

async function answer(request, response, headers) {
  const body = await read(request);
  const { said, finish, usage } = asked(body);
  const common = { id: `node-${randomUUID()}`, created: 1, model: "scripted-node" };
  if (body.stream !== true) {
    const message = { role: "assistant", content: said.join("") };
    const whole = { ...common, object: "chat.completion", choices: [{ index: 0, message, finish_reason: finish }], usage };
    response.writeHead(200, { ...headers, "content-type": "application/json" });
    response.end(JSON.stringify(whole));
    return;
  }
  const left = new AbortController();
  response.on("close", () => left.abort());
  response.writeHead(200, { ...headers, "content-type": "text/event-stream" });
  const chunk = (choices, more = {}) =>
    response.write(`data: ${JSON.stringify({ ...common, object: "chat.completion.chunk", choices, ...more })}\n\n`);
  running += 1;
  try {
    chunk([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }]);
    for (const piece of said) {
      await pause(1, undefined, { signal: left.signal });
      chunk([{ index: 0, delta: { content: piece }, finish_reason: null }]);
    }
    chunk([{ index: 0, delta: {}, finish_reason: finish }]);
    if (body.stream_options?.include_usage) chunk([], { usage });
    response.end("data: [DONE]\n\n");
  } catch (error) {
    if (!left.signal.aborted) throw error;
  } finally {
    running -= 1;
  }
}

const json = (value) => async (request, response, headers) => {
  response.writeHead(200, { ...headers, "content-type": "application/json" });
  response.end(JSON.stringify(value));
};

const ROUTES = {
  "/health/live": { GET: json({ status: "alive" }) },
  "/health/ready": { GET: json({ status: "ready" }) },
  "/v1/chat/completions": { POST: answer },
  "/v1/chat/describe": { POST: json({ model: "scripted-node", context_window: WINDOW }) },
  "/metrics": {
    GET: async (request, response, headers) => {
      response.writeHead(200, { ...headers, "content-type": "text/plain; version=0.0.4" });
      response.end(`# TYPE weft_http_requests_in_flight gauge\nweft_http_requests_in_flight ${running}\n`);
    },
  },
};

const server = createServer(async (request, response) => {
  const headers = { "x-request-id": request.headers["x-request-id"] ?? randomUUID() };
  try {
    const route = ROUTES[request.url];
    if (!route) throw new Failure(404, "not_found", `there is nothing at ${request.url}`);
    const handler = route[request.method];
    if (!handler) {
      headers.allow = Object.keys(route).join(", ");
      throw new Failure(405, "method_not_allowed", `${request.url} answers ${headers.allow}`);
    }
    if (request.headers["x-weft-timeout-ms"] === "0") throw new Failure(504, "deadline_exceeded", "the time is up");
    await handler(request, response, headers);
  } catch (error) {
    const { status = 500, code = "internal", param = null, message } = error;
    const type = status < 500 ? "invalid_request_error" : "server_error";
    if (status === 413) headers.connection = "close";
    const is_openai = request.url.startsWith("/v1/chat/completions");
    const body = is_openai
      ? { error: { message, type, param, code } }
      : { title: code, status, detail: message, code };
    response.writeHead(status, { ...headers, "content-type": is_openai ? "application/json" : "application/problem+json" });
    response.end(JSON.stringify(body));
  }
});

const port = Number(process.argv[2]);
server.listen(port, "127.0.0.1", () => console.log(`ready: http://127.0.0.1:${server.address().port}`));
