/**
 * Frames of an item as gray planes, each with the number it really has.
 *
 * A clip is fetched whole and played from memory, so that seeking needs no byte ranges from the server. A frame's number
 * comes from its own time stamp, never from the time that was asked for: what is drawn is what it is called.
 */

const PLANAR = /^(I4\d\dA?|NV12)$/; // formats of 8 bits whose first plane is Y
const NTSC = [1, 1 / 1.001, 1.001]; // 29.97 is often written down as 30, and the reverse
const PATIENCE = 6000; // ms that a seek may take
const MAX_PIXELS = 64 * 2 ** 20;
const LIMITED = Uint8ClampedArray.from({ length: 256 }, (_, y) => ((y - 16) * 255) / 219);
const UNDONE = Uint8ClampedArray.from({ length: 256 }, (_, gray) => 16 + (gray * 219) / 255);

/** What is wrong with an item's pixels, in words for the reader. */
export class MediaError extends Error {}

/**
 * @typedef {{n: number, gray: Uint8Array, width: number, height: number}} Picture row by row, 0 black
 * @typedef {{kind: "clip"|"frames"|"still", count: number, fps: number, frame: (n: number) => Promise<Picture>,
 *     stream: null|((speed: number, onPicture: (p: Picture) => void, onEnd: (error?: Error) => void) => () => void),
 *     close: () => void}} Source `stream` plays on from the frame asked for last and returns what stops it
 */

/**
 * The pixels of an item.
 * @param {object} record of an item, as the server gives it
 * @param {AbortSignal} signal
 * @returns {Promise<Source>}
 * @throws {MediaError} they cannot be shown here
 */
export async function openSource(record, signal) {
  const { media } = record;
  if (!media?.url) throw new MediaError(media?.problem ?? `No pixels of ${record.id} are in this release.`);
  if (!String(media.type).startsWith("video/")) return openStill(record, signal);
  let reason;
  if (media.codec && media.codec !== "h264") reason = `Browsers rarely play ${media.codec}.`;
  else {
    try {
      const clip = await openClip(record, signal);
      if (!media.frame_url) return clip;
      // a clip that is damaged somewhere may still have this frame
      const alone = (n, error) =>
        picture(media.frame_url.replace("{n}", n), n, signal).catch(() => Promise.reject(error));
      const frame = (n) =>
        clip.frame(n).catch((error) => (error.name === "AbortError" ? Promise.reject(error) : alone(n, error)));
      return { ...clip, frame };
    } catch (error) {
      if (error.name === "AbortError") throw error;
      reason = error.message;
    }
  }
  if (!media.frame_url) throw new MediaError(`${reason} Type thermvision view on the release: it sends single frames.`);
  return openFrames(record, signal, reason);
}

async function bytes(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new MediaError("The pixels cannot be fetched: the server does not answer.");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new MediaError(said?.error ?? `The pixels cannot be fetched: ${url} answered ${answer.status}.`);
  }
  return answer.blob();
}

/** Gray of anything that can be drawn; of colours their luma, as Pillow's "L". */
function grayOf(drawable, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(drawable, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const gray = new Uint8Array(width * height);
  for (let i = 0, k = 0; i < gray.length; i++, k += 4) {
    gray[i] = (rgba[k] * 19595 + rgba[k + 1] * 38470 + rgba[k + 2] * 7471 + 32768) >> 16;
  }
  return gray;
}

async function picture(url, n, signal) {
  const blob = await bytes(url, signal);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new MediaError("The picture is damaged: it does not decode. thermvision verify names the file.");
  }
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS)
      throw new MediaError(`The picture has ${width} x ${height} pixels; at most 64 million.`);
    return { n, gray: grayOf(bitmap, width, height), width, height };
  } finally {
    bitmap.close();
  }
}

async function openStill(record, signal) {
  const only = await picture(record.media.url, 0, signal);
  return { kind: "still", count: 1, fps: 1, frame: async () => only, stream: null, close() {} };
}

async function openFrames(record, signal, reason) {
  const url = (n) => record.media.frame_url.replace("{n}", n);
  const count = Math.max(1, record.num_frames ?? 1);
  let ahead = { n: -1, promise: null };
  const get = (n) => (ahead.n === n ? ahead.promise : picture(url(n), n, signal));
  await picture(url(0), 0, signal).catch((error) => {
    throw error.name === "AbortError" ? error : new MediaError(`${reason} ${error.message}`);
  });
  let last = -2;
  const frame = async (n) => {
    const asked = get(n);
    if (n === last + 1 && n + 1 < count) {
      ahead = { n: n + 1, promise: picture(url(n + 1), n + 1, signal) };
      ahead.promise.catch(() => {});
    }
    last = n;
    return asked;
  };
  return {
    kind: "frames",
    count,
    fps: record.fps || 25,
    frame,
    stream: null,
    close() {},
    note: `${reason} Single frames are shown.`,
  };
}

/** Frames a second: what the record says, unless the file's length shows that it is the other of an NTSC pair. */
export function trueRate(fps, count, duration) {
  const measured = Number.isFinite(duration) && duration > 0 ? count / duration : 0;
  if (!fps || !(fps > 0)) return measured || 25;
  const off = (rate) => Math.abs(measured / rate - 1);
  const near = NTSC.map((factor) => fps * factor)
    .filter((rate) => off(rate) < 3e-4)
    .sort((a, b) => off(a) - off(b));
  return near[0] ?? fps;
}

function happens(target, name, signal) {
  return new Promise((resolve, reject) => {
    const all = new AbortController();
    const end = (call, value) => {
      clearTimeout(timer);
      all.abort();
      call(value);
    };
    const options = { signal: all.signal };
    const timer = setTimeout(
      () => end(reject, new MediaError("The clip does not answer: it may be cut short.")),
      PATIENCE,
    );
    target.addEventListener(name, () => end(resolve), options);
    target.addEventListener("error", () => end(reject, damaged(target)), options);
    signal.addEventListener("abort", () => end(reject, signal.reason), options);
  });
}

function damaged(video) {
  const detail = video.error?.message ? ` (${video.error.message.slice(0, 120)})` : "";
  return new MediaError(`The clip does not play: it is damaged, or this browser lacks H.264${detail}.`);
}

async function openClip(record, signal) {
  const blob = await bytes(record.media.url, signal);
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", disableRemotePlayback: true });
  const address = URL.createObjectURL(blob.slice(0, blob.size, "video/mp4"));
  const close = () => {
    video.pause();
    video.removeAttribute("src");
    video.load(); // lets go of the decoder and of the bytes
    URL.revokeObjectURL(address);
  };
  try {
    const ready = happens(video, "loadeddata", signal);
    video.src = address;
    await ready;
    if (!video.videoWidth) throw new MediaError("The clip has no picture, only sound or nothing.");
    if (video.videoWidth * video.videoHeight > MAX_PIXELS)
      throw new MediaError("The clip's frames have more than 64 million pixels.");
  } catch (error) {
    close();
    throw error;
  }
  const count = Math.max(1, record.num_frames || Math.round(video.duration * (record.fps || 25)));
  const fps = trueRate(record.fps, count, video.duration);
  const grab = grabber(video, fps, count, record.media.full_range);

  const seek = async (n) => {
    if (video.error) throw damaged(video);
    const arrived = happens(video, "seeked", signal);
    video.currentTime = (n + 0.5) / fps;
    await arrived;
    let got = await grab(n);
    // "seeked" may come before the frame does
    for (let wait = 0; got.n !== n && wait < 12; wait++) {
      await new Promise((resolve) => setTimeout(resolve, 15));
      got = await grab(n);
    }
    return got;
  };
  let turn = Promise.resolve();
  // one seek at a time: "seeked" does not say which
  const frame = (n) =>
    (turn = turn.then(
      () => seek(n),
      () => seek(n),
    ));

  const stream = (speed, onPicture, onEnd) => {
    let stopped = false;
    let busy = false;
    let handle = 0;
    const all = new AbortController();
    const stop = () => {
      stopped = true;
      video.cancelVideoFrameCallback(handle);
      video.pause();
      all.abort();
    };
    const take = async () => {
      if (busy) return; // the browser is ahead: this frame is left out
      busy = true;
      try {
        const got = await grab();
        if (!stopped) onPicture(got);
      } finally {
        busy = false;
      }
    };
    const failed = (error) => {
      if (stopped) return;
      stop();
      onEnd(error);
    };
    const tick = () => {
      if (stopped) return;
      handle = video.requestVideoFrameCallback(tick);
      take().catch(failed);
    };
    handle = video.requestVideoFrameCallback(tick);
    video.addEventListener("ended", () => failed(undefined), { signal: all.signal });
    video.addEventListener("error", () => failed(damaged(video)), { signal: all.signal });
    video.playbackRate = speed;
    video
      .play()
      .catch(
        (error) => error.name !== "AbortError" && failed(new MediaError(`The clip does not play: ${error.message}`)),
      );
    return stop;
  };
  return { kind: "clip", count, fps, frame, stream: "requestVideoFrameCallback" in video ? stream : null, close };
}

/**
 * A function that gives the picture a video shows now.
 *
 * The Y plane is copied as it was decoded, for drawing a video goes through a colour conversion: Chromium takes full-range
 * clips such as ours for limited ones and is then off by up to 18 levels. `full` is the server's word on the range.
 */
function grabber(video, fps, count, full) {
  const number = (seconds) => Math.min(count - 1, Math.max(0, Math.round(seconds * fps)));
  let spare = new Uint8Array(0);
  if (typeof VideoFrame === "undefined") {
    return async (asked) => {
      const { videoWidth: width, videoHeight: height } = video;
      const n = asked ?? number(video.currentTime - 0.5 / fps);
      return { n, gray: grayOf(video, width, height), width, height };
    };
  }
  return async () => {
    const frame = new VideoFrame(video);
    try {
      const n = number(frame.timestamp / 1e6);
      const { width, height } = frame.visibleRect;
      if (!PLANAR.test(frame.format ?? "")) {
        // decoded where its planes cannot be read: drawn, and stretched by mistake if the browser misjudges the range
        const gray = grayOf(frame, width, height);
        if (full && frame.colorSpace.fullRange === false)
          for (let i = 0; i < gray.length; i++) gray[i] = UNDONE[gray[i]];
        return { n, gray, width, height };
      }
      const size = frame.allocationSize();
      const scratch = spare.length >= size ? spare : new Uint8Array(size);
      spare = new Uint8Array(0); // ours until it is read
      const [{ offset, stride }] = await frame.copyTo(scratch);
      const gray = new Uint8Array(width * height);
      for (let row = 0; row < height; row++) {
        gray.set(scratch.subarray(offset + row * stride, offset + row * stride + width), row * width);
      }
      spare = scratch;
      if (!(full ?? frame.colorSpace.fullRange)) for (let i = 0; i < gray.length; i++) gray[i] = LIMITED[gray[i]];
      return { n, gray, width, height };
    } finally {
      frame.close();
    }
  };
}
