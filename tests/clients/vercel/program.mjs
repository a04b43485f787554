// The Vercel AI SDK: a loop of tools and a stream by its packages for OpenAI, Anthropic and Google.
// A line on stdin asks for a case, a line on stdout tells what was seen: as programs/runner.py does.
import diagnostics from "node:diagnostics_channel";
import readline from "node:readline";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.console = new console.Console(process.stderr); // stdout is for what is told

const { MOBIUS_URL, MOBIUS_KEY: apiKey } = process.env;
const prompt = "How is the weather in Rome, and what time is it there?";

const openai = createOpenAI({ baseURL: `${MOBIUS_URL}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${MOBIUS_URL}/v1`, apiKey });
const google = createGoogleGenerativeAI({ baseURL: `${MOBIUS_URL}/v1beta`, apiKey });
const ways = { openai: openai.chat, responses: openai, anthropic, google };
// Without it, what was said goes back as references to what OpenAI keeps: nobody else has that.
const sentWhole = { openai: { store: false } };

let ran = [];
const tools = {
  weather: tool({
    description: "Say how warm it is in a town.",
    inputSchema: z.object({ town: z.string() }),
    execute: async ({ town }) => {
      ran.push(["weather", { town }]);
      return `24 degrees in ${town}`;
    },
  }),
  clock: tool({
    description: "Say what time it is in a time zone.",
    inputSchema: z.object({ zone: z.string() }),
    execute: async ({ zone }) => {
      ran.push(["clock", { zone }]);
      return `noon in ${zone}`;
    },
  }),
};

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const counted = (usage) => [usage.inputTokens, usage.outputTokens];

async function loop(model, providerOptions) {
  const stopWhen = stepCountIs(5);
  const result = await generateText({ model, tools, prompt, stopWhen, providerOptions });
  const { text, totalUsage, finishReason } = result;
  return { text, usage: counted(totalUsage), finish: finishReason };
}

async function stream(model, providerOptions) {
  let failure;
  const onError = ({ error }) => (failure = error);
  const stopWhen = stepCountIs(5);
  const result = streamText({ model, tools, prompt, stopWhen, providerOptions, onError });
  for await (const piece of result.textStream) tell({ piece });
  if (failure) throw failure;
  return {
    text: (await result.steps).at(-1).text,
    usage: counted(await result.totalUsage),
    finish: await result.finishReason,
  };
}

async function typed(model) {
  const schema = z.object({ town: z.string(), zone: z.string() });
  const { output } = await generateText({ model, prompt, output: Output.object({ schema }) });
  return { object: output };
}

async function embed(model) {
  const { embeddings } = await embedMany({ model, values: ["one", "two and three"] });
  return { vectors: embeddings };
}

const kinds = { tools: loop, "streamed tools": stream, stream, typed };
const cases = {
  "openai embed": (name) => embed(openai.embedding(name)),
  // Reaches for somebody else, so that the test can see that it would be told.
  stray: () => fetch("http://127.0.0.2:8").catch(() => ({})),
  "responses sent whole tools": (name) => loop(openai(name), sentWhole),
  "responses sent whole streamed tools": (name) => stream(openai(name), sentWhole),
};
for (const [way, model] of Object.entries(ways))
  for (const [kind, run] of Object.entries(kinds)) cases[`${way} ${kind}`] = (name) => run(model(name));

let reached = [];
diagnostics.subscribe("undici:request:create", ({ request }) => reached.push(String(request.origin)));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  ran = [];
  let seen;
  try {
    seen = await cases[asked.case](asked.model);
  } catch (error) {
    seen = { failed: `${error.stack}\n${error.responseBody ?? ""}` };
  }
  const strangers = reached.filter((origin) => origin !== MOBIUS_URL);
  if (reached.length === 0) strangers.push("nobody was seen to be reached");
  tell({ seen: { ...seen, ran, strangers } });
  reached = [];
}
