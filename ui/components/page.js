// Hovering and stepping through coloured tokens, the copied link, files to save, and names for the scrolling panes.
// Numbers and texts reach the page as data and are shown through textContent only.
(() => {
  const words = /*words*/ {};
  const tooltip = document.createElement("dl");
  tooltip.id = "tiller-tooltip";
  tooltip.setAttribute("role", "status");
  tooltip.hidden = true;
  let current = null;
  const PANE = Object.keys(words.panes).map((id) => `#${id}`).join(", ");

  function show(token) {
    const holder = token.closest(".tiller-tokens");
    holder.details ??= JSON.parse(holder.dataset.details);
    const values = holder.details.rows[token.dataset.i];
    tooltip.replaceChildren(
      ...holder.details.labels.flatMap((label, index) => {
        const term = document.createElement("dt");
        const value = document.createElement("dd");
        term.textContent = label;
        value.textContent = values[index];
        return [term, value];
      }),
    );
    hide();
    current = token;
    token.classList.add("current");
    tooltip.hidden = false;
    place(token);
  }

  function place(token) {
    const at = token.getClientRects()[0] ?? token.getBoundingClientRect();
    const { width, height } = tooltip.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - width - 8));
    const below = at.bottom + 6;
    const top = below + height < window.innerHeight ? below : Math.max(8, at.top - height - 6);
    tooltip.style.left = `${left}px`;
    tooltip.style.top = `${top}px`;
  }

  function hide() {
    current?.classList.remove("current");
    current = null;
    tooltip.hidden = true;
  }

  function step(pane, by) {
    const tokens = [...pane.querySelectorAll(".token")];
    if (!tokens.length) return false;
    const from = tokens.indexOf(current);
    const to = from < 0 ? 0 : Math.max(0, Math.min(tokens.length - 1, from + by));
    tokens[to].scrollIntoView({ block: "nearest" });
    show(tokens[to]);
    return true;
  }

  const tokenAt = (event) => event.target.closest?.(".tiller-tokens .token");
  document.addEventListener("pointerover", (event) => {
    const token = tokenAt(event);
    if (token) show(token);
    else if (event.pointerType === "mouse" && !document.activeElement?.closest(PANE)) hide();
  });
  document.addEventListener("click", (event) => {
    const token = tokenAt(event);
    if (token) show(token);
    else hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const pane = event.target.closest?.(PANE);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (pane && by && step(pane, by)) event.preventDefault();
  });
  document.addEventListener("focusout", (event) => event.target.closest?.(PANE) && hide());
  document.addEventListener("scroll", () => current && (current.isConnected ? place(current) : hide()), true);

  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // plain http has no clipboard, but still has this
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("the browser refused");
  }

  window.tiller = {
    saveAs(sent, type) {
      if (!sent) return; // an error was told instead
      const { name, text } = JSON.parse(sent);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    },
    async copyLink(id, done, refused) {
      try {
        await copy(`${location.origin}${location.pathname}?c=${encodeURIComponent(id)}`);
        return done;
      } catch {
        return refused;
      }
    },
  };

  function name() {
    document.documentElement.lang = "en";
    if (!tooltip.isConnected && document.body) document.body.append(tooltip);
    if (current && !current.isConnected) hide();
    for (const [id, label] of Object.entries(words.panes)) {
      const scroller = document.querySelector(`#${id} > .html-container`);
      if (!scroller || scroller.tabIndex === 0) continue;
      scroller.tabIndex = 0;
      scroller.setAttribute("role", "region");
      scroller.setAttribute("aria-label", label);
    }
    for (const group of document.querySelectorAll("fieldset.block:not([aria-label])")) {
      group.setAttribute("aria-label", group.querySelector("[data-testid=block-info]")?.textContent ?? "");
    }
  }
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
})();
