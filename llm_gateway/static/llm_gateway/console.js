// Give choices that are searched the names of their fields: select2 leaves them without one.

function nameSearchedChoices() {
  for (const choice of document.querySelectorAll("select.select2-hidden-accessible")) {
    const shown = choice.nextElementSibling?.querySelector(".select2-selection");
    const name = choice.getAttribute("aria-label") || choice.labels[0]?.textContent.trim();
    if (shown && name) {
      shown.removeAttribute("aria-labelledby");
      shown.setAttribute("aria-label", name);
      shown.querySelector(".select2-selection__rendered")?.setAttribute("aria-label", name);
    }
  }
}

// Their own script makes them some time after the page is there, and whenever a row is added.
new MutationObserver(nameSearchedChoices).observe(document.documentElement, {
  childList: true,
  subtree: true,
});
