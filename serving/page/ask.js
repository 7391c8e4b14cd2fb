"use strict";
/* The service behind the page: GET v1/seed, v1/labels, v1/model, POST v1/tag. */

const TIMEOUT_MS = 120000;

/** The JSON of an answer; throws {plain, message, requestId, needsKey} when there is none, {left} once `signal` says so. */
async function ask(path, body, signal = null) {
  const ends = [AbortSignal.timeout(TIMEOUT_MS), signal].filter(Boolean);
  const options = { signal: AbortSignal.any(ends), headers: { Accept: "application/json" } };
  const key = access.key;
  if (key) options.headers.Authorization = `Bearer ${key}`;
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  if (body) options.headers["Content-Type"] = "application/json";
  let response;
  let answer = null;
  try {
    response = await fetch(path, options);
    answer = await response.json().catch(() => null);
  } catch (error) {
    if (signal?.aborted) throw { left: true };
    throw { plain: PLAIN[error.name === "TimeoutError" ? 408 : 0], message: String(error.message ?? error) };
  }
  if (response.ok && answer !== null) return answer;
  const error = answer?.error ?? {};
  const parts = [error.code, error.field, error.message ?? `HTTP ${response.status}`].filter(Boolean);
  const needsKey = response.status === 401;
  const byStatus = PLAIN[response.status] ?? PLAIN[response.status >= 500 || response.ok ? 500 : 400];
  const plain = needsKey ? PLAIN_KEY[key ? "refused" : "missing"] : byStatus;
  throw { plain, message: parts.join(": "), requestId: error.request_id, needsKey };
}

/** {prediction, model} of an article; throws like `ask`. */
async function tag(article, signal = null) {
  const request = { id: "page", text: article.text, targets: article.targets ?? "auto" };
  if (article.title) request.title = article.title;
  if (article.claims?.length) request.claims = article.claims;
  const { results, model } = await ask("v1/tag", { articles: [request], options: {} }, signal);
  if (results[0].error) throw articleFailure(results[0].error);
  return { prediction: results[0], model };
}
