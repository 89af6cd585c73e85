// What the page asks of the service that it came from, and nothing else is ever asked.

let token = sessionStorage.getItem("token") ?? "";

/** The access token that the service asks for where it is open to other machines; kept until the tab is closed. */
export function setToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

export const hasToken = () => Boolean(token);

// The address that the service prints holds it; what stands behind # is sent to nobody, and need not be seen.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  setToken(given);
  history.replaceState(null, "", location.pathname);
}

/** An answer that is not one: `message` says in one line what is wrong and what to do, `status` is that of HTTP. */
export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** What the service is: model, version, licences, limits. It answers with a cookie that lets the socket in, too. */
export async function model() {
  const response = await fetch("api/model", { headers: authorisation() });
  const content = await response.text();
  if (!response.ok) throw failure(response.status, content);
  return JSON.parse(content);
}

/**
 * The answer about a file, from windows `hop_s` apart, or side by side, with its picture, or `another` one by its number.
 * `onSent(share)` is called while it is sent, with 1 at the end; `signal` gives it up.
 */
export const classify = (file, { hop_s, another = 0, onSent, signal }) =>
  post(`api/classify?picture=1&another=${another}${hop_s ? `&hop=${hop_s}` : ""}`, file, { onSent, signal });

/** What in the sound of a file made the answer, in the window that begins at `start_s`, or in the surest one. */
export const explain = (file, { start_s, signal }) =>
  post(start_s === undefined ? "api/explain" : `api/explain?start=${start_s.toFixed(2)}`, file, { signal });

/** Throws ServiceError, and AbortError where it was given up. */
function post(address, file, { onSent = () => {}, signal }) {
  // fetch cannot say how much was sent.
  const request = new XMLHttpRequest();
  request.open("POST", address);
  for (const [name, value] of Object.entries(authorisation())) request.setRequestHeader(name, value);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  // For the time that a recorder writes into the name; a header holds plain signs only.
  const name = (file.name ?? "").replace(/[^\w.-]/g, "_");
  request.setRequestHeader("Content-Disposition", `attachment; filename="${name}"`);
  request.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 1);
  request.upload.onload = () => onSent(1);
  signal.addEventListener("abort", () => request.abort());
  return new Promise((resolve, reject) => {
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(failure(request.status, request.responseText));
    };
    request.onerror = () => reject(failure(0, ""));
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    request.send(file);
  });
}

/** A socket for live samples (float32) at a rate. */
export function liveSocket(rate_hz) {
  const address = new URL(`api/live?rate=${rate_hz}&format=f32`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  return socket;
}

const authorisation = () => (token ? { Authorization: `Bearer ${token}` } : {});

function failure(status, content) {
  let message = "";
  try {
    const found = JSON.parse(content);
    message = found.error ?? found.detail;
  } catch {
    // Not from our service: a proxy in between, say.
  }
  if (typeof message !== "string" || !message) message = standard(status);
  return new ServiceError(message, status);
}

function standard(status) {
  if (status === 0) return "The service does not answer. Is it still running? Try again.";
  if (status === 413) return "This file is larger than the service takes. Cut it, then try again.";
  if (status === 429 || status === 503) return "The service is busy. Try again in a few seconds.";
  return `The service failed (${status}). Try again.`;
}
