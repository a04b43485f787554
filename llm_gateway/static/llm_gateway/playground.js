// Ask several models at once over the gateway's WebSocket. What they say is only ever shown as text.

const form = document.getElementById("playground");
const answers = document.getElementById("answers");
const problem = document.getElementById("problem");
const variables = document.getElementById("variables");
const MOST_MODELS = 4;
let socket = null;
let earlier = []; // turns of a request that is asked again, before the user's last

function field(name) {
  return form.elements.namedItem(name);
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// --- what is asked ---

function namesIn(text) {
  return [...new Set([...text.matchAll(/{{\s*(\w+)\s*}}/g)].map((found) => found[1]))];
}

function offerVariables() {
  const known = new Map([...variables.querySelectorAll("input")].map((one) => [one.name, one.value]));
  variables.replaceChildren(
    ...namesIn(`${field("prompt").value} ${field("system").value}`).map((name) => {
      const label = element("label", name);
      const input = document.createElement("input");
      input.name = `variable:${name}`;
      input.value = known.get(input.name) ?? "";
      label.append(input);
      return label;
    }),
  );
}

function filled(text) {
  return text.replace(/{{\s*(\w+)\s*}}/g, (all, name) => field(`variable:${name}`)?.value ?? all);
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The image cannot be read."));
    reader.readAsDataURL(file);
  });
}

async function request() {
  const prompt = filled(field("prompt").value);
  const image = field("image").files[0];
  const parts = image && [
    { type: "text", text: prompt },
    { type: "image_url", image_url: { url: await read(image) } },
  ];
  const system = filled(field("system").value);
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...earlier];
  const body = { messages: [...messages, { role: "user", content: parts ?? prompt }] };
  for (const name of ["temperature", "max_tokens"]) {
    if (field(name).value) body[name] = Number(field(name).value);
  }
  if (field("tools").value.trim()) body.tools = JSON.parse(field("tools").value);
  return body;
}

function models() {
  const chosen = [...field("models").selectedOptions].map((one) => one.value);
  if (!chosen.length || chosen.length > MOST_MODELS) {
    throw new Error(`Choose one to ${MOST_MODELS} models.`);
  }
  return chosen;
}

// --- what was asked before ---

function fillIn(told) {
  if (told.problem) {
    problem.textContent = told.problem;
    return;
  }
  earlier = told.earlier;
  field("system").value = told.system;
  field("prompt").value = told.prompt;
  const { tools, ...numbers } = told.fields;
  for (const [name, value] of Object.entries(numbers)) field(name).value = value;
  if (tools) field("tools").value = JSON.stringify(tools, null, 2);
  const offered = [...field("models").options];
  const same = offered.find((one) => one.value === told.model);
  if (same) same.selected = true;
  const turns = earlier.map((one) => element("p", `${one.role}: ${one.content}`));
  document.getElementById("turns").replaceChildren(...turns);
  document.getElementById("earlier").hidden = !turns.length;
  const missing = [...told.left_out, ...(same ? [] : [`the model ${told.model}`])];
  document.getElementById("replayed").textContent =
    `Filled in from a request.${missing.length ? ` Left out: ${missing.join(", ")}.` : ""}`;
  offerVariables();
}

// --- what is answered ---

class Answer {
  constructor(model) {
    this.started = performance.now();
    this.first = null;
    this.box = element("section", "", "answer");
    this.text = element("div", "", "said");
    this.facts = element("p", "asked", "told");
    this.box.append(element("h2", model), this.text, this.facts);
    answers.append(this.box);
  }

  get seconds() {
    return ((performance.now() - this.started) / 1000).toFixed(2);
  }

  take(chunk) {
    const delta = chunk.choices?.[0]?.delta ?? {};
    const said = (delta.content ?? "") + (delta.tool_calls ? JSON.stringify(delta.tool_calls) : "");
    if (said && this.first === null) this.first = this.seconds;
    this.text.append(said);
    this.facts.textContent = `${this.seconds} s`;
  }

  end(message) {
    const usage = message.usage ?? {};
    const tokens = `${usage.prompt_tokens ?? 0} + ${usage.completion_tokens ?? 0} tokens`;
    this.facts.textContent =
      `first token ${this.first ?? "–"} s · ${this.seconds} s · ${tokens} · $${message.cost_usd} · `;
    const link = element("a", "request", "text-link");
    link.href = form.dataset.log.replace("REQUEST", message.request_id);
    this.facts.append(link);
  }

  fail(text) {
    this.facts.textContent = text;
    this.box.classList.add("failed");
  }
}

function ask(key, body, chosen) {
  socket?.close();
  answers.replaceChildren();
  const open = new Map(chosen.map((model, place) => [String(place), new Answer(model)]));
  const address = new URL("/ws/v1/llm", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const here = new WebSocket(address);
  socket = here;
  here.onopen = () => {
    here.send(JSON.stringify({ type: "auth", key_id: key }));
    chosen.forEach((model, place) => {
      const said = { type: "chat.create", id: String(place), request: { ...body, model } };
      here.send(JSON.stringify(said));
    });
  };
  here.onmessage = (event) => {
    const message = JSON.parse(event.data);
    const answer = open.get(message.id);
    if (message.type === "chat.chunk") {
      answer?.take(message.chunk);
      return;
    }
    if (message.type === "chat.done") answer?.end(message);
    else if (message.type === "error" && answer) answer.fail(message.error.message);
    else if (message.type === "error") problem.textContent = message.error.message;
    open.delete(message.id);
    if (!open.size) here.close();
  };
  here.onclose = () => open.forEach((answer) => answer.fail("ended before its end"));
}

// --- copies ---

function literal(body) {
  return JSON.stringify(JSON.stringify(body));
}

const COPIES = {
  curl: (base, body) =>
    [
      `curl ${base}/v1/chat/completions \\`,
      `  -H "Authorization: Bearer $MOBIUS_KEY" -H "Content-Type: application/json" \\`,
      `  -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`,
    ].join("\n"),
  openai: (base, body) =>
    [
      "import json, os",
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url="${base}/v1", api_key=os.environ["MOBIUS_KEY"])`,
      `answer = client.chat.completions.create(**json.loads(${literal(body)}))`,
      "print(answer.choices[0].message.content)",
    ].join("\n"),
  anthropic: (base, body) => {
    const [instructions, messages] = [true, false].map((is) =>
      body.messages.filter((one) => (one.role === "system") === is),
    );
    const system = instructions.length ? { system: instructions[0].content } : {};
    const said = { max_tokens: 1024, ...body, ...system, messages };
    return [
      "import json, os",
      "from anthropic import Anthropic",
      "",
      `client = Anthropic(base_url="${base}", api_key=os.environ["MOBIUS_KEY"])`,
      `print(client.messages.create(**json.loads(${literal(said)})).content)`,
    ].join("\n");
  },
};

async function copy(kind) {
  if (kind === "anthropic" && (field("image").files.length || field("tools").value.trim())) {
    throw new Error("Images and tools have other words there: copy for the OpenAI SDK.");
  }
  const body = { model: models()[0], ...(await request()) };
  await navigator.clipboard.writeText(COPIES[kind](location.origin, body));
  document.getElementById("copied").textContent = "copied";
}

async function attempt(step) {
  problem.textContent = "";
  try {
    await step();
  } catch (error) {
    problem.textContent = error.message;
  }
}

form.addEventListener("input", (event) => {
  if (["prompt", "system"].includes(event.target.name)) offerVariables();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => ask(field("key").value, await request(), models()));
});
document.getElementById("stop").addEventListener("click", () => socket?.close());
form.querySelectorAll("[data-copy]").forEach((button) => {
  button.addEventListener("click", () => attempt(() => copy(button.dataset.copy)));
});

const replayed = document.getElementById("replay");
if (replayed) fillIn(JSON.parse(replayed.textContent));
