// Live sound: from the microphone to the service, and its answers as they come.

import { liveSocket, ServiceError } from "./api.js";
import { openMicrophone, Recording } from "./microphone.js";

const MAX_WAITING_S = 3; // sound that waits longer for the network to take it is dropped, and counted
const BYTES_A_SAMPLE = 4;
const NO_ACCESS = 1008; // the service closes with this where the token is missing or wrong

/**
 * Listen until `stop` is called, which gives the recording back, or `signal` is aborted. `onBlock(samples, rate_hz)`
 * sees each block, `onWindow(answer, note)` each answer, `onEnd(error)` an end that nobody asked for.
 */
export async function listen({ signal, longest_s, most_bytes, onBlock, onWindow, onEnd }) {
  let socket = null;
  let recording = null;
  let stopped = false;
  let num_dropped = 0;
  let problem = "";
  const microphone = await openMicrophone((block) => {
    if (!socket || stopped) return;
    recording.add(block);
    onBlock(block, microphone.rate_hz);
    if (socket.bufferedAmount > MAX_WAITING_S * microphone.rate_hz * BYTES_A_SAMPLE) num_dropped += 1;
    else if (socket.readyState === WebSocket.OPEN) socket.send(block);
  });
  if (signal.aborted) {
    microphone.close();
    return null;
  }
  recording = new Recording(microphone.rate_hz, longest_s, most_bytes);
  socket = liveSocket(microphone.rate_hz);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.error) problem = message.error;
    else if (message.start_s !== undefined && !stopped) onWindow(message, note(message, num_dropped));
  };
  socket.onclose = ({ code }) => {
    if (stopped) return;
    stop();
    const text = problem || "the service ended the connection; try again";
    onEnd(new ServiceError(text, code === NO_ACCESS ? 401 : 503));
  };

  function stop() {
    if (!stopped) microphone.close();
    stopped = true;
    socket.close();
    return recording;
  }

  return { stop };
}

function note({ latency_s, num_dropped = 0 }, num_dropped_here) {
  const lost = num_dropped + num_dropped_here;
  const parts = ["The last 30\u202fs"];
  if (latency_s !== undefined) parts.push(`${Math.round(1000 * latency_s)}\u202fms behind`);
  parts.push(lost === 1 ? "1 block dropped" : `${lost || "no"} blocks dropped`);
  return parts.join(" \u00b7 ");
}
