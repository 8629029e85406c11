// Calls to the collector. Addresses are relative, so that the page works below any path.

// A collector that does not answer is away after this time.
const PATIENCE_MS = 15_000;

/// Why a call failed, as one sentence.
export class Failure extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/// The JSON of `path`. Parameters that are undefined are left out.
export async function ask(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given).toString();
  return call(query ? `${path}?${query}` : path, {}, signal);
}

/// Sends `body` as JSON, and gives the JSON of the answer.
export async function send(path, body = {}, method = "POST") {
  return call(path, { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
}

async function call(address, options, signal) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  let answer;
  try {
    answer = await fetch(address, {
      ...options,
      headers: { Accept: "application/json", ...options.headers },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new Failure("The collector cannot be reached.");
  }
  const told = await answer.json().catch(() => undefined);
  if (!answer.ok) throw new Failure(sentence(told?.error, answer.status), answer.status);
  if (told === undefined) throw new Failure("The collector's answer was cut off.");
  return told;
}

function sentence(error, status) {
  if (typeof error !== "string" || error === "") return `The collector answers with the status ${status}.`;
  return `The collector says: ${error}.`;
}
