"use strict";
// Everything works without this script; it follows Airflow's choice of light or dark, lets links
// to Airflow leave the frame, and keeps a form from being sent twice.

const follow = () => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    theme = null; // no storage here: the system's choice holds
  }
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  } else {
    delete document.documentElement.dataset.theme;
  }
};
follow();
addEventListener("storage", follow);
const framed = window.parent !== window;
if (framed) {
  // In the same window Airflow's switch sends no event; it changes the class of its root.
  new MutationObserver(follow).observe(window.parent.document.documentElement, {
    attributes: true,
    attributeFilter: ["class"],
  });
}

addEventListener("DOMContentLoaded", () => {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-airflow]");
    if (link && framed && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const outside = window.parent.document.createElement("a");
      outside.href = link.href;
      window.parent.document.body.append(outside);
      outside.click();
      outside.remove();
    }
  });
  document.addEventListener("submit", (event) => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && event.submitter.dataset.asked !== "yes") {
      // A second press confirms: dialogs are not allowed in Airflow's frame.
      event.preventDefault();
      event.submitter.dataset.asked = "yes";
      event.submitter.textContent = question;
      return;
    }
    setTimeout(() => {
      for (const button of event.target.querySelectorAll("button")) button.disabled = true;
    });
  });
  addEventListener("pageshow", () => {
    // Not those that are there so that Enter decides nothing.
    for (const button of document.querySelectorAll("button:disabled:not(.hidden)")) button.disabled = false;
  });
  for (const all of document.querySelectorAll("input[data-all]")) {
    all.addEventListener("change", () => {
      for (const one of document.querySelectorAll(`input[name="${all.dataset.all}"]`)) {
        one.checked = all.checked;
      }
    });
  }
});
