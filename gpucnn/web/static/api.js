/** Requests to the server, and what went wrong with them in words. */

/** Bytes of an image file that the server accepts. */
export const MAX_BODY = 2 << 20;

/** The server cannot be reached, or cannot answer now: the request may succeed later. */
export class Unavailable extends Error {
  /**
   * @param {string} message
   * @param {number} seconds after which to ask again
   */
  constructor(message, seconds) {
    super(message);
    this.seconds = seconds;
  }
}

/** The server refused the request; asking again gives the same answer. */
export class Refused extends Error {}

/**
 * Return the networks that the server has.
 *
 * @returns {Promise<object[]>}
 */
export function fetchModels() {
  return request("/api/models", { cache: "no-store" });
}

/**
 * Return the results of networks for an image.
 *
 * @param {string[]} models ids
 * @param {Blob} image
 * @returns {Promise<object[]>} an entry for each network
 */
export async function predict(models, image) {
  const query = new URLSearchParams(models.map((id) => ["model", id]));
  return (await post(`/api/predict?${query}`, image)).results;
}

/**
 * Return the arithmetic of one output of a layer.
 *
 * @param {{model: string, layer: string, channel: number, row: number, column: number}} unit
 * @param {Blob} image
 * @returns {Promise<object>}
 */
export function explain(unit, image) {
  return post(`/api/unit?${new URLSearchParams(Object.entries(unit))}`, image);
}

function post(address, image) {
  if (image.size > MAX_BODY) {
    const megabytes = (image.size / (1 << 20)).toFixed(1);
    throw new Refused(`The image has ${megabytes} MB; at most 2 MB can be read. Make it smaller.`);
  }
  const headers = { "Content-Type": image.type || "application/octet-stream" };
  return request(address, { method: "POST", body: image, headers });
}

async function request(address, options) {
  let response;
  let answer;
  try {
    response = await fetch(address, options);
    answer = await response.json();
  } catch (error) {
    if (response && !(error instanceof TypeError)) {
      throw new Unavailable(`The server's answer (${response.status}) is not readable.`, 2);
    }
    throw new Unavailable("The server does not answer. Is gpucnn serve still running?", 1);
  }
  if (response.ok) return answer;
  const reason = typeof answer?.error === "string" ? answer.error : `status ${response.status}`;
  if (response.status === 503 || response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    throw new Unavailable("The server is busy.", Math.min(seconds, 10));
  }
  if (response.status >= 500) throw new Refused(`The server failed: ${reason}`);
  throw new Refused(`The server refused this: ${reason}`);
}
