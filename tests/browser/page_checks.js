// Runs inside a page and returns a sentence for each thing that keeps people out: an unnamed
// control, text that is too pale, headings and landmarks that do not say where one is.
() => {
  const problems = [];
  const describe = (element) =>
    `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ` +
    `"${(element.textContent ?? "").trim().slice(0, 40)}"`;

  // ---- structure ---------------------------------------------------------------------------
  if (!document.documentElement.lang) problems.push("the page names no language");
  if (!document.title) problems.push("the page has no title");
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
  if (document.querySelectorAll("h1").length !== 1) problems.push("the page needs one h1");
  headings.reduce((before, heading) => {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) problems.push(`a level of heading is skipped: ${describe(heading)}`);
    return level;
  }, 0);
  for (const landmark of ["main", "nav", "header"])
    if (!document.querySelector(landmark)) problems.push(`no <${landmark}>`);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index)))
    problems.push(`the id ${id} is used twice`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"])
    for (const element of document.querySelectorAll(`[${name}]`))
      for (const id of element.getAttribute(name).split(/\s+/))
        if (!document.getElementById(id)) problems.push(`${name}="${id}" points nowhere`);
  for (const element of document.querySelectorAll("[tabindex]"))
    if (element.tabIndex > 0) problems.push(`it jumps the order of Tab: ${describe(element)}`);

  // ---- names -------------------------------------------------------------------------------
  const byIds = (ids) =>
    (ids ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join("");
  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    byIds(element.getAttribute("aria-labelledby")) ||
    [...(element.labels ?? [])].map((label) => label.textContent).join("") ||
    (/^(A|BUTTON|SUMMARY)$/.test(element.tagName) ? element.textContent : "") ||
    "";
  const controls = "a[href], button, input, select, textarea, dialog, [role=textbox], [tabindex='0']";
  for (const element of document.querySelectorAll(controls))
    if (element.checkVisibility() && !nameOf(element).trim())
      problems.push(`it has no name: ${describe(element)}`);
  for (const image of document.querySelectorAll("svg, img"))
    if (image.getAttribute("aria-hidden") !== "true" && !nameOf(image) && !image.alt)
      problems.push(`a picture is neither named nor hidden: ${describe(image.parentElement)}`);

  // ---- contrast ----------------------------------------------------------------------------
  // A canvas reads every notation of a colour that the browser has.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return { rgb: [red, green, blue], alpha: alpha / 255 };
  };
  const over = (top, alpha, below) => below.map((part, i) => top[i] * alpha + part * (1 - alpha));
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ratio = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const backgroundOf = (element) => {
    if (!element) return [255, 255, 255];
    const { rgb, alpha } = read(getComputedStyle(element).backgroundColor);
    return alpha === 1 ? rgb : over(rgb, alpha, backgroundOf(element.parentElement));
  };
  const opacityOf = (element) =>
    element ? Number(getComputedStyle(element).opacity) * opacityOf(element.parentElement) : 1;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pale = new Set();
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("[aria-disabled=true], :disabled, .visually-hidden")) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const background = backgroundOf(element);
    const { rgb, alpha } = read(style.color);
    const found = ratio(over(rgb, alpha * opacityOf(element), background), background);
    const size = Number.parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (found < (large ? 3 : 4.5)) pale.add(`contrast of ${found.toFixed(2)}: ${describe(element)}`);
  }
  if (texts < 10) problems.push(`only ${texts} texts were looked at`);
  return [...problems, ...pale];
};
