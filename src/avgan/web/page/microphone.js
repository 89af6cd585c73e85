// The microphone as blocks of samples, and a recording of them as a WAV file.

const HEADER_BYTES = 44; // of a WAV file

/** Why there can be no microphone on this page, or nothing. */
export function microphoneProblem() {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    return "Listening live needs https, or this page opened on localhost: browsers give the microphone to no other address.";
  }
  if (!window.AudioWorkletNode || !window.WebSocket) return "This browser is too old to listen live.";
  return "";
}

const REFUSALS = {
  NotAllowedError: "The microphone was refused. Allow it for this page beside the address, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone is in use by another program. Close that, then try again.",
};

/** Open the microphone and hand each block (Float32Array, mono) to `onBlock`. Throws an Error that says what to do. */
export async function openMicrophone(onBlock) {
  let stream;
  try {
    // Speech filters would remove just what tells one place from another.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
  const source = context.createMediaStreamSource(stream);
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  capture.port.onmessage = ({ data }) => onBlock(data);
  source.connect(capture);
  await context.resume();
  return {
    rate_hz: context.sampleRate,
    async close() {
      capture.port.onmessage = null;
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
    },
  };
}

/** Keeps the end of what is added: at most `longest_s` seconds, and a file of at most `most_bytes`. */
export class Recording {
  constructor(rate_hz, longest_s, most_bytes) {
    this.#rate_hz = rate_hz;
    this.#longest = Math.min(longest_s * rate_hz, (most_bytes - HEADER_BYTES) / 2);
  }

  #rate_hz;
  #longest;
  #blocks = [];
  #length = 0;

  add(block) {
    this.#blocks.push(block);
    this.#length += block.length;
    while (this.#length > this.#longest) this.#length -= this.#blocks.shift().length;
  }

  get duration_s() {
    return this.#length / this.#rate_hz;
  }

  /** The recording as a WAV file, 16 bit, mono. */
  file(name) {
    const num_bytes = 2 * this.#length;
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    const write = (offset, text) => [...text].forEach((letter, n) => header.setUint8(offset + n, letter.charCodeAt(0)));
    write(0, "RIFF");
    header.setUint32(4, 36 + num_bytes, true);
    write(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 1, true); // mono
    header.setUint32(24, this.#rate_hz, true);
    header.setUint32(28, 2 * this.#rate_hz, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    write(36, "data");
    header.setUint32(40, num_bytes, true);
    const blocks = this.#blocks.map((block) => Int16Array.from(block, (value) => 32767 * Math.max(-1, Math.min(1, value))));
    return new File([header, ...blocks], name, { type: "audio/wav" });
  }
}
