// The Judge page: what is chosen stays in the browser until it is saved; keys, and one click to the server per item.
(() => {
  const CHOICES = ["left", "right", "tie", "both_bad"]; // keys 1 2 3 4
  const PATIENCE_MS = 20000;
  const PACE_TIMES = 21; // as many as the server's pace is made of
  // The server calls an item otherwise for every judge and study, so a draft is never laid before somebody else.
  const draftName = (item) => `tiller-judge-draft-${item}`;
  let drawn = null; // the article shown
  let draft = null; // { item, key, answers: [{ choice, strength, reason }], tried: the answers last sent under the key }
  let sent = null; // the item whose save is under way
  let busy = 0; // when the server was asked, 0 when it is not being asked
  let saves = []; // when this session's saves came back, in seconds
  let isUndoing = false;
  let nLeft = 0; // how often somebody left this page

  function newKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function remembered(item) {
    try {
      return JSON.parse(sessionStorage.getItem(draftName(item)));
    } catch {
      return null;
    }
  }

  function remember() {
    try {
      sessionStorage.setItem(draftName(draft.item), JSON.stringify(draft.answers));
    } catch {} // a full or forbidden storage only means that a reload forgets
  }

  const questions = () => [...drawn.querySelectorAll(".judge-question")];
  const isComplete = () => draft.answers.every((answer) => answer.choice);
  const isBusy = () => busy && Date.now() - busy < PATIENCE_MS;
  const wantsMore = () => Boolean(drawn.querySelector(".judge-question details[open]"));

  function take(article) {
    const item = article.dataset.item;
    drawn = article;
    if (draft?.item !== item) {
      if (isUndoing) saves.pop();
      if (sent) sessionStorage.removeItem(draftName(sent));
      const count = questions().length;
      const kept = remembered(item);
      const answers = kept?.length === count ? kept : Array.from({ length: count }, () => ({}));
      draft = { item, key: newKey(), answers };
      const top = article.getBoundingClientRect().top;
      if (top < 0) article.scrollIntoView({ block: "start" });
    }
    sent = null;
    busy = 0;
    isUndoing = false;
    questions().forEach((question, index) => {
      const answer = draft.answers[index];
      question.querySelector("details").open = Boolean(answer.reason || answer.strength);
      question.querySelector("textarea").value = answer.reason ?? "";
    });
    show();
  }

  function show() {
    const open = draft.answers.findIndex((answer) => !answer.choice);
    questions().forEach((question, index) => {
      const answer = draft.answers[index];
      question.classList.toggle("open", index === open && draft.answers.length > 1);
      for (const button of question.querySelectorAll("[data-choice]")) {
        button.setAttribute("aria-pressed", String(button.dataset.choice === answer.choice));
      }
      for (const button of question.querySelectorAll("[data-strength]")) {
        button.setAttribute("aria-pressed", String(button.dataset.strength === answer.strength));
      }
    });
    drawn.querySelector("[data-save]").disabled = !isComplete();
  }

  function choose(index, choice) {
    if (isBusy()) return;
    draft.answers[index].choice = choice;
    remember();
    show();
    if (isComplete() && !wantsMore()) send();
  }

  function send() {
    if (isBusy() || !isComplete()) return;
    // A key names one set of answers: where the reply to others was lost, the server may have stored them under it.
    const answers = JSON.stringify(draft.answers);
    if (draft.tried !== undefined && draft.tried !== answers) draft.key = newKey();
    draft.tried = answers;
    busy = Date.now();
    sent = draft.item;
    document.querySelector("#judge-send")?.click();
  }

  function skip() {
    if (isBusy()) return;
    for (const answer of draft.answers) answer.choice = "skip";
    remember();
    show();
    send();
  }

  function undo() {
    const button = document.querySelector("#judge-undo");
    if (!isBusy() && button && !button.disabled) button.click();
  }

  function current() {
    const list = questions();
    const within = list.findIndex((question) => question.contains(document.activeElement));
    const open = draft.answers.findIndex((answer) => !answer.choice);
    return within >= 0 ? within : open >= 0 ? open : list.length - 1;
  }

  const isTyping = (target) =>
    target.isContentEditable || Boolean(target.closest?.("textarea, select, input:not([type=checkbox]):not([type=radio])"));

  document.addEventListener("keydown", (event) => {
    const desk = document.querySelector("#judge-desk");
    if (!desk?.offsetParent || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (isTyping(event.target)) return;
    const keys = document.querySelector("#judge-keys");
    if (event.key === "?" && keys) keys.open = !keys.open;
    else if (event.key === "u") undo();
    else if (!drawn?.isConnected) return;
    else if (event.key === "s") skip();
    else if (/^[1-4]$/.test(event.key)) choose(current(), CHOICES[event.key - 1]);
    else if (event.key === "Enter" && !event.target.closest?.("button, summary, a, label, input")) send();
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".judge-item button");
    if (!button || !drawn?.contains(button)) return;
    const index = questions().findIndex((question) => question.contains(button));
    if (button.dataset.choice) choose(index, button.dataset.choice);
    else if (button.dataset.strength) {
      const answer = draft.answers[index];
      answer.strength = answer.strength === button.dataset.strength ? undefined : button.dataset.strength;
      remember();
      show();
    } else if ("skip" in button.dataset) skip();
    else if ("save" in button.dataset) send();
  });

  document.addEventListener("input", (event) => {
    if (!drawn?.contains(event.target) || event.target.tagName !== "TEXTAREA") return;
    draft.answers[questions().findIndex((question) => question.contains(event.target))].reason = event.target.value;
    remember();
  });

  const pace = (times) => ({ count: times.length, times: times.slice(-PACE_TIMES) });

  async function save(token, study, name) {
    const times = [...saves, performance.now() / 1000];
    const { item, key, answers } = draft ?? {};
    const said = JSON.stringify({ item, key, answers });
    const body = JSON.stringify({ token, study, name, sent: said, pace: pace(times) });
    const headers = { "Content-Type": "application/json" };
    const nLeftBefore = nLeft; // whoever sits here by the time of the answer is not told of another's save
    const path = `${location.pathname.replace(/\/$/, "")}/save`;
    try {
      const answer = await fetch(path, { method: "POST", headers, body, signal: AbortSignal.timeout(PATIENCE_MS) });
      const shown = await answer.json();
      if (nLeft !== nLeftBefore) return [];
      if ("item" in shown) saves = times;
      // What is undefined stays as it is.
      const undo = "can_undo" in shown ? { __type__: "update", interactive: shown.can_undo } : undefined;
      return [shown.message, shown.progress, shown.item, shown.revealed, undo];
    } catch {
      return nLeft === nLeftBefore ? [document.querySelector("#judge-unreachable").innerHTML] : [];
    }
  }

  window.tillerJudge = {
    save,
    // The server has answered, with the next item or with a complaint: what is chosen can be sent again.
    answered() {
      busy = 0;
    },
    // What is judged again after an undo is another click than before. Returns the pace without what is taken back.
    undoing() {
      if (draft) draft.key = newKey();
      sent = null;
      isUndoing = true;
      return JSON.stringify(pace(saves.slice(0, -1)));
    },
    leaving() {
      saves = [];
      nLeft += 1;
    },
  };

  new MutationObserver(() => {
    const article = document.querySelector(".judge-item");
    // Gradio changes the article it has into the next one where it can, so the element may stay the same.
    if (article && (article !== drawn || article.dataset.item !== draft.item)) take(article);
    if (!article && drawn && !drawn.isConnected) {
      if (sent && document.querySelector(".judge-finished")) sessionStorage.removeItem(draftName(sent));
      drawn = draft = sent = null;
      busy = 0;
    }
  }).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["data-item"] });
})();
