// The Studies page: its list is HTML of our own, whose buttons ask the server through one hidden button.
(() => {
  const BUTTONS = "#studies-list button[data-deed]";
  let asked = ""; // the study and what is to be done with it
  let focused = null; // the study whose button has the focus
  let place = 0; // which of its buttons that is

  document.addEventListener("click", (event) => {
    const button = event.target.closest(BUTTONS);
    if (!button) return;
    asked = JSON.stringify({ study: button.dataset.study, deed: button.dataset.deed });
    document.querySelector("#studies-do")?.click();
  });

  const buttonsOf = (study) => [...document.querySelectorAll(`${BUTTONS}[data-study="${CSS.escape(study)}"]`)];

  // When the list is drawn anew, the button that had the focus goes with it; the one in its place takes the focus.
  document.addEventListener("focusin", (event) => {
    const button = event.target.closest(BUTTONS);
    focused = button?.dataset.study ?? null;
    place = button ? buttonsOf(focused).indexOf(button) : 0;
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(BUTTONS)) focused = null;
  });
  new MutationObserver(() => {
    if (!focused || document.activeElement !== document.body) return;
    const buttons = buttonsOf(focused);
    (buttons[place] ?? buttons[0])?.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });

  window.tillerStudies = { asked: () => asked };
})();
