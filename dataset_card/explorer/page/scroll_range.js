/**
 * Scrolling through more height than a browser allows: some 33 million pixels in Chromium, 17 in Firefox, where a million
 * tiles two abreast need 100. Small steps move pixel by pixel; a drag of the scroll bar moves in proportion. The content
 * is cut into pages that overlap in the shorter physical range, so that both ends are exact.
 */

/** Pixels that every browser can scroll. */
export const PHYSICAL = 8e6;

/**
 * The mapping between what the scroll bar says and where in the content that is.
 * @param {number} [limit] physical height, smaller in tests
 */
export function createScrollRange(limit = PHYSICAL) {
  let content = 0;
  let view = 0;
  let physical = 0;
  let pages = 1;
  let page = 0;
  let last = 0;

  const offsetOf = (number) => (pages > 1 ? Math.round((number * (content - physical)) / (pages - 1)) : 0);
  const pageAt = (top) => Math.min(pages - 1, Math.floor((top / content) * pages));

  return {
    /** Height of the element that is scrolled, after `fit`. */
    get height() {
      return physical;
    },
    /** What to subtract from a place in the content to get its place in the element. */
    get offset() {
      return offsetOf(page);
    },
    /** Heights in pixels of the content and of what is seen of it. */
    fit(contentHeight, viewHeight) {
      content = contentHeight;
      view = viewHeight;
      physical = Math.min(content, limit);
      pages = content > physical ? 100 : 1;
      page = Math.min(page, pages - 1);
    },
    /**
     * The place in the content after the browser scrolled to `top`.
     * @returns {{top: number, scrollTop: number}} the place, and where the scroll bar has to be for it
     */
    scrolled(top) {
      const step = top - last;
      let place;
      if (pages === 1) place = top;
      else if (Math.abs(step) < view) place = top + offsetOf(page);
      else place = (top / Math.max(1, physical - view)) * Math.max(1, content - view);
      return this.goTo(place);
    },
    /** As `scrolled`, for a place in the content. */
    goTo(place) {
      const top = Math.max(0, Math.min(place, content - view));
      page = pages > 1 ? pageAt(top) : 0;
      last = Math.max(0, top - offsetOf(page));
      return { top, scrollTop: last };
    },
  };
}
