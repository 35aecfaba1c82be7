// The Studies page: its list is HTML of our own, whose buttons ask the server through one hidden button.
(() => {
  const BUTTONS = "#studies-list button[data-deed]";
  let asked = ""; // the study and what is to be done with it
  let focused = null; // the study whose button has the focus

  document.addEventListener("click", (event) => {
    const button = event.target.closest(BUTTONS);
    if (!button) return;
    asked = JSON.stringify({ study: button.dataset.study, deed: button.dataset.deed });
    document.querySelector("#studies-do")?.click();
  });

  // When the list is drawn anew, the button that had the focus goes with it; its study's next one takes the focus.
  document.addEventListener("focusin", (event) => {
    focused = event.target.closest(BUTTONS)?.dataset.study ?? null;
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(BUTTONS)) focused = null;
  });
  new MutationObserver(() => {
    if (!focused || document.activeElement !== document.body) return;
    document.querySelector(`${BUTTONS}[data-study="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });

  window.tillerStudies = { asked: () => asked };
})();
