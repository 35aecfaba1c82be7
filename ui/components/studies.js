// The Studies page: its list is HTML of our own, whose buttons ask the server through one hidden button.
(() => {
  let asked = ""; // the study and what is to be done with it

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#studies-list button[data-deed]");
    if (!button) return;
    asked = JSON.stringify({ study: button.dataset.study, deed: button.dataset.deed });
    document.querySelector("#studies-do")?.click();
  });

  // The list was drawn anew, and with it went the button that had the focus.
  function done() {
    if (!asked || document.activeElement !== document.body) return;
    const { study } = JSON.parse(asked);
    document.querySelector(`#studies-list button[data-study="${CSS.escape(study)}"]`)?.focus();
  }

  window.tillerStudies = { asked: () => asked, done };
})();
