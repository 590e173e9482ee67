/** The figures that lie in the release, each in the theme's version. */

import { fill, h, words } from "./dom.js";
import { emptyPage } from "./notices.js";

/** @param {HTMLElement} host @param {{source: object}} context */
export async function show(host, { source }) {
  const { figures = [] } = await source.figures();
  if (!figures.length)
    return void fill(
      host,
      emptyPage("No figures", "This release has no figures in its preview folder.", { next: "thermvision card DIR" }),
    );
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
  const images = figures.map((one) => {
    const image = h("img", { alt: one.caption ?? words(one.name), loading: "lazy" });
    return { one, image, element: h("figure", {}, image, h("figcaption", { text: one.caption ?? words(one.name) })) };
  });
  const paint = () =>
    images.forEach(({ one, image }) => {
      image.src = source.figure((dark() ? one.dark : one.light) ?? one.light ?? one.dark);
    });
  paint();
  fill(
    host,
    h("h2", { class: "unseen", text: "Figures" }),
    h("div", { class: "figures" }, ...images.map(({ element }) => element)),
  );
  document.addEventListener("theme", paint);
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", paint);
  return () => {
    document.removeEventListener("theme", paint);
    system.removeEventListener("change", paint);
  };
}
